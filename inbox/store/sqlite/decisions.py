"""Decision records in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from inbox.store.records import DecisionFilter, DecisionRecord
from inbox.store.room import Room
from inbox.store.sqlite import rows
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.steps import remove_in_steps


class SqliteDecisions:
    """``Decisions`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, room: Room) -> None:
        self._gateway = gateway
        self._room = room

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        # Refusals must not use up the room that lets users delete mail.
        self._room.check()
        await self._gateway.write(lambda db: rows.add_decisions(db, decisions))

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]:
        def work(db: sqlite3.Connection) -> list[DecisionRecord]:
            where, values = (" AND tenant = ?", (decision, tenant)) if tenant is not None else ("", (decision,))
            found = db.execute(f"SELECT {rows.DECISION} FROM decision WHERE id = ?{where} ORDER BY tenant", values)
            return [rows.decision(row) for row in found]

        return await self._gateway.read(work)

    async def search(self, wanted: DecisionFilter, limit: int = 50) -> list[DecisionRecord]:
        conditions = {
            "tenant = ?": wanted.tenant,
            "outcome = ?": wanted.outcome,
            # Addresses are kept as they came; instr() knows no wildcards that an address could hold.
            "instr(lower(sender), lower(?))": wanted.sender,
            "EXISTS (SELECT 1 FROM json_each(recipients) WHERE instr(lower(value), lower(?)))": wanted.recipient,
            "at >= ?": wanted.since or None,
        }
        given = {condition: value for condition, value in conditions.items() if value is not None}
        where = f" WHERE {' AND '.join(given)}" if given else ""
        sql = f"SELECT {rows.DECISION} FROM decision{where} ORDER BY at DESC, id DESC LIMIT ?"

        def work(db: sqlite3.Connection) -> list[DecisionRecord]:
            return [rows.decision(row) for row in db.execute(sql, (*given.values(), limit))]

        return await self._gateway.read(work)

    async def prune(self, before: float) -> int:
        sql = "DELETE FROM decision WHERE rowid IN (SELECT rowid FROM decision WHERE at < ? LIMIT ?)"
        return await remove_in_steps(self._gateway, "", lambda db, rows: db.execute(sql, (before, rows)).rowcount)
