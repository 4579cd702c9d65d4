-- Webhooks: a tenant's subscriptions to events, and the messages for their receivers. events: a JSON list. secret,
-- old_secret: they sign requests, so they are stored as they are. due_at: when a message may be claimed (the next try,
-- or the end of the lease); 0 for one that was delivered or has failed. tries: a JSON list.
CREATE TABLE webhook (
    org_id TEXT NOT NULL REFERENCES organization (id), id TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL,
    events TEXT NOT NULL, secret TEXT NOT NULL, old_secret TEXT, old_until REAL NOT NULL, is_enabled INTEGER NOT NULL,
    reason TEXT NOT NULL, created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_tenant ON webhook (org_id, created_at, id);
CREATE TABLE webhook_message (
    org_id TEXT NOT NULL, webhook TEXT NOT NULL, id TEXT NOT NULL, event TEXT NOT NULL, payload TEXT NOT NULL,
    created_at REAL NOT NULL, state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed')),
    due_at REAL NOT NULL, attempts INTEGER NOT NULL, fence INTEGER NOT NULL, tries TEXT NOT NULL,
    UNIQUE (org_id, webhook, id)
) STRICT;
CREATE INDEX webhook_message_due ON webhook_message (org_id, webhook, due_at) WHERE due_at > 0;
CREATE INDEX webhook_message_log ON webhook_message (org_id, webhook, created_at);
CREATE INDEX webhook_message_age ON webhook_message (created_at);
