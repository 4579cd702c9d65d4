-- Keys that clients choose for their submissions. decision: the id of the transaction that accepted the message.
-- check_at: when the sweep looks at the key; its message may still be in the queue then.
CREATE TABLE idempotency_key (
    org_id TEXT NOT NULL REFERENCES organization (id), key TEXT NOT NULL, fingerprint TEXT NOT NULL,
    decision TEXT NOT NULL, created_at REAL NOT NULL, check_at REAL NOT NULL, PRIMARY KEY (org_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_key_check ON idempotency_key (check_at);
ALTER TABLE outbound_queue ADD COLUMN idempotency_key TEXT;
