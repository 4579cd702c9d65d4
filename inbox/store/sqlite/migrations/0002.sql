-- Signing keys of hosted domains.
CREATE TABLE dkim_key (
    tenant TEXT NOT NULL REFERENCES organization (id), domain TEXT NOT NULL, selector TEXT NOT NULL,
    algorithm TEXT NOT NULL, private_key_b64_pkcs8 TEXT NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, activated_at REAL NOT NULL DEFAULT 0, retired_at REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, domain, selector)
) STRICT, WITHOUT ROWID;
-- The worker reads these every minute, and most of the time there are none.
CREATE INDEX dkim_key_pending ON dkim_key (created_at) WHERE state = 'pending';
