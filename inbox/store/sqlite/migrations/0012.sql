-- Outgoing mail: a job is one stored message (payload is the id of its email) for one recipient.
-- status: queued, processing (a worker has leased it), dead (failed permanently). ready: queued, due and not held.
CREATE TABLE outbound_queue (
    job_id TEXT PRIMARY KEY, org_id TEXT NOT NULL REFERENCES organization (id),
    payload_kind TEXT NOT NULL DEFAULT 'email', payload TEXT NOT NULL REFERENCES email (id),
    sender TEXT NOT NULL, sender_domain TEXT NOT NULL, recipient TEXT NOT NULL, domain TEXT NOT NULL,
    class TEXT NOT NULL, priority INTEGER NOT NULL, lane INTEGER NOT NULL,
    created_at REAL NOT NULL, expires_at REAL NOT NULL, not_before REAL NOT NULL,
    notify TEXT NOT NULL, ret TEXT, envid TEXT, orcpt TEXT, body TEXT NOT NULL, smtputf8 INTEGER NOT NULL,
    require_tls INTEGER NOT NULL, actor_account TEXT, shared_inbox TEXT,
    status TEXT NOT NULL DEFAULT 'queued', ready INTEGER NOT NULL, next_attempt_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, last_error TEXT, hold_reason TEXT, lease_owner TEXT,
    lease_until REAL NOT NULL DEFAULT 0, fence INTEGER NOT NULL DEFAULT 0, waits_since REAL NOT NULL DEFAULT 0,
    dot_sent_at REAL NOT NULL DEFAULT 0, died_at REAL NOT NULL DEFAULT 0
) STRICT;
-- Workers skip from tenant to tenant and from lane to lane (a domain and a class) in this index.
CREATE INDEX outbound_queue_ready ON outbound_queue (org_id, lane, priority DESC, next_attempt_at, job_id) WHERE ready = 1;
CREATE INDEX outbound_queue_waiting ON outbound_queue (next_attempt_at)
    WHERE status = 'queued' AND ready = 0 AND hold_reason IS NULL;
-- A job whose wait began in the future waits because the clock was set back.
CREATE INDEX outbound_queue_since ON outbound_queue (waits_since)
    WHERE status = 'queued' AND ready = 0 AND hold_reason IS NULL;
CREATE INDEX outbound_queue_leased ON outbound_queue (lease_until) WHERE status = 'processing';
CREATE INDEX outbound_queue_dead ON outbound_queue (died_at) WHERE status = 'dead';
CREATE INDEX outbound_queue_payload ON outbound_queue (payload);
CREATE INDEX outbound_queue_org ON outbound_queue (org_id, job_id);
CREATE INDEX outbound_queue_sender ON outbound_queue (org_id, sender_domain);
CREATE INDEX outbound_queue_actor ON outbound_queue (org_id, actor_account) WHERE actor_account IS NOT NULL;

CREATE TABLE outbound_delivery (
    job_id TEXT PRIMARY KEY, org_id TEXT NOT NULL REFERENCES organization (id), delivered_at REAL NOT NULL,
    email TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL, domain TEXT NOT NULL, reply TEXT NOT NULL,
    actor_account TEXT, shared_inbox TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX outbound_delivery_at ON outbound_delivery (delivered_at);
CREATE INDEX outbound_delivery_org ON outbound_delivery (org_id);
