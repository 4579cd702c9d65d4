"""The identity of the installation and its released blobs in SQLite."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from functools import partial

from inbox.base.errors import NotFound
from inbox.store.ports.installation import Identity
from inbox.store.sqlite import rows
from inbox.store.sqlite.gateway import Gateway

#: The maximum number of paths in one statement.
_CHUNK = 500


class SqliteInstallation:
    """``InstallationRecords`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def identity(self) -> Identity | None:
        return await self._gateway.read(_identity)

    async def claim(self, installation: str) -> Identity:
        def work(db: sqlite3.Connection) -> Identity:
            db.execute(
                "INSERT INTO installation (only, installation) VALUES (1, ?) ON CONFLICT DO NOTHING", (installation,)
            )
            return _known(db)

        return await self._gateway.write(work)

    async def pair(self, store: str) -> Identity:
        def work(db: sqlite3.Connection) -> Identity:
            db.execute("UPDATE installation SET store = ? WHERE store = ''", (store,))
            return _known(db)

        return await self._gateway.write(work)

    async def replace(self, installation: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO installation (only, installation) VALUES (1, ?)", (installation,))

        await self._gateway.write(work)

    async def secret(self, name: str) -> bytes:
        sql = "SELECT value FROM secret WHERE name = ?"
        found = await self._gateway.read(lambda db: db.execute(sql, (name,)).fetchone())
        if found is not None:
            return bytes(found[0])
        new = secrets.token_bytes(32)

        def work(db: sqlite3.Connection) -> bytes:
            db.execute("INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, new))
            return bytes(db.execute(sql, (name,)).fetchone()[0])

        return await self._gateway.write(work)

    async def sample(self, count: int) -> list[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            half = (count + 1) // 2
            oldest = db.execute("SELECT blob_path FROM email ORDER BY id LIMIT ?", (half,))
            newest = db.execute("SELECT blob_path FROM email ORDER BY id DESC LIMIT ?", (count - half,))
            return list(dict.fromkeys(path for (path,) in (*oldest, *newest)))

        return await self._gateway.read(work)

    async def released(self, blob_paths: Sequence[str]) -> set[str]:
        def work(db: sqlite3.Connection) -> set[str]:
            found: set[str] = set()
            for start in range(0, len(blob_paths), _CHUNK):
                sql = "SELECT blob_path FROM released_blob WHERE blob_path IN (SELECT value FROM json_each(?))"
                paths = rows.words_to_text(blob_paths[start : start + _CHUNK])
                found.update(path for (path,) in db.execute(sql, (paths,)))
            return found

        return await self._gateway.read(work)

    async def forget_released(self, blob_paths: Sequence[str]) -> None:
        for start in range(0, len(blob_paths), _CHUNK):
            paths = rows.words_to_text(blob_paths[start : start + _CHUNK])
            await self._gateway.write(partial(_forget, paths))

    async def prune_released(self, before: float) -> int:
        removed = 0
        sql = (
            "DELETE FROM released_blob WHERE blob_path IN (SELECT blob_path FROM released_blob WHERE at < ? LIMIT 1000)"
        )
        while count := await self._gateway.write(lambda db: db.execute(sql, (before,)).rowcount):
            removed += count
        return removed


def _identity(db: sqlite3.Connection) -> Identity | None:
    row = db.execute("SELECT installation, store FROM installation").fetchone()
    return None if row is None else Identity(*row)


def _known(db: sqlite3.Connection) -> Identity:
    found = _identity(db)
    if found is None:
        raise NotFound("the database has no identity")
    return found


def _forget(paths: str, db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM released_blob WHERE blob_path IN (SELECT value FROM json_each(?))", (paths,))
