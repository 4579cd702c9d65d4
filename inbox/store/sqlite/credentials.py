"""App passwords and SCRAM verifiers in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, cast

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.store.ports.credentials import (
    APP_PASSWORDS,
    USE_RECORDED_SECONDS,
    AppPassword,
    AppProtocol,
    app_password_mark,
    password_mark,
)
from inbox.store.sqlite import rows
from inbox.store.sqlite.gateway import Gateway
from inbox.store.texts import clean

_COLUMNS: Final = "id, name, protocols, password_hash, created_at, last_used_at, last_used_peer"


class SqliteCredentials:
    """``Credentials`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add_app_password(self, tenant: str, account: str, new: AppPassword) -> None:
        def work(db: sqlite3.Connection) -> None:
            found = db.execute(
                "SELECT 1 FROM account WHERE id = ? AND organization = ? AND NOT is_shared", (account, tenant)
            )
            if found.fetchone() is None:
                raise NotFound(f"no account {account}")
            (count,) = db.execute("SELECT count(*) FROM app_password WHERE account = ?", (account,)).fetchone()
            if count >= APP_PASSWORDS:
                raise LimitReached(f"an account may have {APP_PASSWORDS} app passwords")
            added = db.execute(
                f"INSERT INTO app_password (account, organization, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (
                    account, tenant, new.id, clean(new.name), rows.words_to_text(new.protocols), new.password_hash,
                    new.created_at, new.last_used_at, new.last_used_peer,
                ),
            )  # fmt: skip
            if not added.rowcount:
                raise AlreadyExists(f"app password {new.id} exists")

        await self._gateway.write(work, tenant=tenant)

    async def app_passwords(self, tenant: str, account: str) -> list[AppPassword]:
        sql = f"SELECT {_COLUMNS} FROM app_password WHERE account = ? AND organization = ? ORDER BY created_at, id"
        return await self._gateway.read(lambda db: [_made(row) for row in db.execute(sql, (account, tenant))])

    async def app_password(self, tenant: str, account: str, app: str) -> AppPassword | None:
        def work(db: sqlite3.Connection) -> AppPassword | None:
            sql = f"SELECT {_COLUMNS} FROM app_password WHERE account = ? AND id = ? AND organization = ?"
            row = db.execute(sql, (account, app, tenant)).fetchone()
            return None if row is None else _made(row)

        return await self._gateway.read(work)

    async def revoke_app_password(self, tenant: str, account: str, app: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            sql = "DELETE FROM app_password WHERE account = ? AND id = ? AND organization = ?"
            if not db.execute(sql, (account, app, tenant)).rowcount:
                raise NotFound(f"no app password {app}")

        await self._gateway.write(work, tenant=tenant)

    async def used_app_password(self, tenant: str, account: str, app: str, at: float, peer: str) -> None:
        sql = (
            "UPDATE app_password SET last_used_at = ?1, last_used_peer = ?2 WHERE account = ?3 AND id = ?4 "
            "AND organization = ?5 AND (last_used_at IS NULL OR abs(?1 - last_used_at) >= ?6)"
        )
        values = (at, peer, account, app, tenant, USE_RECORDED_SECONDS)
        await self._gateway.write(lambda db: db.execute(sql, values), tenant=tenant)

    async def set_scram(self, tenant: str, account: str, scram: str, password_hash: str) -> None:
        sql = "UPDATE account SET scram = ? WHERE id = ? AND organization = ? AND password_hash = ?"
        await self._gateway.write(lambda db: db.execute(sql, (scram, account, tenant, password_hash)), tenant=tenant)

    async def marks(self, accounts: Sequence[str]) -> dict[str, frozenset[str]]:
        ids = rows.words_to_text(list(accounts))
        wanted = "(SELECT value FROM json_each(?))"

        def work(db: sqlite3.Connection) -> dict[str, frozenset[str]]:
            found: dict[str, set[str]] = {}
            for account, stored in db.execute(f"SELECT id, password_hash FROM account WHERE id IN {wanted}", (ids,)):
                found[account] = {password_mark(stored)}
            for account, app in db.execute(f"SELECT account, id FROM app_password WHERE account IN {wanted}", (ids,)):
                found.setdefault(account, set()).add(app_password_mark(app))
            return {account: frozenset(marks) for account, marks in found.items()}

        return await self._gateway.read(work)


def _made(row: Sequence[Any]) -> AppPassword:
    id_, name, protocols, stored, created_at, last_used_at, peer = row
    words = cast("tuple[AppProtocol, ...]", rows.text_to_words(protocols))
    return AppPassword(id_, name, words, stored, created_at, last_used_at, peer or "")
