"""Signing keys of hosted domains in SQLite."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, fields
from typing import Final

from inbox.base.errors import AlreadyExists, NotFound
from inbox.store.ports import DkimKeyRecord, DkimKeyState
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import hosts

_NAMES: Final = tuple(field.name for field in fields(DkimKeyRecord))
_COLUMNS: Final = ", ".join(_NAMES)
_MARKS: Final = ", ".join("?" * len(_NAMES))
_ONE: Final = "tenant = ? AND domain = ? AND selector = ?"
#: A key that returns to an earlier state loses the times of the later states.
_SET_STATE: Final[dict[DkimKeyState, str]] = {
    "pending": "state = 'pending', created_at = ?, activated_at = 0, retired_at = 0",
    "active": "state = 'active', activated_at = ?, retired_at = 0",
    "retired": "state = 'retired', retired_at = ?",
}


class SqliteDkimKeys:
    """``DkimKeys`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, key: DkimKeyRecord) -> None:
        def work(db: sqlite3.Connection) -> None:
            if not hosts(db, key.tenant, key.domain):
                raise NotFound(f"{key.tenant} does not host {key.domain}")
            added = db.execute(
                f"INSERT INTO dkim_key ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT DO NOTHING", astuple(key)
            )
            if not added.rowcount:
                raise AlreadyExists(f"{key.domain} has a key with the selector {key.selector}")

        await self._gateway.write(work)

    async def all(self, tenant: str, domain: str) -> list[DkimKeyRecord]:
        return await self._select("tenant = ? AND domain = ?", tenant, domain)

    async def pending(self) -> list[DkimKeyRecord]:
        return await self._select("state = 'pending'")

    async def set_state(
        self,
        tenant: str,
        domain: str,
        selector: str,
        state: DkimKeyState,
        at: float,
        *,
        was: DkimKeyState | None = None,
    ) -> None:
        await self._gateway.write(lambda db: _set_state(db, tenant, domain, selector, state, at, was))

    async def activate(
        self, tenant: str, domain: str, selector: str, at: float, *, was: DkimKeyState | None = None
    ) -> list[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            _set_state(db, tenant, domain, selector, "active", at, was)
            retired = db.execute(
                f"UPDATE dkim_key SET {_SET_STATE['retired']} WHERE tenant = ? AND domain = ? AND selector <> ? "
                "AND state = 'active' AND algorithm = "
                f"(SELECT algorithm FROM dkim_key WHERE {_ONE}) RETURNING selector",
                (at, tenant, domain, selector, tenant, domain, selector),
            )
            return sorted(selector for (selector,) in retired)

        return await self._gateway.write(work)

    async def remove(self, tenant: str, domain: str, selector: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            if not db.execute(f"DELETE FROM dkim_key WHERE {_ONE}", (tenant, domain, selector)).rowcount:
                raise _gone(domain, selector)

        await self._gateway.write(work)

    async def _select(self, where: str, *values: str) -> list[DkimKeyRecord]:
        sql = f"SELECT {_COLUMNS} FROM dkim_key WHERE {where} ORDER BY created_at, selector, tenant, domain"
        return await self._gateway.read(lambda db: [DkimKeyRecord(*row) for row in db.execute(sql, values)])


def _set_state(
    db: sqlite3.Connection,
    tenant: str,
    domain: str,
    selector: str,
    state: DkimKeyState,
    at: float,
    was: DkimKeyState | None,
) -> None:
    # COALESCE: without ``was`` any state matches.
    changed = db.execute(
        f"UPDATE dkim_key SET {_SET_STATE[state]} WHERE {_ONE} AND state = COALESCE(?, state)",
        (at, tenant, domain, selector, was),
    )
    if not changed.rowcount:
        raise _gone(domain, selector)


def _gone(domain: str, selector: str) -> NotFound:
    return NotFound(f"{domain} has no such key with the selector {selector}")
