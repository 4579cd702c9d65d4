-- The one identity that this database and its blob store share. store is empty until the blob store is known.
CREATE TABLE installation (
    only INTEGER PRIMARY KEY CHECK (only = 1), installation TEXT NOT NULL, store TEXT NOT NULL DEFAULT ''
) STRICT;

-- Blobs whose message was removed. The sweeper does not count them as unexplained orphans.
CREATE TABLE released_blob (blob_path TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER email_released AFTER DELETE ON email BEGIN
    INSERT OR IGNORE INTO released_blob (blob_path, at) VALUES (old.blob_path, unixepoch());
END;
