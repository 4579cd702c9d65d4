-- What a retry was recognised by, as JSON; NULL where nothing was.
ALTER TABLE decision ADD COLUMN already_filed BLOB;
