-- Outgoing mail: a job is one stored message (payload is the id of its email) for the recipients in one domain.
-- No release has queued anything in the tables that this replaces. recipients, states (in the same order; empty while
-- nothing was tried) and history (attempts) are JSON. decision: the id of the transaction that accepted the message.
-- status: queued, processing (a worker has leased it), dead (failed permanently). ready: queued, due and not held.
DROP TABLE outbound_queue;
CREATE TABLE outbound_queue (
    job_id TEXT PRIMARY KEY, org_id TEXT NOT NULL REFERENCES organization (id),
    payload_kind TEXT NOT NULL DEFAULT 'email', payload TEXT NOT NULL REFERENCES email (id),
    sender TEXT NOT NULL, sender_domain TEXT NOT NULL, recipients TEXT NOT NULL, domain TEXT NOT NULL,
    class TEXT NOT NULL, priority INTEGER NOT NULL, lane INTEGER NOT NULL,
    created_at REAL NOT NULL, expires_at REAL NOT NULL, not_before REAL NOT NULL,
    ret TEXT, envid TEXT, body TEXT NOT NULL, smtputf8 INTEGER NOT NULL, require_tls INTEGER NOT NULL,
    actor_account TEXT, shared_inbox TEXT, decision TEXT NOT NULL, door TEXT NOT NULL, prepended BLOB NOT NULL,
    states TEXT NOT NULL DEFAULT '', history TEXT NOT NULL DEFAULT '', signed BLOB NOT NULL DEFAULT x'',
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
CREATE INDEX outbound_queue_decision ON outbound_queue (org_id, decision) WHERE decision <> '';

DROP TABLE outbound_delivery;
CREATE TABLE outbound_delivery (
    job_id TEXT PRIMARY KEY, org_id TEXT NOT NULL REFERENCES organization (id), delivered_at REAL NOT NULL,
    email TEXT NOT NULL, sender TEXT NOT NULL, domain TEXT NOT NULL, recipients TEXT NOT NULL, states TEXT NOT NULL,
    history TEXT NOT NULL, decision TEXT NOT NULL, actor_account TEXT, shared_inbox TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX outbound_delivery_at ON outbound_delivery (delivered_at);
CREATE INDEX outbound_delivery_org ON outbound_delivery (org_id);
CREATE INDEX outbound_delivery_decision ON outbound_delivery (org_id, decision) WHERE decision <> '';

-- Workers skip the jobs of disabled tenants, of which there are few.
CREATE INDEX organization_disabled ON organization (id) WHERE NOT is_active;
