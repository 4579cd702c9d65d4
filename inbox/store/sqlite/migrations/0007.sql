-- Copies that are made in steps, one row for each step: if the process ends before the last step, the entries from
-- uid "first" to uid "last" are removed from the mailbox again.
CREATE TABLE copying (
    id TEXT NOT NULL, mailbox TEXT NOT NULL, "first" INTEGER NOT NULL, "last" INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (id, "first")
) STRICT, WITHOUT ROWID;
