"""Long jobs in steps on SQLite (:mod:`inbox.store.steps`)."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from inbox.store.sqlite.gateway import Gateway
from inbox.store.steps import Pace, in_slices, until_done

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_slice(
    gateway: Gateway, tenant: str, items: Sequence[Item], work: Callable[[sqlite3.Connection, Sequence[Item]], Result]
) -> AsyncIterator[Result]:
    """Runs ``work`` on slices of ``items``, each in its own transaction, and yields each result.

    Use it for a command on known rows, such as the uids of a STORE. ``work`` must leave a consistent database, because
    the process may end after any step. It must also check its preconditions again (the mailbox still exists, a flag is
    still set), because others write between two steps.

    Args:
        tenant: the tenant whose share of the writer the job uses; empty for work of the installation itself.
    """
    pace = Pace()
    return in_slices(
        items,
        pace,
        lambda some: gateway.step(pace.timed(len(some), lambda db: work(db, some)), tenant=tenant),
    )


async def remove_in_steps(gateway: Gateway, tenant: str, work: Callable[[sqlite3.Connection, int], int]) -> int:
    """Runs ``work``, which removes at most the given number of rows and returns how many, until nothing is left.

    Use it to remove rows by a condition, for example all records before a day: ``DELETE FROM t WHERE rowid IN (SELECT
    rowid FROM t WHERE at < ? LIMIT ?)``. Each call is its own transaction. The condition needs an index: a step that
    scans the whole table to find its rows is not short.

    Args:
        tenant: the tenant whose share of the writer the job uses; empty for work of the installation itself.

    Returns:
        The total number of rows removed.
    """
    pace = Pace()
    return await until_done(pace, lambda rows: gateway.step(pace.timed(rows, lambda db: work(db, rows)), tenant=tenant))
