"""Behaviour of plugins and workers while the database is unavailable, full, or available again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import StorageFull, StoreUnavailable
from inbox.plugin.api.standins import FakeClock
from inbox.plugin.api.tables import Tables, TenantTable
from inbox.store.ports import Database
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.room import Room
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import SurrealDatabase
from tests.support.jobs import defer
from tests.support.plugin_services import recipient
from tests.support.store import IDS, Home, home
from tests.support.surreal_server import server


def table(here: Home) -> TenantTable:
    return Tables(here.db.plugin_state, FakeClock(), "greylist")("seen").of(recipient("ann@acme.test", here.tenant))


def job() -> Job:
    now = time.time()
    return Job(IDS.new(), "ann@acme.test", (JobRecipient("bob@example.org"),), "example.org", now, now + 86_400)


async def fails(here: Home, mail: str) -> None:
    for attempt in (
        table(here).get("k"),
        table(here).put("k", 2),
        table(here).count(),
        here.db.queue.lease("w", 1, 60.0),
        here.db.queue.enqueue(here.tenant, mail, [job()]),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt


async def works(here: Home, mail: str) -> None:
    assert await table(here).get("k") == 1
    assert await table(here).increment("k") == 2
    assert [one.email for one in await here.db.queue.lease("w", 5, 60.0)] == [mail]


async def prepared(db: Database) -> tuple[Home, str]:
    here = await home(db)
    mail = (await here.deliver()).email
    await table(here).put("k", 1)
    await here.db.queue.enqueue(here.tenant, mail, [job()])
    return here, mail


async def test_a_file_that_is_gone_and_back(tmp_path: Path) -> None:
    db = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await db.open()
    try:
        here, mail = await prepared(db)
        (tmp_path / "inbox.db").rename(tmp_path / "aside.db")
        # Readers that are open still see the file that was moved; nothing is written into it.
        for attempt in (table(here).put("k", 2), here.db.queue.enqueue(here.tenant, mail, [job()])):
            with pytest.raises(StoreUnavailable):
                await attempt
        (tmp_path / "aside.db").rename(tmp_path / "inbox.db")
        await works(here, mail)
    finally:
        await db.close()


@pytest.mark.real
async def test_a_server_that_is_gone_and_back(tmp_path: Path) -> None:
    engine = server(tmp_path / "db")
    db = SurrealDatabase(SurrealConfig(engine.url, "t", "d", "root", "root", timeout=5), SystemClock(), IDS)
    try:
        await db.open()
        here, mail = await prepared(db)
        engine.kill()
        await fails(here, mail)
        engine.start()
        await works(here, mail)
    finally:
        await db.close()
        engine.kill()


async def test_on_a_full_disk_nothing_is_added_and_work_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inbox.store.room._LOOK_SECONDS", 0.0)  # the disk becomes full from one call to the next
    db = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await db.open()
    try:
        here, mail = await prepared(db)
        monkeypatch.setattr(Room, "_free", lambda _: (0, 1 << 20))
        for attempt in (
            table(here).put("new", 1),
            table(here).increment("k"),
            here.db.queue.enqueue(here.tenant, mail, [job()]),
        ):
            with pytest.raises(StorageFull):
                await attempt
        assert await table(here).get("k") == 1
        assert await table(here).delete("k") is True
        (leased,) = await here.db.queue.lease("w", 5, 60.0)
        assert await defer(here.db.queue, leased, 60.0)
    finally:
        await db.close()
