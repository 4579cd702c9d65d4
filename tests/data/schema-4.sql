-- A database of schema 4, with a mailbox that its account is not subscribed to, a mail and a decision.
BEGIN TRANSACTION;
CREATE TABLE account (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL REFERENCES organization (id),
    email_address TEXT NOT NULL UNIQUE REFERENCES email_address (id), address TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL, is_active INTEGER NOT NULL DEFAULT 1, created_at REAL NOT NULL
) STRICT;
INSERT INTO "account" VALUES('06h2vqq1rct3heev7d6x','06h2vqq1p4fjwrezvz2r','06h2vqq1rcvyrr6baa88','ann@acme.test','$argon2id$secret',1,1.79606591123587703705e+09);
CREATE TABLE decision (
    id TEXT NOT NULL, tenant TEXT NOT NULL, at REAL NOT NULL, door TEXT NOT NULL, outcome TEXT NOT NULL,
    sender TEXT NOT NULL, recipients TEXT NOT NULL, peer TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (id, tenant)
) STRICT;
INSERT INTO "decision" VALUES('06h2vqq1thkdbzqayjbp','06h2vqq1p4fjwrezvz2r',1750000000.0,'transfer','accept','ann@example.org','["bob@example.org","eve@example.org"]','192.0.2.1',X'7B22706C7567696E73223A205B5D7D');
CREATE TABLE dkim_key (
    tenant TEXT NOT NULL REFERENCES organization (id), domain TEXT NOT NULL, selector TEXT NOT NULL,
    algorithm TEXT NOT NULL, private_key_b64_pkcs8 TEXT NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, activated_at REAL NOT NULL DEFAULT 0, retired_at REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, domain, selector)
) STRICT, WITHOUT ROWID;
CREATE TABLE dmarc_observation (
    day TEXT NOT NULL, policy_domain TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (day, policy_domain, key)
) STRICT;
CREATE TABLE dmarc_outgoing (
    day TEXT NOT NULL, host TEXT NOT NULL, report_id TEXT NOT NULL, address TEXT NOT NULL,
    PRIMARY KEY (day, host, report_id, address)
) STRICT, WITHOUT ROWID;
CREATE TABLE dmarc_report (
    tenant TEXT NOT NULL REFERENCES organization (id), domain TEXT NOT NULL, organization TEXT NOT NULL,
    report_id TEXT NOT NULL, "begin" REAL NOT NULL, "end" REAL NOT NULL, received_at REAL NOT NULL,
    messages INTEGER NOT NULL, passed INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (tenant, domain, organization, report_id)
) STRICT;
CREATE TABLE domain (id TEXT PRIMARY KEY, fqdn TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO "domain" VALUES('06h2vqq1qwp5hfrqcvxz','acme.test');
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
INSERT INTO "email" VALUES('06h2vqq1tfz6n76dk4vp','06h2vqq1p4fjwrezvz2r','<1.06h2vqq1tfz6n76dk4vp@example.org>','d500225fd44f7c258a23f0291a31bbba943bcedc565b90ebf38fb9559965f250',1001,'msg/06h2vqq1p4fjwrezvz2r/m/06h2vqq1tfz6n76dk4vp.eml','0000000000000000000000000000000000000000000000000000000000000000',1750000001.25,1750000001.5,'inbound',1749999000.0,'Number 1','number 1','["<a@b>","<c@d>"]','["ann@example.org"]','ann@example.org','["reply@example.org"]','["bob@example.org","eve@example.org"]','["cc@example.org"]','["bcc@example.org"]','multipart/mixed','Hello','["invoice"]','pass','fail','none',0,NULL,NULL,NULL,'committed',NULL,X'28656E76656C6F706529',X'28626F647929',X'28626F647973747275637475726529',X'0001FF',X'5375626A6563743A20780D0A0D0A');
CREATE TABLE email_address (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL REFERENCES organization (id),
    username TEXT NOT NULL, domain TEXT NOT NULL, alias TEXT REFERENCES email_address (id), last_reachable REAL
) STRICT;
INSERT INTO "email_address" VALUES('06h2vqq1rcvyrr6baa88','06h2vqq1p4fjwrezvz2r','ann','acme.test',NULL,NULL);
INSERT INTO "email_address" VALUES('06h2vqq1tgg7k8je6ajt','06h2vqq1p4fjwrezvz2r','info','acme.test','06h2vqq1rcvyrr6baa88',NULL);
CREATE TABLE expunged (
    mailbox TEXT NOT NULL, modseq INTEGER NOT NULL, uid INTEGER NOT NULL, PRIMARY KEY (mailbox, modseq, uid)
) STRICT, WITHOUT ROWID;
CREATE TABLE has_alias (
    "in" TEXT NOT NULL REFERENCES email_address (id), "out" TEXT NOT NULL REFERENCES email_address (id),
    PRIMARY KEY ("in", "out")
) STRICT, WITHOUT ROWID;
INSERT INTO "has_alias" VALUES('06h2vqq1tgg7k8je6ajt','06h2vqq1rcvyrr6baa88');
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
INSERT INTO "has_domain" VALUES('06h2vqq1p4fjwrezvz2r','06h2vqq1qwp5hfrqcvxz','s0',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1);
CREATE TABLE has_email_delivery (
    "in" TEXT NOT NULL REFERENCES email (id), "out" TEXT NOT NULL REFERENCES mailbox (id),
    uid INTEGER NOT NULL, modseq INTEGER NOT NULL, flags INTEGER NOT NULL DEFAULT 0, keywords TEXT NOT NULL DEFAULT '[]',
    status TEXT NOT NULL DEFAULT 'open', assignee TEXT, tags TEXT NOT NULL DEFAULT '[]',
    priority INTEGER NOT NULL DEFAULT 0, due_at REAL, received_at REAL NOT NULL,
    prepended BLOB NOT NULL, recipient TEXT, reason TEXT, size INTEGER NOT NULL,
    PRIMARY KEY ("out", uid)
) STRICT, WITHOUT ROWID;
INSERT INTO "has_email_delivery" VALUES('06h2vqq1tfz6n76dk4vp','06h2vqq1rc6bcg698fn4',1,3,1,'["$Label"]','open',NULL,'[]',0,NULL,1750000001.25,X'',NULL,NULL,1001);
CREATE TABLE mailbox (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL REFERENCES organization (id), owner TEXT NOT NULL,
    account TEXT REFERENCES account (id), email_address TEXT REFERENCES email_address (id),
    name TEXT NOT NULL, parent TEXT, special_use TEXT, subscribed INTEGER NOT NULL DEFAULT 1,
    uid_validity INTEGER NOT NULL, next_uid INTEGER NOT NULL DEFAULT 1, modseq INTEGER NOT NULL DEFAULT 1,
    first_recent INTEGER NOT NULL DEFAULT 1,
    messages INTEGER NOT NULL DEFAULT 0, unseen INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO "mailbox" VALUES('06h2vqq1rc6bcg698fn4','06h2vqq1p4fjwrezvz2r','06h2vqq1rct3heev7d6x','06h2vqq1rct3heev7d6x','06h2vqq1rcvyrr6baa88','INBOX',NULL,NULL,1,1796065911,2,3,1,1,0,1001);
INSERT INTO "mailbox" VALUES('06h2vqq1rcfk87k7vp9p','06h2vqq1p4fjwrezvz2r','06h2vqq1rct3heev7d6x','06h2vqq1rct3heev7d6x','06h2vqq1rcvyrr6baa88','Drafts',NULL,'\Drafts',1,1796065912,1,1,1,0,0,0);
INSERT INTO "mailbox" VALUES('06h2vqq1rednw0rbe4tn','06h2vqq1p4fjwrezvz2r','06h2vqq1rct3heev7d6x','06h2vqq1rct3heev7d6x','06h2vqq1rcvyrr6baa88','Sent',NULL,'\Sent',0,1796065913,1,1,1,0,0,0);
INSERT INTO "mailbox" VALUES('06h2vqq1rfe7wyxvnrdv','06h2vqq1p4fjwrezvz2r','06h2vqq1rct3heev7d6x','06h2vqq1rct3heev7d6x','06h2vqq1rcvyrr6baa88','Junk',NULL,'\Junk',1,1796065914,1,1,1,0,0,0);
INSERT INTO "mailbox" VALUES('06h2vqq1rcmk7vfxcwx2','06h2vqq1p4fjwrezvz2r','06h2vqq1rct3heev7d6x','06h2vqq1rct3heev7d6x','06h2vqq1rcvyrr6baa88','Trash',NULL,'\Trash',1,1796065915,1,1,1,0,0,0);
INSERT INTO "mailbox" VALUES('06h2vqq1rc5bpy5ecvsx','06h2vqq1p4fjwrezvz2r','06h2vqq1rct3heev7d6x','06h2vqq1rct3heev7d6x','06h2vqq1rcvyrr6baa88','Archive',NULL,'\Archive',1,1796065916,1,1,1,0,0,0);
INSERT INTO "mailbox" VALUES('06h2vqq1s79kj34cv3je','06h2vqq1p4fjwrezvz2r','06h2vqq1rct3heev7d6x','06h2vqq1rct3heev7d6x','06h2vqq1rcvyrr6baa88','Work',NULL,NULL,0,1796065917,1,1,1,0,0,0);
INSERT INTO "mailbox" VALUES('06h2vqq1s4x149tad845','06h2vqq1p4fjwrezvz2r','06h2vqq1rct3heev7d6x','06h2vqq1rct3heev7d6x','06h2vqq1rcvyrr6baa88','Work/2024','06h2vqq1s79kj34cv3je',NULL,1,1796065918,1,1,1,0,0,0);
INSERT INTO "mailbox" VALUES('06h2vqq1tarbqb3n4cz2','06h2vqq1p4fjwrezvz2r','06h2vqq1p4fjwrezvz2r',NULL,NULL,'Quarantine',NULL,NULL,1,1796065919,1,1,1,0,0,0);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('uid_validity','1796065919');
CREATE TABLE organization (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_active INTEGER NOT NULL DEFAULT 1, created_at REAL NOT NULL
) STRICT;
INSERT INTO "organization" VALUES('06h2vqq1p4fjwrezvz2r','acme',1,1.79606591121795105929e+09);
CREATE UNIQUE INDEX has_domain_out ON has_domain ("out");
CREATE UNIQUE INDEX email_address_name ON email_address (username, domain);
CREATE UNIQUE INDEX mailbox_name ON mailbox (owner, name);
CREATE UNIQUE INDEX email_content ON email (organization, content_hash, message_id);
CREATE INDEX has_email_delivery_in ON has_email_delivery ("in");
CREATE INDEX has_email_delivery_modseq ON has_email_delivery ("out", modseq);
CREATE INDEX decision_at ON decision (at);
CREATE INDEX dkim_key_pending ON dkim_key (created_at) WHERE state = 'pending';
CREATE INDEX dmarc_report_newest ON dmarc_report (tenant, domain, "end");
CREATE INDEX dmarc_report_end ON dmarc_report ("end");
COMMIT;
PRAGMA user_version = 4;
