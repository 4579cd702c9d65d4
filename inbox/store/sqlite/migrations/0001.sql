-- Times are seconds since the epoch, sizes are octets, lists are JSON texts.

CREATE TABLE organization (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_active INTEGER NOT NULL DEFAULT 1, created_at REAL NOT NULL
) STRICT;

CREATE TABLE domain (id TEXT PRIMARY KEY, fqdn TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE has_domain (
    "in" TEXT NOT NULL REFERENCES organization (id),
    "out" TEXT NOT NULL REFERENCES domain (id),
    dkim_selector TEXT, dkim_private_key_b64_pkcs8 TEXT, dkim_headers TEXT,
    require_spf_pass INTEGER, require_dkim_pass INTEGER, require_dmarc_pass INTEGER,
    enc_mode TEXT, enc_sse_c_key_b64 TEXT, enc_wrapped_dek_customer TEXT,
    outbound_dnssec_validate INTEGER,
    quota_max_recipients_per_message INTEGER, quota_hourly_send_limit INTEGER,
    quota_daily_send_limit INTEGER, quota_max_queued_jobs INTEGER,
    plus_addressing_enabled INTEGER, plus_delimiter TEXT,
    is_active INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY ("in", "out")
) STRICT, WITHOUT ROWID;
-- Mail for a domain has one destination: two tenants cannot host the same domain.
CREATE UNIQUE INDEX has_domain_out ON has_domain ("out");

CREATE TABLE email_address (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL REFERENCES organization (id),
    username TEXT NOT NULL, domain TEXT NOT NULL, alias TEXT REFERENCES email_address (id), last_reachable REAL
) STRICT;
CREATE UNIQUE INDEX email_address_name ON email_address (username, domain);

-- All targets of an alias; email_address.alias keeps the first.
CREATE TABLE has_alias (
    "in" TEXT NOT NULL REFERENCES email_address (id), "out" TEXT NOT NULL REFERENCES email_address (id),
    PRIMARY KEY ("in", "out")
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL REFERENCES organization (id),
    email_address TEXT NOT NULL UNIQUE REFERENCES email_address (id), address TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL, is_active INTEGER NOT NULL DEFAULT 1, created_at REAL NOT NULL
) STRICT;

-- owner is the account, or the organization for a mailbox that belongs to the tenant itself.
CREATE TABLE mailbox (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL REFERENCES organization (id), owner TEXT NOT NULL,
    account TEXT REFERENCES account (id), email_address TEXT REFERENCES email_address (id),
    name TEXT NOT NULL, parent TEXT, special_use TEXT, subscribed INTEGER NOT NULL DEFAULT 1,
    uid_validity INTEGER NOT NULL, next_uid INTEGER NOT NULL DEFAULT 1, modseq INTEGER NOT NULL DEFAULT 1,
    first_recent INTEGER NOT NULL DEFAULT 1,
    messages INTEGER NOT NULL DEFAULT 0, unseen INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX mailbox_name ON mailbox (owner, name);

CREATE TABLE email (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL, message_id TEXT NOT NULL, content_hash TEXT NOT NULL, size INTEGER NOT NULL,
    blob_path TEXT NOT NULL, blob_sha TEXT NOT NULL, internal_date REAL NOT NULL, created_at REAL NOT NULL,
    kind TEXT NOT NULL, date REAL, subject TEXT NOT NULL, subject_normalized TEXT NOT NULL, "references" TEXT NOT NULL,
    "from" TEXT NOT NULL, sender_address TEXT, reply_to TEXT NOT NULL, "to" TEXT NOT NULL, cc TEXT NOT NULL,
    bcc TEXT NOT NULL, mime_root_ct TEXT NOT NULL, snippet TEXT NOT NULL, tags TEXT NOT NULL,
    spf TEXT, dkim TEXT, dmarc TEXT,
    depth INTEGER NOT NULL DEFAULT 0, envelope_enc BLOB, recurrence TEXT, send_at REAL,
    ingest_status TEXT NOT NULL DEFAULT 'committed', ingest_error TEXT,
    envelope BLOB NOT NULL, body BLOB NOT NULL, bodystructure BLOB NOT NULL, sections BLOB NOT NULL,
    header_block BLOB NOT NULL
) STRICT;
-- The same Message-ID with other content is another message; the same content in another tenant is another message.
CREATE UNIQUE INDEX email_content ON email (organization, content_hash, message_id);

CREATE TABLE has_email_delivery (
    "in" TEXT NOT NULL REFERENCES email (id), "out" TEXT NOT NULL REFERENCES mailbox (id),
    uid INTEGER NOT NULL, modseq INTEGER NOT NULL, flags INTEGER NOT NULL DEFAULT 0, keywords TEXT NOT NULL DEFAULT '[]',
    status TEXT NOT NULL DEFAULT 'open', assignee TEXT, tags TEXT NOT NULL DEFAULT '[]',
    priority INTEGER NOT NULL DEFAULT 0, due_at REAL, received_at REAL NOT NULL,
    prepended BLOB NOT NULL, recipient TEXT, reason TEXT, size INTEGER NOT NULL,
    PRIMARY KEY ("out", uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX has_email_delivery_in ON has_email_delivery ("in");
CREATE INDEX has_email_delivery_modseq ON has_email_delivery ("out", modseq);

-- Uids of removed entries, for clients that ask for the changes since a modseq.
CREATE TABLE expunged (
    mailbox TEXT NOT NULL, modseq INTEGER NOT NULL, uid INTEGER NOT NULL, PRIMARY KEY (mailbox, modseq, uid)
) STRICT, WITHOUT ROWID;

CREATE TABLE decision (
    id TEXT NOT NULL, tenant TEXT NOT NULL, at REAL NOT NULL, door TEXT NOT NULL, outcome TEXT NOT NULL,
    sender TEXT NOT NULL, recipients TEXT NOT NULL, peer TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (id, tenant)
) STRICT;
CREATE INDEX decision_at ON decision (at);

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
