"""Durable state of plugins in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inbox.base.errors import NotFound
from inbox.base.limits import STATE_ENTRIES
from inbox.store.ports.hosting import STEP
from inbox.store.ports.plugin_state import (
    MAKE_ROOM,
    Changes,
    Delete,
    Entry,
    StateEntry,
    StateSize,
    checked,
    checked_key,
    decide,
    few,
    full,
)
from inbox.store.room import Room
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import words_to_text
from inbox.store.sqlite.steps import remove_in_steps
from inbox.store.texts import clean

_TABLE: Final = "tenant = :tenant AND plugin = :plugin AND name = :name"
_LIVES: Final = "(expires_at IS NULL OR expires_at > :now)"
_READ: Final = (
    f"SELECT key, value, expires_at FROM plugin_state WHERE {_TABLE} AND key IN (SELECT value FROM json_each(:keys))"
)
_WRITE: Final = """
    INSERT INTO plugin_state (tenant, plugin, name, key, value, expires_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"""
_REMOVE: Final = "DELETE FROM plugin_state WHERE tenant = ? AND plugin = ? AND name = ? AND key = ?"
_DROP: Final = """
    DELETE FROM plugin_state WHERE (tenant, plugin, name, key) IN (
        SELECT tenant, plugin, name, key FROM plugin_state
        WHERE tenant = ? AND plugin = ? AND expires_at IS NOT NULL ORDER BY expires_at LIMIT ?)"""


class SqlitePluginState:
    """``PluginState`` of ``inbox.store.ports.plugin_state``."""

    def __init__(self, gateway: Gateway, room: Room) -> None:
        self._gateway = gateway
        self._room = room

    async def get(self, tenant: str, plugin: str, table: str, keys: Sequence[str], now: float) -> dict[str, bytes]:
        wanted = {key: checked_key(key) for key in few(keys)}
        found = await self._gateway.read(lambda db: _read(db, tenant, plugin, table, list(wanted.values())))
        return {key: found[name].value for key, name in wanted.items() if name in found and found[name].lives(now)}

    async def apply(self, changes: Changes) -> list[Any]:
        changes = checked(changes)
        if not all(isinstance(change, Delete) for change in changes.changes):
            # Like mail, these writes are refused before the disk is full.
            self._room.check(sum(len(getattr(change, "value", b"")) for change in changes.changes))
        return await self._gateway.write(lambda db: _apply(db, changes), tenant=changes.tenant)

    async def count(self, tenant: str, plugin: str, table: str, now: float) -> int:
        values = {"tenant": tenant, "plugin": plugin, "name": table, "now": now}
        sql = f"SELECT count(*) FROM plugin_state WHERE {_TABLE} AND {_LIVES}"
        return await self._gateway.read(lambda db: int(db.execute(sql, values).fetchone()[0]))

    async def scan(
        self, tenant: str, plugin: str, table: str, now: float, *, prefix: str = "", after: str = "", limit: int = 500
    ) -> list[StateEntry]:
        prefix, after = clean(prefix), clean(after)
        values = {
            "tenant": tenant, "plugin": plugin, "name": table, "now": now, "limit": min(limit, STEP),
            "from": max(prefix, after), "after": after, "prefix": prefix, "size": len(prefix),
        }  # fmt: skip
        # The read starts at the prefix and stops at the first key without it, so no upper bound is needed.
        sql = (
            f"SELECT key, value, expires_at FROM plugin_state WHERE {_TABLE} AND key >= :from AND key > :after "
            f"AND substr(key, 1, :size) = :prefix AND {_LIVES} ORDER BY key LIMIT :limit"
        )
        return await self._gateway.read(lambda db: [StateEntry(*row) for row in db.execute(sql, values)])

    async def sizes(self, tenant: str | None = None, plugin: str | None = None) -> list[StateSize]:
        where = "".join(
            f" AND {name} = :{name}" for name, value in (("tenant", tenant), ("plugin", plugin)) if value is not None
        )
        sql = (
            f"SELECT tenant, plugin, name, count(*) FROM plugin_state WHERE TRUE{where} "
            "GROUP BY tenant, plugin, name ORDER BY tenant, plugin, name"
        )
        values = {"tenant": tenant, "plugin": plugin}
        return await self._gateway.read(lambda db: [StateSize(*row) for row in db.execute(sql, values)])

    async def forget(self, tenant: str, plugin: str | None = None, table: str | None = None) -> int:
        where, values = "tenant = ?", [tenant]
        for column, value in (("plugin", plugin), ("name", table)):
            if value is not None:
                where += f" AND {column} = ?"
                values.append(value)
        sql = (
            "DELETE FROM plugin_state WHERE (tenant, plugin, name, key) IN "
            f"(SELECT tenant, plugin, name, key FROM plugin_state WHERE {where} LIMIT ?)"
        )
        return await self._gateway.step(lambda db: db.execute(sql, (*values, STEP)).rowcount)

    async def prune(self, now: float) -> int:
        sql = (
            "DELETE FROM plugin_state WHERE (tenant, plugin, name, key) IN "
            "(SELECT tenant, plugin, name, key FROM plugin_state WHERE expires_at < ? LIMIT ?)"
        )
        return await remove_in_steps(self._gateway, "", lambda db, count: db.execute(sql, (now, count)).rowcount)


def _read(db: sqlite3.Connection, tenant: str, plugin: str, table: str, keys: Sequence[str]) -> dict[str, Entry]:
    values = {"tenant": tenant, "plugin": plugin, "name": table, "keys": words_to_text(list(keys))}
    return {key: Entry(value, expires_at) for key, value, expires_at in db.execute(_READ, values)}


def _apply(db: sqlite3.Connection, changes: Changes) -> list[Any]:
    place = changes.tenant, changes.plugin, changes.table
    if db.execute("SELECT 1 FROM organization WHERE id = ?", (changes.tenant,)).fetchone() is None:
        raise NotFound(f"no tenant {changes.tenant}")
    there = _read(db, *place, [change.key for change in changes.changes])
    applied = decide(changes, there)
    _make_room(db, changes, applied.written)
    for key, entry in applied.written.items():
        if entry is None:
            db.execute(_REMOVE, (*place, key))
        else:
            db.execute(_WRITE, (*place, key, entry.value, entry.expires_at))
    return applied.results


def _make_room(db: sqlite3.Connection, changes: Changes, written: Mapping[str, Entry | None]) -> None:
    """Removes the entries that expire first until the new ones fit. Raises TableFull."""
    place, kept = (changes.tenant, changes.plugin), [key for key, entry in written.items() if entry is not None]
    while True:
        row = db.execute("SELECT entries FROM plugin_state_size WHERE tenant = ? AND plugin = ?", place).fetchone()
        fresh = len(kept) - len(_read(db, *place, changes.table, kept))
        over = (row[0] if row else 0) + fresh - STATE_ENTRIES
        if not fresh or over <= 0:
            return
        if not db.execute(_DROP, (*place, max(over, MAKE_ROOM))).rowcount:
            raise full(changes)
