-- Copies that are being made in steps, one row for each step: if the process ends before the last one, what is in the
-- mailbox from uid "first" to uid "last" is removed again.
CREATE TABLE copying (
    id TEXT NOT NULL, mailbox TEXT NOT NULL, "first" INTEGER NOT NULL, "last" INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (id, "first")
) STRICT, WITHOUT ROWID;
