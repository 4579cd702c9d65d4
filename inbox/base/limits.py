"""Bounds on everything that an untrusted peer controls, each with its source.

A limit that an operator may change is a setting; the limits below are fixed.
"""

from __future__ import annotations

from typing import Final

#: RFC 5321 §4.5.3.1.4 asks for 512; RFC 1870, 3461, 4954, 6531 add parameters. One bound for all of them.
COMMAND_LINE_OCTETS: Final = 2048
#: RFC 4954 §4: an AUTH line, initial response included, may have 12,288 octets.
AUTH_LINE_OCTETS: Final = 12288
#: RFC 5322 §2.1.1, without CRLF: for generated text. Longer lines are accepted, as in other servers (the size of the
#: message bounds them): breaking or refusing them would lose mail that other servers deliver.
TEXT_LINE_OCTETS: Final = 998
#: RFC 5321 §4.5.3.1.2
DOMAIN_OCTETS: Final = 255
#: One address. RFC 5321 §4.5.3.1.1 and .3 require 64 octets of local part and 256 in total, and ask to accept more if
#: possible: variable return paths and rewritten senders (SRS) are longer. This fits into a header field of one line.
ADDRESS_OCTETS: Final = 900
#: More Received: fields than this indicate a loop (RFC 5321 §6.3 asks for at least 100).
MAX_RECEIVED: Final = 100
#: Octets of the header section of one message; a longer one is refused (552 5.3.4).
HEADER_BLOCK_OCTETS: Final = 256 * 1024
#: Fields of one header section that are indexed.
HEADER_FIELDS: Final = 1000
#: MIME: parts in one message and depth of nesting that are parsed; deeper parts are opaque.
MIME_PARTS: Final = 1000
MIME_DEPTH: Final = 30
#: Octets of encoded messages within one message that are decoded to find attachments in them.
ENCODED_MESSAGE_OCTETS: Final = 32 * 1024 * 1024
#: Fields of one MIME part's header that are read.
MIME_PART_FIELDS: Final = 100
#: Parameters of one Content-Type or Content-Disposition field that are read.
MIME_PARAMETERS: Final = 100
#: Octets of one rendered ENVELOPE, BODY or BODYSTRUCTURE after which optional texts become NIL.
STRUCTURE_OCTETS: Final = 1024 * 1024
#: Octets of one address field, subject or other text field that are read; RFC 5322 sets no bound.
FIELD_OCTETS: Final = 64 * 1024
#: Message-IDs of References and In-Reply-To that are kept for threading.
REFERENCES: Final = 100
#: BIMI: octets of one assertion record, and of one address in it (which must fit into a header field of one line).
BIMI_RECORD_OCTETS: Final = 4096
BIMI_URL_OCTETS: Final = 500
#: RFC 8617 §4.2.1: instances of an ARC chain; a longer one fails (§5.2 step 1).
ARC_SETS: Final = 50
#: Different keys (domain and selector) of one chain. A sealer uses one key for both of its fields, so that the longest
#: chain needs 50; each additional key is a DNS query that the sender causes.
ARC_KEYS: Final = 64
#: Names in h= of one ARC-Message-Signature: equal to the limit of fields.
ARC_SIGNED_FIELDS: Final = 1000
#: Octets of one ARC-Authentication-Results field up to which it is kept as the results of that hop.
ARC_RESULTS_OCTETS: Final = 16 * 1024
#: Addresses in one header field that go into ENVELOPE.
HEADER_ADDRESSES: Final = 2000
#: Different observations for DMARC aggregate reports that wait for the database, their total octets, and the octets of
#: one: observations with a record and signatures longer than any in use are not reported.
OBSERVATIONS: Final = 20_000
OBSERVATIONS_OCTETS: Final = 16 * 1024 * 1024
OBSERVATION_OCTETS: Final = 8 * 1024
#: Incoming DMARC aggregate reports (RFC 7489 §7.2 does not limit their size): an attachment, its XML, and how many
#: times larger than the attachment the XML may be; attachments tried per mail; rows of one report; nesting
#: (six levels are in use), elements of one row and of all (a row has about thirty), equals signs (an attribute has
#: one; they cost more than elements), results of one row and method, and characters of one text.
REPORT_ATTACHMENT_OCTETS: Final = 10 * 1024 * 1024
REPORT_XML_OCTETS: Final = 16 * 1024 * 1024
REPORT_RATIO: Final = 200
REPORT_CANDIDATES: Final = 4
REPORT_ROWS: Final = 10_000
REPORT_DEPTH: Final = 32
REPORT_ELEMENTS: Final = 2000
REPORT_ALL_ELEMENTS: Final = 400_000
REPORT_EQUALS_SIGNS: Final = 200_000
REPORT_RESULTS: Final = 100
REPORT_TEXT_CHARACTERS: Final = 255
#: Addresses of one record that get its reports; RFC 7489 §6.2 requires at least two.
REPORT_DESTINATIONS: Final = 5
#: Octets of a DMARC record; RFC 9989 sets no bound, and the longest in use have a few hundred.
DMARC_RECORD_OCTETS: Final = 4096
#: Addresses for reports in one DMARC record (RFC 9989 §4.6 does not limit them, RFC 7489 §6.2 leaves the limit to the
#: receiver).
DMARC_REPORT_URIS: Final = 10
#: RFC 9989 §4.10: the labels that a longer name is shortened to in a DNS tree walk, which asks 8 questions at most.
DMARC_WALK_LABELS: Final = 7
#: Passing DKIM domains that DMARC checks for alignment; the DKIM check itself stops at fewer signatures.
DMARC_IDENTIFIERS: Final = 20
#: PTR names of one peer that are checked, as for SPF (RFC 7208 §4.6.4).
DMARC_PEER_NAMES: Final = 10
#: Seconds for which a repeated message counts as a retry. RFC 5321 §4.5.4.1: senders give up after at least four to
#: five days, and widely used ones after five.
RETRY_SECONDS: Final = 5 * 86_400
#: Copies of one message in one mailbox (with SurrealDB: those that one transaction may be retries of) among which the
#: first copy of a retry is searched.
RETRY_COPIES: Final = 1000
#: Messages above this size are spooled on disk instead of in memory.
SPOOL_OCTETS: Final = 1024 * 1024
#: Default size limit of a message in IMAP APPEND.
APPENDED_MESSAGE_OCTETS: Final = 25 * 1024 * 1024
#: Errors (5xx) that one SMTP connection may cause before it is closed with 421.
SMTP_ERRORS: Final = 20
#: The largest message that users may submit, and the largest attachment in it without its transfer encoding.
SUBMITTED_MESSAGE_OCTETS: Final = 26_214_400
SUBMITTED_ATTACHMENT_OCTETS: Final = 18 * 1024 * 1024
#: Failed logins on one submission connection, after which it is closed with 421.
SMTP_LOGIN_FAILURES: Final = 3
#: Commands that change nothing (NOOP, RSET, VRFY, EHLO …) that one connection may send.
SMTP_IDLE_COMMANDS: Final = 200
#: Recipients beyond the limit that one message may name. RFC 5321 §4.5.3.1.10: they get 452, and the message goes to
#: the others; a client that sends its whole list at once must not lose the connection because of it.
SMTP_SURPLUS_RECIPIENTS: Final = 10_000
#: RFC 3461 §4.4: ENVID. §4.2 has 500 for ORCPT; relaying servers repeat the recipient there, and an address may be
#: longer (ADDRESS_OCTETS).
DSN_ENVID_OCTETS: Final = 100
DSN_ORCPT_OCTETS: Final = 1000
#: RFC 5321 §4.5.3.1.5: a reply line with its CRLF.
REPLY_LINE_OCTETS: Final = 512
#: Lines of one reply; texts of plugins are cut after that.
REPLY_LINES: Final = 20
#: A PROXY protocol header: version 1 has 107 octets at most; version 2 may have 65,551, of which no proxy sends more
#: than a few hundred.
PROXY_HEADER_OCTETS: Final = 4096
#: IMAP: a command line without its literals, before a login and after it (RFC 7162 §4 requires at least 8192 octets;
#: clients that synchronize a large mailbox send UID sets of 100 KB), and a literal that is not a message.
IMAP_FRESH_LINE_OCTETS: Final = 16 * 1024
IMAP_LINE_OCTETS: Final = 256 * 1024
IMAP_LITERAL_OCTETS: Final = 64 * 1024
#: IMAP: words, strings and sets in one command (a search with SEARCH_KEYS keys has three thousand), and ranges in one
#: set. The line may be longer, but parsing 250 KB of single letters takes 0.3 s, during which other connections wait.
IMAP_WORDS: Final = 10_000
IMAP_SET_RANGES: Final = 40_000
#: IMAP: connections of all clients, if there are enough file descriptors.
IMAP_CONNECTIONS: Final = 10_000
#: IMAP: refused commands after which a connection is closed: in total before login, in a row afterwards.
IMAP_ERRORS: Final = 20
#: IMAP: commands that a connection may send before it logs in; a client needs about five.
IMAP_EARLY_COMMANDS: Final = 50
#: IMAP: octets of all literals of one command before login: each unauthenticated connection can occupy this much
#: memory.
IMAP_EARLY_LITERAL_OCTETS: Final = 16 * 1024
#: IMAP: literals in one command, and in one command before login (LOGIN has two).
IMAP_LITERALS: Final = 1000
IMAP_EARLY_LITERALS: Final = 4
#: IMAP: octets of refused literals that are read and discarded for one command before login.
IMAP_EARLY_SKIPPED_OCTETS: Final = 1024 * 1024
#: IMAP: failed LOGIN/AUTHENTICATE before the connection is closed.
LOGIN_FAILURES: Final = 5
#: Mailboxes of one account (or, for its quarantine, of one tenant). RFC 9051 sets no bound; the largest archives that
#: users migrate have about a thousand.
MAILBOXES: Final = 5000
#: Length of a mailbox's whole name, and depth of its hierarchy.
MAILBOX_NAME_OCTETS: Final = 1024
MAILBOX_DEPTH: Final = 32
#: Nesting of mappings and lists in a policy file. The parser's time grows with the square of it.
POLICY_DEPTH: Final = 32
#: Seconds that a ``def`` hook, or one step of an ``async def`` hook, may block the event loop.
HOOK_STEP_SECONDS: Final = 0.5
#: Seconds that a whole hook may take when neither the plugin nor a policy says otherwise.
HOOK_SECONDS: Final = 10.0
#: Seconds that a cancelled hook has for its clean-up before it is cut off.
HOOK_GRACE_SECONDS: Final = 1.0
#: Opinions that one hook may return at once, and octets of one fact or text in a decision record.
HOOK_OPINIONS: Final = 1000
#: Flags and keywords that one AddFlags may give; no client shows more than a few.
HOOK_FLAGS: Final = 100
DECISION_FACT_OCTETS: Final = 8 * 1024
#: Octets that the body of one decision record may become when it is decompressed; a larger one is kept as it is.
DECISION_OCTETS: Final = 8 * 1024 * 1024
#: One tenant's policy file.
POLICY_FILE_OCTETS: Final = 1024 * 1024
#: Errors that are reported at once: a different file under a policy's name would fill the log.
POLICY_MISTAKES: Final = 100
#: Octets of a plugin in one file.
PLUGIN_FILE_OCTETS: Final = 1024 * 1024
#: Seconds that the import of a plugin's file may take.
IMPORT_SECONDS: Final = 10.0
#: Characters of one condition of a policy (CEL); longer ones are unreadable.
EXPRESSION_CHARACTERS: Final = 4000
#: Characters that built-in functions process in one evaluation of a condition; a slow function counts each several
#: times. 4 Mi take about 50 ms.
EXPRESSION_WORK: Final = 4 * 1024 * 1024
#: IMAP: octets of refused literals that are read and discarded for one command (RFC 7888 §4).
IMAP_SKIPPED_OCTETS: Final = 128 * 1024 * 1024
#: IMAP: items in one FETCH. RFC 3501 sets no bound; clients request up to about twenty.
IMAP_FETCH_ITEMS: Final = 100
#: IMAP: octets of cached message lists of recently selected mailboxes in one process: 5 per message.
IMAP_LISTINGS_OCTETS: Final = 32 * 1024 * 1024
#: IMAP SEARCH: nesting of parentheses, NOT and OR (a chain "OR a OR b OR c d" is one level), and keys in one command.
SEARCH_DEPTH: Final = 100
SEARCH_KEYS: Final = 1000
#: IMAP: subscribed names of one account. Names outlive their mailboxes (RFC 3501 §6.3.9), so the mailboxes do not
#: bound them.
SUBSCRIPTIONS: Final = 10_000
#: Plugins: entries of one plugin for one tenant, in all of its tables; octets of a key and of a value; changes in one
#: call. Keys often contain addresses of unknown senders, who must not be able to fill the disk with them.
STATE_ENTRIES: Final = 100_000
STATE_KEY_OCTETS: Final = 1024
STATE_VALUE_OCTETS: Final = 4096
STATE_CHANGES: Final = 1000
#: DNS: records in one answer, octets of all its TXT records together, and of one reply. Records for mail are far
#: smaller; RFC 7208 §3.4 recommends answers that fit into 512 octets.
DNS_RECORDS: Final = 100
DNS_TEXT_OCTETS: Final = 8 * 1024
DNS_REPLY_OCTETS: Final = 32 * 1024
#: DNS: resource records in all sections of one reply, addresses of the hosts in an answer included.
DNS_REPLY_RECORDS: Final = 400
#: DNS: aliases (CNAME) that are followed from one name; unbound follows eleven.
DNS_ALIASES: Final = 16
#: DNS: cached answers, and the approximate memory that they take.
DNS_CACHE_ENTRIES: Final = 50_000
DNS_CACHE_OCTETS: Final = 32 * 1024 * 1024
#: DNS: concurrent queries, those about names of one organization, and the UDP sockets to one server that they share. No
#: query waits for another one: beyond the first number, the resolver gives up the oldest slow query of the network with
#: the most queries. Each takes about 3 KB.
DNS_QUESTIONS: Final = 2_000
DNS_ZONE_QUESTIONS: Final = 500
DNS_SOCKETS: Final = 64
#: DNS: connections to one server over TCP, for replies that do not fit into a datagram.
DNS_STREAMS: Final = 100
#: DNS: seconds after which a look-up is slow; slow look-ups that one message may wait for, at once and in all (SPF
#: alone may take ten, RFC 7208 §4.6.4), and those for which all messages from one network may wait at once.
DNS_SLOW_SECONDS: Final = 0.5
DNS_SLOW_AT_ONCE: Final = 4
DNS_SLOW_OF_MESSAGE: Final = 24
DNS_SLOW_OF_NETWORK: Final = 50
#: Octets of one DKIM-Signature, ARC-Seal or ARC-Message-Signature field. RFC 6376 sets no bound; the longest in real
#: mail (two hundred names in h=, a key of 4096 bits) has about 5,000 octets.
SIGNATURE_FIELD_OCTETS: Final = 16 * 1024
#: Tags in one tag-list (RFC 6376 §3.2); a signature has fourteen.
TAGS: Final = 64
#: RFC 6376 §3.5: t= and x= have at most 12 digits, l= at most 76.
TAG_DIGITS: Final = 12
TAG_LENGTH_DIGITS: Final = 76
#: Octets of one DKIM key record: a key of 4096 bits in base64 has 736 characters, the rest is for notes (n=).
KEY_RECORD_OCTETS: Final = 2048
#: DKIM key records of one name that are checked (RFC 6376 §3.6.2.2: there must not be more than one).
KEY_RECORDS: Final = 4
#: The DER of one public key; an RSA key of 4096 bits with an exponent of 64 bits has 558 octets.
PUBLIC_KEY_OCTETS: Final = 640
#: RFC 8301 §3.2: verifiers must accept RSA keys of 1024 to 4096 bits. Larger keys and exponents cost the verifier CPU
#: time that the signer controls.
RSA_BITS_LEAST: Final = 1024
RSA_BITS_MOST: Final = 4096
RSA_EXPONENT_BITS: Final = 64
#: DKIM-Signature fields of one message that are verified by default (RFC 6376 §8.4).
DKIM_SIGNATURES: Final = 8
#: Runs of white space that canonicalisation shortens in one body (RFC 6376 §3.4.4). Each costs up to 0.2 µs; a text of
#: 10 MB with a double space in every line has 130,000.
BODY_CHANGES: Final = 400_000
#: Seconds by which a signer's clock may be off (the default of OpenDKIM's ClockDrift).
CLOCK_SKEW_SECONDS: Final = 300
#: Octets of one parsed Authentication-Results field, and results in it; legitimate fields have a few hundred octets.
AUTHENTICATION_RESULTS_OCTETS: Final = 32 * 1024
AUTHENTICATION_RESULTS: Final = 100
#: Octets of all Authentication-Results fields of one message together that are searched for forgeries; mail that passed
#: many servers has a few thousand. Searching 256 KiB would take a second.
AUTHENTICATION_RESULTS_SEARCHED: Final = 32 * 1024
#: Seconds for all DNS queries about one message's DMARC policy and alignment, and for those about exceptions. Otherwise
#: eight slow answers of a name server could exceed the plugin's time limit.
DMARC_SECONDS: Final = 10.0
DMARC_EXCEPTION_SECONDS: Final = 6.0
#: RFC 7208 §4.6.4: SPF ends after at most 20 seconds.
SPF_SECONDS: Final = 20.0
#: Octets of the SPF records of one check together, and terms in them; RFC 7208 §3.4 asks for records that fit into 512
#: octets, and the largest legitimate policies have a few thousand, including their includes.
SPF_OCTETS: Final = 16 * 1024
SPF_TERMS: Final = 1000
#: Octets of one term: a domain name with macros. pyspf's time grows with the square of it.
SPF_TERM_OCTETS: Final = 256
#: Percent signs in the SPF records of one check together; legitimate policies have a handful of macros.
SPF_MACROS: Final = 200
#: Octets of an SPF explanation (``exp=``) that are kept; RFC 7208 §11.5 warns about its content.
SPF_EXPLANATION_OCTETS: Final = 250
#: Cached SPF results, and seconds for which one is kept.
SPF_RESULTS: Final = 20_000
SPF_RESULT_SECONDS: Final = 3600.0
#: The last UIDVALIDITY that is taken from the clock: 32 bits (RFC 9051 §9), with room for 67 million more. A clock that
#: is set to 2200 must not use up all of them.
LATEST_UID_VALIDITY: Final = 0xFC000000
