"""Background work of a server process on its stores, and reports about them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from inbox.app.config.loading import load
from inbox.app.doctor.storage import storage_findings
from inbox.app.serve import server as serving
from inbox.app.serve.storage import Storage
from inbox.app.serve.vitals import check_health
from inbox.app.wiring import program as wiring
from inbox.app.wiring.installation import Installation, opened
from inbox.app.wiring.stores import make_blobs
from inbox.base.clock import SystemClock
from inbox.base.errors import StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.store.pairing import WrongStore
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.sweeper import FEW
from tests.support.store import IDS, Home, email, home

pytestmark = pytest.mark.slow


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Installation]:
    config = load({"INBOX_DATA_DIR": str(tmp_path / "data")})
    config.spool_dir.mkdir(parents=True)
    async with opened(config, serving=True) as here:
        yield here


@pytest.fixture
async def acme(here: Installation) -> Home:
    return await home(here.database)


def incoming(here: Installation) -> Path:
    return here.config.folders.incoming


async def orphans(here: Installation, count: int, *, days: float = 2) -> None:
    for _ in range(count):
        key = f"msg/o/m/{IDS.new()}.eml"
        await here.blobs.put(key, MemoryContent(b"x"))
        written = here.clock.now() - days * 86_400
        os.utime(incoming(here) / key, (written, written))


async def said(here: Installation, status: dict[str, object] | None = None) -> list[tuple[str, str]]:
    blobs = make_blobs(here.config)
    return [(str(outcome), text) for outcome, text in await storage_findings(
        here.config, here.database, blobs, status or {})]  # fmt: skip


async def test_a_sweep_is_shown(here: Installation, acme: Home) -> None:
    assert acme.tenant
    storage = Storage(here)
    assert storage.view() == {
        "installation": here.pairing.identity.installation,
        "store": here.pairing.identity.store,
        "why": "",
        "sweep": {},
    }
    await orphans(here, 3)
    with structlog.testing.capture_logs() as logs:
        await storage.sweep()
    assert logs == [
        {"event": "swept", "log_level": "info", "seen": 3, "orphans": 3, "unexplained": 3, "moved": 3, "waiting": 3}
    ]
    sweep = storage.view()["sweep"]
    assert (sweep["moved"], sweep["alarm"]) == (3, "")
    assert sweep["at"] > 0
    with structlog.testing.capture_logs() as logs:
        await storage.sweep()
    assert logs == [], "a run that did nothing is not worth a line"
    findings = await said(here)
    assert findings[0][0] == "ok"
    assert findings[0][1].endswith(f"belong to the installation {here.pairing.identity.installation}.")
    assert findings[1][1].startswith("3 orphaned blobs wait under orphan/ since 2")


async def test_an_alarm_is_logged_and_reported_by_doctor(here: Installation, acme: Home) -> None:
    assert acme.tenant
    await orphans(here, FEW + 1)
    storage = Storage(here)
    with structlog.testing.capture_logs() as logs:
        await storage.sweep()
    assert [(log["event"], log["log_level"]) for log in logs] == [("sweep_stopped", "error")]
    status = storage.view()
    assert status["sweep"]["alarm"].startswith("51 of 51 blobs belong to no message")
    assert ("fail", f"the sweeper stopped: {status['sweep']['alarm']}") in await said(here, dict(status))
    await check_health(here)  # mail can be accepted nevertheless


async def test_a_swapped_disk_fails_health_and_defers_until_it_is_back(here: Installation, acme: Home) -> None:
    assert acme.tenant
    storage = Storage(here)
    away = incoming(here).with_name("away")
    incoming(here).rename(away)
    (incoming(here) / ".unfinished").mkdir(parents=True)
    with pytest.raises(WrongStore, match=r"incoming is empty, but .* was paired with a blob store before"):
        await storage.look()
    with pytest.raises(WrongStore):
        await storage.sweep()
    with pytest.raises(StoreUnavailable, match="incoming is empty"):
        await check_health(here)
    with pytest.raises(WrongStore):
        await here.blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    assert ("fail", storage.view()["why"]) in await said(here)
    shutil.rmtree(incoming(here))
    assert (await said(here))[0][1].endswith("but the database has worked with a blob store before")
    away.rename(incoming(here))
    await storage.look()
    await check_health(here)
    await here.blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))


async def test_a_blob_store_that_is_older_than_the_database_is_found(here: Installation, acme: Home) -> None:
    mails = [email(acme.tenant) for _ in range(10)]
    for number, mail in enumerate(mails):
        if number < 8:
            await here.blobs.put(mail.blob_path, MemoryContent(b"x"))
        await acme.deliver(mail=mail)
    (finding,) = [text for outcome, text in await said(here) if outcome == "fail"]
    assert finding.startswith("2 of 10 messages that were looked at")


async def test_before_the_first_start_there_is_nothing_to_say(tmp_path: Path) -> None:
    config = load({"INBOX_DATA_DIR": str(tmp_path / "data")})
    database = SqliteDatabase(config.sqlite_path, SystemClock(), IDS)
    await database.open()
    assert await storage_findings(config, database, make_blobs(config), {}) == []
    config.folders.incoming.mkdir()
    (finding, none_wait) = await storage_findings(config, database, make_blobs(config), {})
    assert finding[0] == none_wait[0] == "ok"
    assert "the next start of the server pairs them" in finding[1]
    await database.close()
    assert [path.name for path in config.folders.incoming.iterdir()] == [".unfinished"]


@pytest.mark.parametrize("primary", [True, False])
async def test_a_running_server_looks_and_its_first_process_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, primary: bool
) -> None:
    looked, swept = asyncio.Event(), asyncio.Event()
    sweep = Storage.sweep

    async def look(self: Storage) -> None:
        del self
        looked.set()

    async def sweep_too(self: Storage) -> None:
        await sweep(self)
        swept.set()

    monkeypatch.setattr(Storage, "look", look)
    monkeypatch.setattr(Storage, "sweep", sweep_too)
    monkeypatch.setattr(serving, "PAIR_SECONDS", 0.001)
    monkeypatch.setattr(serving, "SWEEP_SECONDS", 0.001)
    monkeypatch.setattr(serving, "_settle_garbage_collector", lambda: None)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "default.yaml").write_text("plugins: {}\n")
    names = {"INBOX_DATA_DIR": "data", "INBOX_POLICY_DIR": "policies", "INBOX_PLUGIN_DIR": "plugins"}
    config = load({name: str(tmp_path / folder) for name, folder in names.items()})
    async with opened(config, serving=True) as here, wiring.wire(here) as parts:
        await home(here.database)
        await orphans(here, 1)
        server = serving.Server(here, parts, (), index=0 if primary else 1)
        stop = asyncio.Event()
        running = asyncio.create_task(server.run(lambda: None, stop))
        async with asyncio.timeout(60):
            await looked.wait()
            if primary:
                await swept.wait()
                assert (await server.status())["storage"]["sweep"]["waiting"] == 1
            stop.set()
            await running
    assert swept.is_set() is primary
