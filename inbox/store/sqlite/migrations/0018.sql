-- A tenant's suppression list is bounded: suppression_size counts its entries.
CREATE TABLE suppression_size (org_id TEXT PRIMARY KEY, entries INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO suppression_size SELECT org_id, count(*) FROM suppression GROUP BY org_id;
CREATE TRIGGER suppression_added AFTER INSERT ON suppression BEGIN
    INSERT INTO suppression_size (org_id, entries) VALUES (new.org_id, 1) ON CONFLICT DO UPDATE SET entries = entries + 1;
END;
CREATE TRIGGER suppression_removed AFTER DELETE ON suppression BEGIN
    UPDATE suppression_size SET entries = entries - 1 WHERE org_id = old.org_id;
    DELETE FROM suppression_size WHERE org_id = old.org_id AND entries <= 0;
END;
-- Finds the entries that make room for new ones.
CREATE INDEX suppression_first ON suppression (org_id, expires_at) WHERE expires_at IS NOT NULL;
