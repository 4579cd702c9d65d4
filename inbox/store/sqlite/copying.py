"""COPY of many messages in steps, and still all or nothing (RFC 9051 §6.4.7).

The copies of each step are visible in the mailbox immediately, because uids must be assigned in ascending order. So
that a failed copy leaves nothing behind, each step also records the uids that it created. The last step removes these
notes. If it never runs, the recorded uids are removed: by the command itself if it fails, and by :func:`undo_abandoned`
if its process ended.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence

import structlog

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.store.sqlite.entries import check, copy_entries, delete_entries
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.steps import each_slice
from inbox.store.steps import AHEAD_SECONDS, MOST_ROWS

Pairs = list[tuple[int, int]]


async def copy(
    gateway: Gateway, tenant: str, source: str, uids: Sequence[int], target: str, name: str, now: Callable[[], float]
) -> Pairs:
    """Copies entries with their flags, all or nothing. Returns (old uid, new uid), by old uid.

    Args:
        name: the unique name of this copy.
        now: the current time, in seconds since the epoch.

    Raises:
        NotFound: a mailbox does not exist.
        StoreUnavailable: the copy was treated as abandoned.
        StorageFull, StoreError: the copy is undone, at the latest after a minute.
    """

    def plain(db: sqlite3.Connection) -> Pairs:
        check(db, tenant, source)
        check(db, tenant, target)
        return copy_entries(db, tenant, source, uids, target)

    if len(uids) <= MOST_ROWS:
        return await gateway.step(plain, tenant=tenant)
    pairs: Pairs = []
    noted = 0

    def step(db: sqlite3.Connection, some: Sequence[int]) -> Pairs:
        check(db, tenant, source)
        check(db, tenant, target)
        _check_notes(db, name, noted)
        copied = copy_entries(db, tenant, source, some, target)
        if copied:
            db.execute("INSERT INTO copying VALUES (?, ?, ?, ?, ?)", (name, target, copied[0][1], copied[-1][1], now()))
        return copied

    def end(db: sqlite3.Connection) -> None:
        _check_notes(db, name, noted)
        db.execute("DELETE FROM copying WHERE id = ?", (name,))

    try:
        async for copied in each_slice(gateway, tenant, uids, step):
            pairs += copied
            noted += bool(copied)
        await gateway.step(end, tenant=tenant)
    except BaseException:
        # A cancelled command must not leave half a copy behind either.
        await asyncio.shield(_try_to_undo(gateway, tenant, name))
        raise
    return pairs


async def undo_abandoned(gateway: Gateway, before: float) -> int:
    """Undoes copies whose last step was before that time, or far in the future; returns how many there were."""
    sql = "SELECT id FROM copying GROUP BY id HAVING max(at) < ?1 OR max(at) > ?1 + ?2"
    names = await gateway.read(lambda db: [name for (name,) in db.execute(sql, (before, AHEAD_SECONDS))])
    for name in names:
        await _undo(gateway, "", name)
    return len(names)


def _check_notes(db: sqlite3.Connection, name: str, noted: int) -> None:
    (there,) = db.execute("SELECT count(*) FROM copying WHERE id = ?", (name,)).fetchone()
    if there != noted:
        raise StoreUnavailable("the copy made no progress for too long and was undone: try again")


async def _try_to_undo(gateway: Gateway, tenant: str, name: str) -> None:
    try:
        await _undo(gateway, tenant, name)
    except StoreError as error:
        structlog.get_logger("inbox.store").warning("copy_not_undone_yet", copy=name, error=str(error))


async def _undo(gateway: Gateway, tenant: str, name: str) -> None:
    def step(db: sqlite3.Connection) -> bool:
        row = db.execute('SELECT mailbox, "first", "last" FROM copying WHERE id = ? LIMIT 1', (name,)).fetchone()
        if row is None:
            return False
        delete_entries(db, row[0], range(row[1], row[2] + 1))
        db.execute('DELETE FROM copying WHERE id = ? AND "first" = ?', (name, row[1]))
        return True

    while await gateway.step(step, tenant=tenant):
        pass
