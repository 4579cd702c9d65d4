-- A second verifier of an account's password, for SCRAM. An account with is_shared belongs to a shared
-- inbox: nobody can log in to it.
ALTER TABLE account ADD COLUMN scram TEXT;
ALTER TABLE account ADD COLUMN is_shared INTEGER NOT NULL DEFAULT 0;

CREATE TABLE app_password (
    account TEXT NOT NULL REFERENCES account (id), id TEXT NOT NULL, organization TEXT NOT NULL,
    name TEXT NOT NULL, protocols TEXT NOT NULL, password_hash TEXT NOT NULL, created_at REAL NOT NULL,
    last_used_at REAL, last_used_peer TEXT, PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;

-- id is the id of the inbox's account; address, domain and is_active follow that account.
CREATE TABLE shared_inbox (
    id TEXT PRIMARY KEY REFERENCES account (id), organization TEXT NOT NULL, address TEXT NOT NULL UNIQUE,
    domain TEXT NOT NULL, display_name TEXT NOT NULL, is_active INTEGER NOT NULL DEFAULT 1, mailbox TEXT NOT NULL
) STRICT;
CREATE INDEX shared_inbox_organization ON shared_inbox (organization);
CREATE TRIGGER shared_inbox_follows AFTER UPDATE OF address, is_active ON account WHEN new.is_shared BEGIN
    UPDATE shared_inbox SET address = new.address, is_active = new.is_active,
        domain = (SELECT domain FROM email_address WHERE id = new.email_address)
    WHERE id = new.id;
END;
CREATE TABLE has_shared_inbox_member (
    "in" TEXT NOT NULL REFERENCES shared_inbox (id), "out" TEXT NOT NULL REFERENCES account (id),
    role TEXT NOT NULL, can_send_as INTEGER NOT NULL, can_assign INTEGER NOT NULL, is_active INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY ("in", "out")
) STRICT, WITHOUT ROWID;
CREATE INDEX has_shared_inbox_member_out ON has_shared_inbox_member ("out");
CREATE TABLE shared_inbox_event (
    id TEXT PRIMARY KEY, shared_inbox TEXT NOT NULL, actor TEXT NOT NULL, event_type TEXT NOT NULL,
    email_delivery TEXT, email TEXT, created_at REAL NOT NULL
) STRICT;
CREATE INDEX shared_inbox_event_of ON shared_inbox_event (shared_inbox, created_at);
CREATE INDEX shared_inbox_event_at ON shared_inbox_event (created_at);
-- Whatever removes an account removes all that belongs to it.
CREATE TRIGGER account_removed AFTER DELETE ON account BEGIN
    DELETE FROM app_password WHERE account = old.id;
    DELETE FROM has_shared_inbox_member WHERE "out" = old.id OR "in" = old.id;
    DELETE FROM shared_inbox WHERE id = old.id;
    DELETE FROM shared_inbox_event WHERE shared_inbox = old.id;
END;

-- Targets of an alias at domains that this installation does not host.
CREATE TABLE has_forward (
    "in" TEXT NOT NULL REFERENCES email_address (id), target TEXT NOT NULL, PRIMARY KEY ("in", target)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER address_removed AFTER DELETE ON email_address BEGIN
    DELETE FROM has_forward WHERE "in" = old.id;
END;

-- Keys that this installation generates for itself.
CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
