"""Every database backend under one roof: a test that asks for ``db`` or ``opener`` runs over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import Database
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import SurrealDatabase
from inbox.store.worker.starting import OwnWorker
from tests.support.ministack import ministack  # noqa: F401 - a fixture
from tests.support.store import IDS, Home, Opener, home
from tests.support.surreal_server import surreal_server  # noqa: F401 - a fixture


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "process", pytest.param("surreal", marks=pytest.mark.real)])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Callable[[], Database]:
    """Makes database objects on one storage that is empty at first."""
    if request.param != "surreal":
        outside = request.param == "process"
        return lambda: SqliteDatabase(tmp_path / "inbox.db", clock, IDS, worker=OwnWorker() if outside else None)
    url = request.getfixturevalue("surreal_server").url
    config = SurrealConfig(url, "tests", IDS.new(), "root", "root", timeout=30)
    return lambda: SurrealDatabase(config, clock, IDS)


@pytest.fixture
async def opener(make: Callable[[], Database]) -> AsyncIterator[Opener]:
    """Opens database objects on one storage, as instances do; closes them all in the end."""
    opened: list[Database] = []

    async def open_one() -> Database:
        database = make()
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
