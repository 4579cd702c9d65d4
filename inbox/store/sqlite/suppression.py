"""Suppression lists in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from inbox.base.errors import NotFound
from inbox.store.ports.hosting import STEP
from inbox.store.ports.suppression import (
    MOST_ENTRIES,
    MOST_OF_TENANT,
    Suppression,
    SuppressionScope,
    bounded,
    chosen,
    domain_of,
    full,
)
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import words_to_text
from inbox.store.sqlite.steps import remove_in_steps
from inbox.store.texts import clean

_COLUMNS: Final = "org_id, scope, target, reason, source, is_active, created_at, expires_at"
_PUT: Final = f"""
    INSERT INTO suppression ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET reason = excluded.reason, source = excluded.source, is_active = excluded.is_active,
        created_at = excluded.created_at, expires_at = excluded.expires_at"""
_UNLESS_THERE: Final = " WHERE suppression.expires_at <= excluded.created_at"
_FIND: Final = f"""
    SELECT {_COLUMNS} FROM suppression
    WHERE org_id = :tenant AND scope = :scope AND target IN (SELECT value FROM json_each(:targets))"""


class SqliteSuppressions:
    """``Suppressions`` of ``inbox.store.ports.suppression``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def put(self, entries: Sequence[Suppression], *, replace: bool = True, most: int = MOST_OF_TENANT) -> int:
        bounded(entries)
        sql = _PUT if replace else _PUT + _UNLESS_THERE
        rows = [_values(entry) for entry in entries]
        now = max((entry.created_at for entry in entries), default=0.0)

        def work(db: sqlite3.Connection) -> int:
            tenants = {entry.tenant for entry in entries}
            for tenant in tenants:
                if db.execute("SELECT 1 FROM organization WHERE id = ?", (tenant,)).fetchone() is None:
                    raise NotFound(f"no tenant {tenant}")
            sizes = {tenant: _size(db, tenant) for tenant in tenants}
            written = sum(db.execute(sql, row).rowcount for row in rows)
            for tenant, before in sizes.items():
                _make_room(db, tenant, before, most, now)
            return written

        return await self._gateway.write(work, tenant=entries[0].tenant if entries else "")

    async def find(self, tenant: str, addresses: Sequence[str], now: float) -> dict[str, Suppression]:
        bounded(addresses)
        cleaned = {address: clean(address) for address in addresses}
        domains = {domain_of(address) for address in cleaned.values()}

        def work(db: sqlite3.Connection) -> list[Suppression]:
            return _find(db, tenant, "address", list(cleaned.values())) + _find(db, tenant, "domain", list(domains))

        found = await self._gateway.read(work)
        if not found:
            return {}
        return {address: entry for address, key in cleaned.items() if (entry := chosen(key, found, now)) is not None}

    async def get(self, tenant: str, scope: SuppressionScope, target: str) -> Suppression | None:
        found = await self._gateway.read(lambda db: _find(db, tenant, scope, [clean(target)]))
        return found[0] if found else None

    async def all(
        self, tenant: str, *, after: Suppression | None = None, limit: int = MOST_ENTRIES
    ) -> list[Suppression]:
        place = ("", "") if after is None else (after.scope, after.target)
        sql = (
            f"SELECT {_COLUMNS} FROM suppression WHERE org_id = ? AND (scope, target) > (?, ?) "
            "ORDER BY scope, target LIMIT ?"
        )
        values = (tenant, *place, min(limit, MOST_ENTRIES))
        return await self._gateway.read(lambda db: [_entry(row) for row in db.execute(sql, values)])

    async def remove(self, tenant: str, scope: SuppressionScope, targets: Sequence[str]) -> int:
        bounded(targets)
        sql = (
            "DELETE FROM suppression WHERE org_id = :tenant AND scope = :scope "
            "AND target IN (SELECT value FROM json_each(:targets))"
        )
        values = {"tenant": tenant, "scope": scope, "targets": words_to_text([clean(target) for target in targets])}
        return await self._gateway.write(lambda db: db.execute(sql, values).rowcount, tenant=tenant)

    async def forget(self, tenant: str) -> int:
        sql = (
            "DELETE FROM suppression WHERE (org_id, scope, target) IN "
            "(SELECT org_id, scope, target FROM suppression WHERE org_id = ? LIMIT ?)"
        )
        return await self._gateway.step(lambda db: db.execute(sql, (tenant, STEP)).rowcount)

    async def prune(self, before: float) -> int:
        sql = (
            "DELETE FROM suppression WHERE (org_id, scope, target) IN "
            "(SELECT org_id, scope, target FROM suppression WHERE expires_at < ? LIMIT ?)"
        )
        return await remove_in_steps(self._gateway, "", lambda db, count: db.execute(sql, (before, count)).rowcount)


def _size(db: sqlite3.Connection, tenant: str) -> int:
    row = db.execute("SELECT entries FROM suppression_size WHERE org_id = ?", (tenant,)).fetchone()
    return 0 if row is None else int(row[0])


def _make_room(db: sqlite3.Connection, tenant: str, before: int, most: int, now: float) -> None:
    """Removes expired entries of a list that has grown beyond its limit. Raises SuppressionListFull."""
    after = _size(db, tenant)
    if after <= max(before, most):
        return
    removed = db.execute(
        "DELETE FROM suppression WHERE (org_id, scope, target) IN (SELECT org_id, scope, target FROM suppression "
        "WHERE org_id = ? AND expires_at <= ? ORDER BY expires_at LIMIT ?)",
        (tenant, now, after - most),
    ).rowcount
    if after - removed > max(before, most):
        raise full(tenant, most)


def _find(db: sqlite3.Connection, tenant: str, scope: str, targets: list[str]) -> list[Suppression]:
    values = {"tenant": tenant, "scope": scope, "targets": words_to_text(targets)}
    return [_entry(row) for row in db.execute(_FIND, values)]


def _entry(row: tuple[Any, ...]) -> Suppression:
    tenant, scope, target, reason, source, is_active, created_at, expires_at = row
    return Suppression(tenant, scope, target, reason, source, bool(is_active), created_at, expires_at)


def _values(entry: Suppression) -> tuple[Any, ...]:
    return (
        entry.tenant, entry.scope, clean(entry.target), clean(entry.reason), clean(entry.source), int(entry.is_active),
        entry.created_at, entry.expires_at,
    )  # fmt: skip
