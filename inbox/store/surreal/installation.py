"""The identity of the installation and its released blobs in SurrealDB."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from inbox.base.errors import AlreadyExists, NotFound
from inbox.store.ports.installation import Identity
from inbox.store.surreal.gateway import Gateway, in_pages
from inbox.store.surreal.values import RecordId

_ONLY: Final = RecordId("installation", "only")
#: The maximum number of paths in one statement.
_CHUNK: Final = 500

_PAIR: Final = """
UPDATE $id SET store = $store WHERE store = '' RETURN NONE;
RETURN (SELECT installation, store FROM ONLY $id)"""

_PRUNE: Final = """
LET $old = (SELECT VALUE id FROM released_blob WHERE at < $before LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""


class SurrealInstallation:
    """``InstallationRecords`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def identity(self) -> Identity | None:
        (found,) = await self._gateway.query("SELECT installation, store FROM ONLY $id", id=_ONLY)
        return _identity(found)

    async def claim(self, installation: str) -> Identity:
        try:
            sql = "CREATE $id SET installation = $installation, store = '' RETURN NONE; RETURN true"
            await self._gateway.write(sql, id=_ONLY, installation=installation)
        except AlreadyExists:
            pass  # Another process of the installation was first; its id is the one to use.
        return _known(await self.identity())

    async def pair(self, store: str) -> Identity:
        return _known(_identity(await self._gateway.write(_PAIR, id=_ONLY, store=store)))

    async def replace(self, installation: str) -> None:
        sql = "UPSERT $id CONTENT {installation: $installation, store: ''} RETURN NONE; RETURN true"
        await self._gateway.write(sql, id=_ONLY, installation=installation)

    async def secret(self, name: str) -> bytes:
        key = RecordId("secret", name)
        sql = "SELECT VALUE value FROM ONLY $id"
        (found,) = await self._gateway.query(sql, id=key)
        if found is None:
            try:
                create = "CREATE $id SET value = $value RETURN NONE; RETURN true"
                await self._gateway.write(create, id=key, value=secrets.token_bytes(32))
            except AlreadyExists:
                pass  # Another process was first; its key is the one to use.
            (found,) = await self._gateway.query(sql, id=key)
        return bytes(found)

    async def sample(self, count: int) -> list[str]:
        half = (count + 1) // 2
        sql = (
            "SELECT id, blob_path FROM email ORDER BY id LIMIT $half;"
            "SELECT id, blob_path FROM email ORDER BY id DESC LIMIT $rest"
        )
        oldest, newest = await self._gateway.query(sql, half=half, rest=count - half)
        return list(dict.fromkeys(row["blob_path"] for row in (*oldest, *newest) if row.get("blob_path")))

    async def released(self, blob_paths: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for ids in _pages(blob_paths):
            (records,) = await self._gateway.query("SELECT VALUE id FROM $ids WHERE at", ids=ids)
            found.update(record.key for record in records)
        return found

    async def forget_released(self, blob_paths: Sequence[str]) -> None:
        for ids in _pages(blob_paths):
            await self._gateway.write("DELETE $ids RETURN NONE; RETURN true", ids=ids)

    async def prune_released(self, before: float) -> int:
        return await in_pages(self._gateway, _PRUNE, before=before)


def _pages(blob_paths: Sequence[str]) -> list[list[RecordId]]:
    ids = [RecordId("released_blob", path) for path in blob_paths]
    return [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]


def _identity(row: Any) -> Identity | None:
    return Identity(row["installation"], row["store"]) if row else None


def _known(found: Identity | None) -> Identity:
    if found is None:
        raise NotFound("the database has no identity")
    return found
