"""Idempotency keys in SQLite."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Final

from inbox.base.errors import KeyTaken
from inbox.store.ports.hosting import STEP
from inbox.store.ports.idempotency import REMEMBERED_SECONDS, IdempotencyKey
from inbox.store.sqlite.gateway import Gateway

#: Keys that one step of the sweep looks at.
_PAGE: Final = 100
_COLUMNS: Final = "org_id, key, fingerprint, decision, created_at"
#: Keys to look at, with the time at which the last job of the message ended: ``:now`` if one has not.
_DUE: Final = """
    SELECT k.org_id, k.key, k.created_at, max(
        coalesce((SELECT max(iif(q.status = 'dead', q.died_at, :now)) FROM outbound_queue q
            WHERE q.org_id = k.org_id AND q.decision = k.decision AND q.decision <> ''), 0.0),
        coalesce((SELECT max(d.delivered_at) FROM outbound_delivery d
            WHERE d.org_id = k.org_id AND d.decision = k.decision AND d.decision <> ''), 0.0))
    FROM idempotency_key k WHERE k.check_at <= :now ORDER BY k.check_at LIMIT :limit"""


class SqliteIdempotencyKeys:
    """``IdempotencyKeys`` of ``inbox.store.ports.idempotency``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def get(self, tenant: str, key: str) -> IdempotencyKey | None:
        sql = f"SELECT {_COLUMNS} FROM idempotency_key WHERE org_id = ? AND key = ?"
        row = await self._gateway.read(lambda db: db.execute(sql, (tenant, key)).fetchone())
        return None if row is None else IdempotencyKey(*row)

    async def forget(self, tenant: str) -> int:
        sql = (
            "DELETE FROM idempotency_key WHERE (org_id, key) IN "
            "(SELECT org_id, key FROM idempotency_key WHERE org_id = ? LIMIT ?)"
        )
        return await self._gateway.step(lambda db: db.execute(sql, (tenant, STEP)).rowcount)

    async def prune(self, now: float) -> int:
        removed = 0
        while True:
            looked_at, gone = await self._gateway.step(partial(_sweep, now=now))
            removed += gone
            if not looked_at:
                return removed


def _sweep(db: sqlite3.Connection, now: float) -> tuple[int, int]:
    """Looks at some of the keys that are due, and removes those that have expired; returns how many of both."""
    due = db.execute(_DUE, {"now": now, "limit": _PAGE}).fetchall()
    gone = 0
    for tenant, key, created_at, ended_at in due:
        check_at = max(created_at, ended_at) + REMEMBERED_SECONDS
        if check_at > now:
            db.execute("UPDATE idempotency_key SET check_at = ? WHERE org_id = ? AND key = ?", (check_at, tenant, key))
        else:
            gone += db.execute("DELETE FROM idempotency_key WHERE org_id = ? AND key = ?", (tenant, key)).rowcount
    return len(due), gone


def add_key(db: sqlite3.Connection, key: IdempotencyKey) -> None:
    """Writes the key of a message, in the caller's transaction.

    Raises:
        KeyTaken: the tenant's message with this key was accepted before.
    """
    added = db.execute(
        f"INSERT INTO idempotency_key ({_COLUMNS}, check_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            key.tenant, key.key, key.fingerprint, key.transaction, key.created_at,
            key.created_at + REMEMBERED_SECONDS,
        ),
    )  # fmt: skip
    if not added.rowcount:
        raise KeyTaken("another message was accepted with the same idempotency key")
