-- Counters that may be lost with the machine: in a file of their own, so that they never wait for a mail's fsync.
CREATE TABLE smtp_rate_limit (
    counter_key TEXT PRIMARY KEY, count INTEGER NOT NULL, expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX smtp_rate_limit_expires ON smtp_rate_limit (expires_at);
