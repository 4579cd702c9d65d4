"""What the process that files mail does with a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.plugin.testing import FakeClock
from inbox.store.records import Arrival
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.sqlite.filer import Done, Failed, Filing
from tests.support.store import IDS, Home, email, filing, home


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def acme(database: SqliteDatabase) -> Home:
    return await home(database)


def arrival(acme: Home, mailbox: str) -> Arrival:
    return Arrival((filing(email(acme.tenant), mailbox),))


async def test_one_that_fails_fails_alone(database: SqliteDatabase, acme: Home) -> None:
    filing = Filing(database._main.path, database._main.identity)
    first, failed, second = filing.file([arrival(acme, name) for name in (acme.inbox, "nowhere", acme.inbox)])
    filing.close()
    assert isinstance(failed, Failed)
    assert failed.kind == "NotFound"
    uids = [answer.placed[0][0].uid for answer in (first, second) if isinstance(answer, Done)]
    assert uids == [1, 2]
    assert [entry.uid for entry in await database.messages.entries(acme.tenant, acme.inbox)] == uids


async def test_other_files_than_the_server_s_are_not_written_to(database: SqliteDatabase, acme: Home) -> None:
    device, inode, log = database._main.identity
    filing = Filing(database._main.path, (device, inode, log + 1))
    for _ in range(2):  # Nor are they at the second try.
        (answer,) = filing.file([arrival(acme, acme.inbox)])
        assert isinstance(answer, Failed)
        assert answer.kind == "StoreUnavailable"
    filing.close()
    assert await database.messages.entries(acme.tenant, acme.inbox) == []


async def test_a_file_that_is_gone_is_not_made_anew(database: SqliteDatabase, acme: Home, tmp_path: Path) -> None:
    identity = database._main.identity
    filing = Filing(tmp_path / "gone.db", identity)
    (answer,) = filing.file([arrival(acme, acme.inbox)])
    assert isinstance(answer, Failed)
    assert answer.kind == "StoreUnavailable"
    assert not (tmp_path / "gone.db").exists()
    filing.close()
