-- Jobs in the queue by tenant, domain and class, kept up to date by triggers: operators, metrics and quotas must not read
-- a queue of a million jobs. Each job counts once: dead, held (unless it is dead), processing or queued.
CREATE TABLE outbound_count (
    org_id TEXT NOT NULL, domain TEXT NOT NULL, class TEXT NOT NULL,
    queued INTEGER NOT NULL, processing INTEGER NOT NULL, held INTEGER NOT NULL, dead INTEGER NOT NULL,
    PRIMARY KEY (org_id, domain, class)
) STRICT, WITHOUT ROWID;
INSERT INTO outbound_count (org_id, domain, class, queued, processing, held, dead)
    SELECT org_id, domain, class, sum(status = 'queued' AND hold_reason IS NULL),
        sum(status = 'processing' AND hold_reason IS NULL), sum(status <> 'dead' AND hold_reason IS NOT NULL),
        sum(status = 'dead')
    FROM outbound_queue GROUP BY org_id, domain, class;
CREATE TRIGGER outbound_queue_added AFTER INSERT ON outbound_queue BEGIN
    INSERT INTO outbound_count (org_id, domain, class, queued, processing, held, dead) VALUES (
        new.org_id, new.domain, new.class,
        new.status = 'queued' AND new.hold_reason IS NULL, new.status = 'processing' AND new.hold_reason IS NULL,
        new.status <> 'dead' AND new.hold_reason IS NOT NULL, new.status = 'dead'
    ) ON CONFLICT DO UPDATE SET queued = queued + excluded.queued, processing = processing + excluded.processing,
        held = held + excluded.held, dead = dead + excluded.dead;
END;
CREATE TRIGGER outbound_queue_changed AFTER UPDATE OF status, hold_reason ON outbound_queue
WHEN new.status <> old.status OR (new.hold_reason IS NULL) <> (old.hold_reason IS NULL) BEGIN
    UPDATE outbound_count SET
        queued = queued + (new.status = 'queued' AND new.hold_reason IS NULL)
            - (old.status = 'queued' AND old.hold_reason IS NULL),
        processing = processing + (new.status = 'processing' AND new.hold_reason IS NULL)
            - (old.status = 'processing' AND old.hold_reason IS NULL),
        held = held + (new.status <> 'dead' AND new.hold_reason IS NOT NULL)
            - (old.status <> 'dead' AND old.hold_reason IS NOT NULL),
        dead = dead + (new.status = 'dead') - (old.status = 'dead')
    WHERE org_id = new.org_id AND domain = new.domain AND class = new.class;
END;
CREATE TRIGGER outbound_queue_removed AFTER DELETE ON outbound_queue BEGIN
    UPDATE outbound_count SET
        queued = queued - (old.status = 'queued' AND old.hold_reason IS NULL),
        processing = processing - (old.status = 'processing' AND old.hold_reason IS NULL),
        held = held - (old.status <> 'dead' AND old.hold_reason IS NOT NULL), dead = dead - (old.status = 'dead')
    WHERE org_id = old.org_id AND domain = old.domain AND class = old.class;
    DELETE FROM outbound_count WHERE org_id = old.org_id AND domain = old.domain AND class = old.class
        AND queued + processing + held + dead <= 0;
END;
-- The oldest job of each of these groups that is not dead.
CREATE INDEX outbound_queue_oldest ON outbound_queue (org_id, domain, class, created_at) WHERE status <> 'dead';
