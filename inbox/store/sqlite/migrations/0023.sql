-- Keys of programs that use the API. secret_hash: of the secret, which is not stored. old_hash: that of the secret before
-- the last rotation, which is valid until old_until. domains, senders, operations, networks: JSON lists.
CREATE TABLE api_key (
    org_id TEXT NOT NULL REFERENCES organization (id), id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'sender')), secret_hash TEXT NOT NULL, operations TEXT NOT NULL,
    domains TEXT NOT NULL, senders TEXT NOT NULL, networks TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL,
    old_hash TEXT, old_until REAL, last_used_at REAL, last_used_peer TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_tenant ON api_key (org_id, created_at, id);
