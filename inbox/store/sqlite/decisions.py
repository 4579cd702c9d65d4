"""Decision records in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from inbox.store.ports.decisions import DecisionFilter, DecisionRecord
from inbox.store.room import Room
from inbox.store.sqlite import rows
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.steps import remove_in_steps

#: Records that one read compares, so that it holds neither a snapshot nor a reader for long.
PAGE: Final = 2000

#: The end of a page: time, id and tenant of its last record.
Place = tuple[float, str, str]


def selection(columns: str, wanted: DecisionFilter, before: Place | None = None) -> tuple[str, list[Any]]:
    """Returns a SELECT of the candidate records, newest first, and its values; sender and recipient are not compared.

    Every combination of filters reads along an index, in the order of the result (see 0006.sql).
    """
    # The unary plus keeps SQLite from reading all tenants' records of one outcome: the tenant's index has the outcome,
    # too.
    outcome = "outcome = ?" if wanted.tenant is None else "+outcome = ?"
    conditions = {"tenant = ?": wanted.tenant, outcome: wanted.outcome, "at >= ?": wanted.since or None}
    given = [condition for condition, value in conditions.items() if value is not None]
    values: list[Any] = [value for value in conditions.values() if value is not None]
    if before is not None:
        given.append("(at, id, tenant) < (?, ?, ?)")
        values += before
    where = f" WHERE {' AND '.join(given)}" if given else ""
    return f"SELECT {columns} FROM decision{where} ORDER BY at DESC, id DESC, tenant DESC", values


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of results; ``last`` is its end, or None if no record follows."""

    found: list[DecisionRecord]
    last: Place | None


def _page(db: sqlite3.Connection, wanted: DecisionFilter, before: Place | None, limit: int) -> _Page:
    sql, values = selection("at, id, tenant, rowid, sender, recipients", wanted, before)
    seen = db.execute(f"{sql} LIMIT ?", (*values, PAGE)).fetchall()
    matching = [row[3] for row in seen if _matches(wanted, row[4], row[5])][:limit]
    found = [
        rows.decision(db.execute(f"SELECT {rows.DECISION} FROM decision WHERE rowid = ?", (number,)).fetchone())
        for number in matching
    ]
    return _Page(found, (seen[-1][0], seen[-1][1], seen[-1][2]) if len(seen) == PAGE else None)


def _matches(wanted: DecisionFilter, sender: str, recipients: str) -> bool:
    """Whether the addresses contain the wanted words. Case is ignored here because addresses are stored as received."""
    if wanted.sender is not None and wanted.sender.lower() not in sender.lower():
        return False
    if wanted.recipient is None:
        return True
    word = wanted.recipient.lower()
    return any(word in recipient.lower() for recipient in rows.recipients_of(recipients))


class SqliteDecisions:
    """``Decisions`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, room: Room) -> None:
        self._gateway = gateway
        self._room = room

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        # Records of refusals must not use up the room that users need to delete mail.
        self._room.check()
        await self._gateway.write(lambda db: rows.add_decisions(db, decisions))

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]:
        def work(db: sqlite3.Connection) -> list[DecisionRecord]:
            where, values = (" AND tenant = ?", (decision, tenant)) if tenant is not None else ("", (decision,))
            found = db.execute(f"SELECT {rows.DECISION} FROM decision WHERE id = ?{where} ORDER BY tenant", values)
            return [rows.decision(row) for row in found]

        return await self._gateway.read(work)

    async def search(self, wanted: DecisionFilter, limit: int = 50) -> list[DecisionRecord]:
        if wanted.sender is None and wanted.recipient is None:
            sql, values = selection(rows.DECISION, wanted)
            return await self._gateway.read(
                lambda db: [rows.decision(row) for row in db.execute(f"{sql} LIMIT ?", (*values, limit))]
            )
        found: list[DecisionRecord] = []
        before: Place | None = None
        while len(found) < limit:
            page = await self._gateway.read(partial(_page, wanted=wanted, before=before, limit=limit - len(found)))
            found += page.found
            if page.last is None:
                break
            before = page.last
        return found

    async def prune(self, before: float) -> int:
        sql = "DELETE FROM decision WHERE rowid IN (SELECT rowid FROM decision WHERE at < ? LIMIT ?)"
        return await remove_in_steps(self._gateway, "", lambda db, rows: db.execute(sql, (before, rows)).rowcount)
