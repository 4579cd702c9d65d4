"""Every database backend under one roof: a test that asks for ``db`` or ``opener`` runs over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.store.ports import Database
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.clock import FakeClock
from tests.support.store import IDS, Home, Opener, home


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def opener(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Opener]:
    """Opens database objects on one storage that is empty at first; closes them all in the end."""
    opened: list[Database] = []

    async def open_one() -> Database:
        database: Database = SqliteDatabase(tmp_path / "inbox.db", clock, IDS)
        await database.open()
        opened.append(database)
        return database

    yield open_one
    for database in opened:
        await database.close()


@pytest.fixture
async def db(opener: Opener) -> Database:
    return await opener()


@pytest.fixture
async def acme(db: Database) -> Home:
    """A tenant with one account."""
    return await home(db)


@pytest.fixture
async def other(db: Database) -> Home:
    """Another tenant: what ``acme`` has must be invisible to it."""
    return await home(db, "other", "oscar")
