-- Whether the server has sent the message: it sends each report once, on however many instances it runs.
ALTER TABLE dmarc_outgoing ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
