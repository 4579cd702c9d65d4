"""Our side of the process that files what arrives; what it files is tried by the contract suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.errors import NotFound, StoreUnavailable
from inbox.plugin.api.testing import FakeClock
from inbox.store.records import Arrival
from inbox.store.sqlite import filer
from inbox.store.sqlite.clerk import Clerk
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.worker.client import Helper, OwnDoor
from tests.support.store import IDS, Home, email, filing, home

pytestmark = pytest.mark.real  # processes of ours, started for each test


@pytest.fixture
def door() -> OwnDoor:
    return OwnDoor(filer.__name__)


@pytest.fixture
async def database(tmp_path: Path, door: OwnDoor) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS, door=door)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def acme(database: SqliteDatabase) -> Home:
    return await home(database)


def clerk(database: SqliteDatabase) -> Clerk:
    assert database._clerk is not None
    return database._clerk


def arrival(acme: Home, *, subject: str = "x") -> Arrival:
    return Arrival((filing(email(acme.tenant, subject=subject), acme.inbox),))


async def test_all_that_wait_are_filed_and_one_that_fails_fails_alone(database: SqliteDatabase, acme: Home) -> None:
    lost = Arrival((filing(email(acme.tenant), "nowhere"),))
    work = [database.messages.accept(one) for one in (*[arrival(acme) for _ in range(300)], lost)]
    *placed, failed = await asyncio.gather(*work, return_exceptions=True)
    assert isinstance(failed, NotFound)
    uids = sorted(places[0][0].uid for places in placed if isinstance(places, list))
    assert uids == list(range(1, 301))


async def test_half_a_surrogate_pair_is_filed_all_the_same(database: SqliteDatabase, acme: Home) -> None:
    ((placed,),) = await database.messages.accept(arrival(acme, subject="a\ud800b"))
    (found,) = [one async for one in database.messages.fetch(acme.tenant, acme.inbox, [placed.uid])]
    assert found.email.subject == "a?b"


async def test_a_process_that_was_killed_loses_nothing_that_was_acknowledged(
    database: SqliteDatabase, acme: Home, door: OwnDoor
) -> None:
    await database.messages.accept(arrival(acme))
    assert door.process is not None
    work = [asyncio.ensure_future(database.messages.accept(arrival(acme))) for _ in range(50)]
    await asyncio.sleep(0)
    door.process.kill()
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert all(isinstance(outcome, list | StoreUnavailable) for outcome in outcomes)
    ((last,),) = await database.messages.accept(arrival(acme))
    there = {entry.uid for entry in await database.messages.entries(acme.tenant, acme.inbox)}
    assert {outcome[0][0].uid for outcome in outcomes if isinstance(outcome, list)} | {1, last.uid} <= there


async def test_answers_that_are_none_are_told(
    database: SqliteDatabase, acme: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonsense(_helper: Helper, _question: bytes) -> bytes:
        return b"\x90"  # An empty list.

    monkeypatch.setattr(Helper, "ask", nonsense)
    with pytest.raises(StoreUnavailable, match="answer"):
        await database.messages.accept(arrival(acme))
    monkeypatch.undo()
    await database.messages.accept(arrival(acme))


async def test_a_closed_clerk_says_so(database: SqliteDatabase, acme: Home) -> None:
    await clerk(database).close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await database.messages.accept(arrival(acme))
