-- The copies by which retries were recognised, as JSON; NULL if there are none.
ALTER TABLE decision ADD COLUMN already_filed BLOB;

-- One tenant's records, newest first; the index has the outcome, so records of other outcomes need not be read.
CREATE INDEX decision_tenant ON decision (tenant, at, outcome);
-- The installation's records of one outcome, such as the few that were deferred among very many accepted ones.
CREATE INDEX decision_outcome ON decision (outcome, at);
