-- Counters that a crash of the machine may lose, in a separate file, so that they never wait for the fsync of mail.
CREATE TABLE smtp_rate_limit (
    counter_key TEXT PRIMARY KEY, count INTEGER NOT NULL, expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX smtp_rate_limit_expires ON smtp_rate_limit (expires_at);
