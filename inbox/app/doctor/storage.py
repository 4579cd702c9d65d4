"""Doctor's check of database and blob store as a pair, and of orphaned blobs that wait to be deleted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from inbox.app.config.loading import Config
from inbox.app.wiring.stores import missing_blobs, places
from inbox.store.pairing import GOOD, State, examine, explain
from inbox.store.ports import Blobs, Database
from inbox.store.sweeper import KEEP_SECONDS, count_aside

#: Orphans that are counted; a larger number is shown as "more than".
MOST_COUNTED: Final = 100_000
DAY: Final = 86_400

Said = list[tuple[Literal["ok", "warn", "fail"], str]]


async def storage_findings(config: Config, database: Database, blobs: Blobs, status: Mapping[str, Any]) -> Said:
    """Outcomes and sentences for the operator.

    Args:
        database: open.
        blobs: not open.
        status: the running server's view of its stores; empty if none runs.

    Raises:
        StoreUnavailable, StoreError: one of the two does not answer.
    """
    missing = missing_blobs(config)
    if missing is not None:
        known = await database.installation.identity()
        if (known is not None and known.store) or await database.installation.sample(1):
            return [("fail", f"{missing}, but the database has worked with a blob store before")]
        return []
    await blobs.open()
    try:
        found = await _pair(config, database, blobs)
        found += await _orphans(blobs)
    finally:
        await blobs.close()
    alarm = status.get("sweep", {}).get("alarm")
    if alarm:
        found.append(("fail", f"the sweeper stopped: {alarm}"))
    return found


async def _pair(config: Config, database: Database, blobs: Blobs) -> Said:
    found = await examine(database, blobs, deep=True)
    text = explain(found, places(config))
    if found.state not in GOOD:
        return [("fail", text)]
    if found.state is State.PAIR and found.present < found.messages:
        lost = found.messages - found.present
        why = (
            f"{lost} of {found.messages} messages that were looked at, the oldest and the newest, have no blob in "
            f"{places(config).blobs}: it is not as new as the database, or another instance writes elsewhere"
        )
        return [("ok", text), ("fail", why)]
    return [("ok", text)]


async def _orphans(blobs: Blobs) -> Said:
    aside = await count_aside(blobs, MOST_COUNTED)
    if not aside.count:
        return [("ok", "no orphaned blobs wait to be deleted")]
    number = f"{aside.count}{' or more' if aside.count >= MOST_COUNTED else ''}"
    since = datetime.fromtimestamp(aside.since, UTC).strftime("%Y-%m-%d %H:%M UTC")
    days = KEEP_SECONDS / DAY
    return [("ok", f"{number} orphaned blobs wait under orphan/ since {since}; each is deleted after {days:.0f} days")]
