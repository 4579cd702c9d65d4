"""What the server removes when it has grown old."""

from __future__ import annotations

from datetime import UTC, datetime

from inbox.policy.model import ServerPolicy
from inbox.store.ports import Database

DAY = 86_400.0
#: Seconds without a step after which a copy is taken for one whose process has ended.
ABANDONED_SECONDS = 60.0


async def prune(database: Database, policy: ServerPolicy, now: float) -> None:
    """Removes decision records, ended rate counters, and what DMARC reports are about or made of, by their age.

    Args:
        policy: says how many days each is kept.
        now: seconds since the epoch.

    Raises:
        StoreUnavailable, StoreError: what was not removed goes the next time.
    """
    await database.decisions.prune(now - policy.decisions.keep_days * DAY)
    await database.rates.prune(now)
    await database.dmarc_reports.forget_reports(now - policy.reports.keep_days * DAY)
    first = datetime.fromtimestamp(now - policy.reports.observation_days * DAY, UTC)
    await database.dmarc_reports.forget_observations(first.strftime("%Y-%m-%d"))


async def tidy(database: Database, now: float) -> int:
    """Ends what processes that ended left half done; returns how many things there were.

    Args:
        now: seconds since the epoch.

    Raises:
        StoreUnavailable, StoreError: the rest is done the next time.
    """
    return await database.tidy(now - ABANDONED_SECONDS)
