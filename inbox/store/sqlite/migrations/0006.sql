-- What a retry was recognised by, as JSON; NULL where nothing was.
ALTER TABLE decision ADD COLUMN already_filed BLOB;

-- One tenant's records, newest first; with the outcome in it, those of another outcome need not be read.
CREATE INDEX decision_tenant ON decision (tenant, at, outcome);
-- The installation's records of one outcome: the few that were deferred among very many that were accepted.
CREATE INDEX decision_outcome ON decision (outcome, at);
