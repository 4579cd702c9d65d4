"""What goes into the database and comes out of it, besides the nouns of ``inbox.mail``.

Field names are those of the tables (``email``, ``has_email_delivery``, …). Times are seconds since the
epoch; sizes are octets; a ``tenant`` is an organization's id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

EmailKind = Literal["inbound", "outbound", "draft", "scheduled"]
DeliveryStatus = Literal["open", "pending", "closed", "spam", "archived"]
StoreMode = Literal["set", "add", "remove"]
#: What ``Messages.columns`` reads of one message: integers (``modseq``, ``size``, which is RFC822.SIZE), seconds
#: (``received_at``), a text (``blob_path``) and octets, as in :class:`EmailRecord` and :class:`Copy`.
Column = Literal[
    "modseq",
    "size",
    "received_at",
    "blob_path",
    "prepended",
    "envelope",
    "body",
    "bodystructure",
    "sections",
    "header_block",
]


@dataclass(frozen=True, slots=True)
class EmailRecord:
    """One mail of one tenant, however many mailboxes it is in.

    ``envelope``, ``body`` and ``bodystructure`` are what IMAP FETCH answers, ready to send; ``sections`` is the
    packed table of part offsets (``inbox.mail.sections``), and ``header_block`` the header section up to
    and with its empty line, so that no FETCH of them opens a blob.
    """

    id: str
    tenant: str
    message_id: str | None
    content_hash: str
    size: int
    blob_path: str
    blob_sha: str
    internal_date: float
    created_at: float
    kind: EmailKind = "inbound"
    date: float | None = None
    subject: str = ""
    subject_normalized: str = ""
    references: tuple[str, ...] = ()
    from_: tuple[str, ...] = ()
    sender_address: str | None = None
    reply_to: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    mime_root_ct: str = "text/plain"
    snippet: str = ""
    tags: tuple[str, ...] = ()
    spf: str | None = None
    dkim: str | None = None
    dmarc: str | None = None
    envelope: bytes = b""
    body: bytes = b""
    bodystructure: bytes = b""
    sections: bytes = b""
    header_block: bytes = b""


@dataclass(frozen=True, slots=True)
class Copy:
    """One mailbox that a mail goes into.

    ``prepended`` is put in front of the shared blob for this copy only (Delivered-To, Return-Path, Received): two
    recipients of one mail never see each other's address, and a mail that comes again finds its blob. The first two
    of these fields name the envelope by which a retry is recognised (``inbox.store.retries``).
    ``recipient`` and ``reason`` say, for a quarantined copy, whom it was for and why it is there.
    """

    mailbox: str
    flags: int = 0
    keywords: tuple[str, ...] = ()
    prepended: bytes = b""
    recipient: str | None = None
    reason: str | None = None
    status: DeliveryStatus = "open"


@dataclass(frozen=True, slots=True)
class Filing:
    """One tenant's mail with its copies, as part of an :class:`Arrival`.

    ``recognise`` asks whether this very mail (tenant, content hash, Message-ID) came lately with the same envelope and
    is in a mailbox of the copy's account: then the peer is retrying after a lost reply, and the copy that is there is
    returned (``inbox.store.retries``).
    """

    email: EmailRecord
    copies: tuple[Copy, ...]
    recognise: bool = True


@dataclass(frozen=True, slots=True)
class AlreadyFiled:
    """The copy that a retry was recognised by: nothing was written for ``recipient`` (as the client gave it).

    ``mailbox`` is the name of the mailbox that the copy was in at that time, under ``uid``; ``transaction`` is the id
    of the transaction that delivered it, and of its decision record; ``at`` is when that was.
    """

    recipient: str
    mailbox: str
    uid: int
    transaction: str
    at: float


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """Why one transaction ended as it did, for one tenant. ``body`` is the full record as JSON.

    ``tenant`` is empty for what was decided before a tenant was known. ``already_filed`` is found out by the database
    while it writes the record together with the mail.
    """

    id: str
    tenant: str
    at: float
    door: str
    outcome: str
    sender: str
    recipients: tuple[str, ...]
    peer: str
    body: bytes = field(repr=False)
    already_filed: tuple[AlreadyFiled, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decision records to show; what is None or 0 excludes nothing.

    ``tenant`` is an id and ``outcome`` a word, both as they are; ``sender`` and ``recipient`` are parts of an address,
    in any case. ``since`` is in seconds since the epoch.
    """

    tenant: str | None = None
    outcome: str | None = None
    sender: str | None = None
    recipient: str | None = None
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """All that one accepted transaction writes, in one database transaction."""

    filings: tuple[Filing, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a copy went, or is if the mail was recognised as a retry and nothing was written for it."""

    mailbox: str
    email: str
    uid: int
    modseq: int
    already: AlreadyFiled | None = None

    @property
    def fresh(self) -> bool:
        """False if the copy was there already."""
        return self.already is None


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """The counters of STATUS and SELECT."""

    mailbox: str
    messages: int
    unseen: int
    recent: int
    next_uid: int
    uid_validity: int
    modseq: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in one mailbox, without its texts."""

    uid: int
    modseq: int
    flags: int
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreStep:
    """What one step of a STORE did.

    Attributes:
        entries: those of the step's uids that exist, as they are now.
        left_alone: uids that were changed too late for UNCHANGEDSINCE.
        modseq: of the entries that were changed; 0 if none was.
    """

    entries: list[Entry]
    left_alone: list[int]
    modseq: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """An entry with the mail that it shows: what FETCH and SEARCH read.

    ``size`` is RFC822.SIZE: the mail's size and that of what is prepended to this copy.
    """

    entry: Entry
    email: EmailRecord
    received_at: float
    prepended: bytes = b""
    recipient: str | None = None
    reason: str | None = None

    @property
    def size(self) -> int:
        return self.email.size + len(self.prepended)


@dataclass(frozen=True, slots=True)
class MailboxChanges:
    """What happened in a mailbox after a modseq: entries new or altered, uids gone, and the modseq to ask from next."""

    modseq: int
    changed: tuple[Entry, ...] = ()
    expunged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """A rate counter after it was increased: its count in this window, and when the window ends.

    ``local``: only what this process has counted, because the database cannot be written.
    """

    count: int
    expires_at: float
    local: bool = False
