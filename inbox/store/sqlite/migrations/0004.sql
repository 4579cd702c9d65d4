-- Mails of aggregate reports that were made for somebody: a day has a cap, in however many runs, and on however many
-- servers, its reports are built.
CREATE TABLE dmarc_outgoing (
    day TEXT NOT NULL, host TEXT NOT NULL, report_id TEXT NOT NULL, address TEXT NOT NULL,
    PRIMARY KEY (day, host, report_id, address)
) STRICT, WITHOUT ROWID;
