"""Removal of expired records, in the background."""

from __future__ import annotations

from datetime import UTC, datetime

from inbox.policy.model import ServerPolicy
from inbox.store.ports import Database
from inbox.store.ports.decisions import DecisionFilter

DAY = 86_400.0
#: Seconds without a step after which the process of a COPY is considered dead.
ABANDONED_SECONDS = 60.0


async def newest_record(database: Database) -> float | None:
    """The time of the newest decision record; None if there is none. Raises StoreUnavailable."""
    found = await database.decisions.search(DecisionFilter(), 1)
    return found[0].at if found else None


async def prune(database: Database, policy: ServerPolicy, now: float, ages_by: float | None = None) -> None:
    """Removes what has expired: decision records, events of shared inboxes (kept as long), ended rate counters,
    plugins' entries, suppressions and idempotency keys that expired, messages of webhooks, data of DMARC reports.

    Args:
        policy: the days that each kind is kept.
        now: seconds since the epoch.
        ages_by: the time that measures their age (:class:`inbox.app.serve.retention.RetentionTime`), if another.

    Raises:
        StoreUnavailable, StoreError: the rest is removed the next time.
    """
    old = now if ages_by is None else ages_by
    await database.decisions.prune(old - policy.decisions.keep_days * DAY)
    await database.shared_inboxes.prune(old - policy.decisions.keep_days * DAY)
    await database.rates.prune(now)
    await database.plugin_state.prune(old)
    await database.suppressions.prune(old)
    await database.idempotency_keys.prune(old)
    await database.webhooks.prune(old - policy.webhooks.keep_days * DAY, now)
    await database.dmarc_reports.forget_reports(old - policy.reports.keep_days * DAY)
    first = datetime.fromtimestamp(old - policy.reports.observation_days * DAY, UTC)
    await database.dmarc_reports.forget_observations(first.strftime("%Y-%m-%d"))


async def prune_queue(database: Database, dead_seconds: float, delivered_seconds: float, ages_by: float) -> int:
    """Removes jobs that failed, and records of deliveries, that are older than this; returns how many.

    Args:
        dead_seconds: SMTP_OUTBOUND_DEAD_JOB_RETENTION_SECS, from the job's death.
        delivered_seconds: SMTP_OUTBOUND_DELIVERY_RETENTION_SECS.
        ages_by: the time that measures their age.

    Raises:
        StoreUnavailable, StoreError: the rest is removed the next time.
    """
    return await database.queue.prune(ages_by - dead_seconds, ages_by - delivered_seconds)


async def tidy(database: Database, now: float) -> int:
    """Finishes or undoes operations of processes that have ended; returns their number.

    Args:
        now: seconds since the epoch.

    Raises:
        StoreUnavailable, StoreError: the rest is done the next time.
    """
    return await database.tidy(now - ABANDONED_SECONDS)
