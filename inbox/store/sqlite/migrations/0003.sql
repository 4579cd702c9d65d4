-- Data for aggregate reports about other people's domains. The rows have no tenant, because a report is sent by the
-- installation. key is a hash of body.
CREATE TABLE dmarc_observation (
    day TEXT NOT NULL, policy_domain TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (day, policy_domain, key)
) STRICT;

-- Received reports about a hosted domain; organization is the reporter. Each report counts once.
CREATE TABLE dmarc_report (
    tenant TEXT NOT NULL REFERENCES organization (id), domain TEXT NOT NULL, organization TEXT NOT NULL,
    report_id TEXT NOT NULL, "begin" REAL NOT NULL, "end" REAL NOT NULL, received_at REAL NOT NULL,
    messages INTEGER NOT NULL, passed INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (tenant, domain, organization, report_id)
) STRICT;
CREATE INDEX dmarc_report_newest ON dmarc_report (tenant, domain, "end");
CREATE INDEX dmarc_report_end ON dmarc_report ("end");
