-- Addresses and domains to which a tenant sends no mail. scope: address, domain. expires_at: NULL, it does not expire.
CREATE TABLE suppression (
    org_id TEXT NOT NULL REFERENCES organization (id), scope TEXT NOT NULL CHECK (scope IN ('address', 'domain')),
    target TEXT NOT NULL, reason TEXT NOT NULL, source TEXT NOT NULL, is_active INTEGER NOT NULL,
    created_at REAL NOT NULL, expires_at REAL, PRIMARY KEY (org_id, scope, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX suppression_expiry ON suppression (expires_at) WHERE expires_at IS NOT NULL;
