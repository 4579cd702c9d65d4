"""Long jobs on SQLite, in steps (:mod:`inbox.store.steps`)."""

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
    """Runs ``work`` on slices of ``items``, each in a transaction of its own, and yields each result.

    For a command about rows that are known, e.g. the uids of a STORE. ``work`` must find a consistent database and
    leave one, for the process may end after any step; and it must look again at what it relies on (that the mailbox
    is still there, that a flag is still set), for others write between two steps.

    Args:
        tenant: whose job it is, for a fair share of the writer; empty for the installation's own.
    """
    pace = Pace()
    return in_slices(
        items,
        pace,
        lambda some: gateway.step(pace.timed(len(some), lambda db: work(db, some)), tenant=tenant),
    )


async def remove_in_steps(gateway: Gateway, tenant: str, work: Callable[[sqlite3.Connection, int], int]) -> int:
    """Runs ``work``, which removes at most as many rows as it is given and returns how many, until nothing is left.

    For whatever removes rows by a condition, e.g. all records before a day:
    ``DELETE FROM t WHERE rowid IN (SELECT rowid FROM t WHERE at < ? LIMIT ?)``. Each call is a transaction of its own.
    The condition needs an index: a step that reads the whole table to find its rows is no short one.

    Args:
        tenant: whose job it is, for a fair share of the writer; empty for the installation's own.

    Returns:
        How many rows were removed in all.
    """
    pace = Pace()
    return await until_done(pace, lambda rows: gateway.step(pace.timed(rows, lambda db: work(db, rows)), tenant=tenant))
