"""Decision records and rate counters in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from inbox.store.records import Counted, DecisionFilter, DecisionRecord
from inbox.store.sqlite import rows
from inbox.store.sqlite.gateway import Gateway


class SqliteDecisions:
    """``Decisions`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
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
        return await self._gateway.write(lambda db: db.execute("DELETE FROM decision WHERE at < ?", (before,)).rowcount)


class SqliteRates:
    """``RateCounters`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        ends = (now // window + 1) * window

        def work(db: sqlite3.Connection) -> Counted:
            row = db.execute(
                "INSERT INTO smtp_rate_limit (counter_key, count, expires_at) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (counter_key) DO UPDATE SET "
                # One that ends after the window that we are in was begun by a clock that was wrong.
                "count = CASE WHEN expires_at <= ?4 OR expires_at > ?3 THEN ?2 ELSE count + ?2 END, "
                "expires_at = CASE WHEN expires_at <= ?4 OR expires_at > ?3 THEN ?3 ELSE expires_at END "
                "RETURNING count, expires_at",
                (key, amount, ends, now),
            ).fetchone()
            return Counted(row[0], row[1])

        return await self._gateway.write(work)

    async def prune(self, now: float) -> int:
        sql = "DELETE FROM smtp_rate_limit WHERE expires_at <= ?"
        return await self._gateway.write(lambda db: db.execute(sql, (now,)).rowcount)
