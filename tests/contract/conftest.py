"""Every database backend under one roof: a test that asks for ``db`` or ``opener`` runs over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import Database
from tests.support.databases import maker
from tests.support.ministack import ministack  # noqa: F401 - a fixture
from tests.support.store import Home, Opener, home
from tests.support.surreal_server import surreal_server  # noqa: F401 - a fixture


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "process", pytest.param("surreal", marks=pytest.mark.real)])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Callable[[], Database]:
    """Makes database objects on one storage that is empty at first."""
    return maker(request.param, request, tmp_path, clock)


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
