-- Names that an account is subscribed to. They outlive their mailboxes (RFC 3501 §6.3.9): a name without one is listed as
-- \NonExistent. owner is the account.
CREATE TABLE subscription (owner TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (owner, name)) STRICT, WITHOUT ROWID;
INSERT INTO subscription (owner, name) SELECT account, name FROM mailbox WHERE subscribed AND account IS NOT NULL;
ALTER TABLE mailbox DROP COLUMN subscribed;
