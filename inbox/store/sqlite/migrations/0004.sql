-- Messages with aggregate reports that were sent: their number for each day is limited, in however many runs and on
-- however many servers the day's reports are built.
CREATE TABLE dmarc_outgoing (
    day TEXT NOT NULL, host TEXT NOT NULL, report_id TEXT NOT NULL, address TEXT NOT NULL,
    PRIMARY KEY (day, host, report_id, address)
) STRICT, WITHOUT ROWID;
