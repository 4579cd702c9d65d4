"""API keys in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, cast

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.store.ports.api_keys import API_KEYS, USE_RECORDED_SECONDS, ApiKey, ApiOperation
from inbox.store.ports.hosting import STEP
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import text_to_words, words_to_text
from inbox.store.texts import clean

_COLUMNS: Final = (
    "org_id, id, name, role, secret_hash, operations, domains, senders, networks, created_at, expires_at, old_hash, "
    "old_until, last_used_at, last_used_peer"
)


class SqliteApiKeys:
    """``ApiKeys`` of ``inbox.store.ports.api_keys``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, new: ApiKey) -> None:
        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM organization WHERE id = ?", (new.tenant,)).fetchone() is None:
                raise NotFound(f"no tenant {new.tenant}")
            (count,) = db.execute("SELECT count(*) FROM api_key WHERE org_id = ?", (new.tenant,)).fetchone()
            if count >= API_KEYS:
                raise LimitReached(f"a tenant may have {API_KEYS} API keys: revoke those that are not used")
            marks = ", ".join("?" * 15)
            sql = f"INSERT INTO api_key ({_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"
            if not db.execute(sql, _values(new)).rowcount:
                raise AlreadyExists(f"API key {new.id} exists")

        await self._gateway.write(work, tenant=new.tenant)

    async def find(self, key: str) -> ApiKey | None:
        return await self._one("id = ?", clean(key))

    async def get(self, tenant: str, key: str) -> ApiKey | None:
        return await self._one("org_id = ? AND id = ?", tenant, clean(key))

    async def all(self, tenant: str) -> Sequence[ApiKey]:
        sql = f"SELECT {_COLUMNS} FROM api_key WHERE org_id = ? ORDER BY created_at, id"
        return await self._gateway.read(lambda db: [_key(row) for row in db.execute(sql, (tenant,))])

    async def rotate(self, tenant: str, key: str, secret_hash: str, old_until: float) -> None:
        sql = (
            "UPDATE api_key SET old_hash = secret_hash, old_until = ?, secret_hash = ? WHERE org_id = ? AND id = ?",
            (old_until, secret_hash, tenant, clean(key)),
        )
        if not await self._gateway.write(lambda db: db.execute(*sql).rowcount, tenant=tenant):
            raise NotFound(f"no API key {key}")

    async def revoke(self, tenant: str, key: str) -> None:
        sql = "DELETE FROM api_key WHERE org_id = ? AND id = ?"
        values = (tenant, clean(key))
        if not await self._gateway.write(lambda db: db.execute(sql, values).rowcount, tenant=tenant):
            raise NotFound(f"no API key {key}")

    async def used(self, tenant: str, key: str, at: float, peer: str) -> None:
        sql = (
            "UPDATE api_key SET last_used_at = ?1, last_used_peer = ?2 WHERE org_id = ?3 AND id = ?4 "
            "AND (last_used_at IS NULL OR abs(?1 - last_used_at) >= ?5)"
        )
        values = (at, peer, tenant, clean(key), USE_RECORDED_SECONDS)
        await self._gateway.write(lambda db: db.execute(sql, values), tenant=tenant)

    async def forget(self, tenant: str) -> int:
        sql = "DELETE FROM api_key WHERE id IN (SELECT id FROM api_key WHERE org_id = ? LIMIT ?)"
        return await self._gateway.step(lambda db: db.execute(sql, (tenant, STEP)).rowcount)

    async def _one(self, where: str, *values: str) -> ApiKey | None:
        sql = f"SELECT {_COLUMNS} FROM api_key WHERE {where}"

        def work(db: sqlite3.Connection) -> ApiKey | None:
            row = db.execute(sql, values).fetchone()
            return None if row is None else _key(row)

        return await self._gateway.read(work)


def _values(key: ApiKey) -> tuple[Any, ...]:
    lists = (key.operations, key.domains, key.senders, key.networks)
    return (
        key.tenant, clean(key.id), clean(key.name), key.role, key.secret_hash, *map(words_to_text, lists),
        key.created_at, key.expires_at, key.old_hash, key.old_until, key.last_used_at, key.last_used_peer,
    )  # fmt: skip


def _key(row: Sequence[Any]) -> ApiKey:
    tenant, id_, name, role, secret_hash, operations, domains, senders, networks, created_at, *rest = row
    expires_at, old_hash, old_until, last_used_at, peer = rest
    return ApiKey(
        tenant, id_, name, role, secret_hash, cast("tuple[ApiOperation, ...]", text_to_words(operations)),
        text_to_words(domains), text_to_words(senders), text_to_words(networks), created_at, expires_at, old_hash,
        old_until, last_used_at, peer or "",
    )  # fmt: skip
