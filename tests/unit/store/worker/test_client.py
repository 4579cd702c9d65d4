"""The server's side of the worker process; what the worker writes is tried by the contract suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from inbox.base.errors import NotFound, StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.blobs.files import Files
from inbox.store.blobs.local import LocalBlobs
from inbox.store.ports.ingest import Indexed
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.worker.client import WorkerClient
from inbox.store.worker.protocol import WORKER_OCTETS, BlobResponse, encode
from inbox.store.worker.starting import OwnWorker
from tests.support.store import IDS, Home, email, home, indexed

pytestmark = pytest.mark.real  # processes of ours, started for each test


@pytest.fixture
def worker() -> OwnWorker:
    return OwnWorker()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[WorkerClient]:
    (tmp_path / ".unfinished").mkdir()
    client = WorkerClient(OwnWorker(), files=Files(str(tmp_path)))
    yield client
    await client.close()


@pytest.fixture
async def database(tmp_path: Path, worker: OwnWorker) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS, worker=worker)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def acme(database: SqliteDatabase) -> Home:
    return await home(database)


def rows(acme: Home, *, subject: str = "x") -> Indexed:
    return Indexed((indexed(email(acme.tenant, subject=subject), acme.inbox),))


async def test_all_that_wait_are_filed_and_one_that_fails_fails_alone(database: SqliteDatabase, acme: Home) -> None:
    lost = Indexed((indexed(email(acme.tenant), "nowhere"),))
    work = [database.writer.write(one) for one in (*[rows(acme) for _ in range(300)], lost)]
    *placed, failed = await asyncio.gather(*work, return_exceptions=True)
    assert isinstance(failed, NotFound)
    uids = sorted(places[0][0].uid for places in placed if isinstance(places, list))
    assert uids == list(range(1, 301))


async def test_half_a_surrogate_pair_is_filed_all_the_same(database: SqliteDatabase, acme: Home) -> None:
    ((placed,),) = await database.writer.write(rows(acme, subject="a\ud800b"))
    (found,) = [one async for one in database.messages.fetch(acme.tenant, acme.inbox, [placed.uid])]
    assert found.email.subject == "a?b"


async def test_a_process_that_was_killed_loses_nothing_that_was_acknowledged(
    database: SqliteDatabase, acme: Home, worker: OwnWorker
) -> None:
    await database.writer.write(rows(acme))
    assert worker.process is not None
    work = [asyncio.ensure_future(database.writer.write(rows(acme))) for _ in range(50)]
    await asyncio.sleep(0)
    worker.process.kill()
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert all(isinstance(outcome, list | StoreUnavailable) for outcome in outcomes)
    ((last,),) = await database.writer.write(rows(acme))
    there = {entry.uid for entry in await database.messages.entries(acme.tenant, acme.inbox)}
    assert {outcome[0][0].uid for outcome in outcomes if isinstance(outcome, list)} | {1, last.uid} <= there


async def test_a_response_that_cannot_be_read_counts_as_none(
    database: SqliteDatabase, acme: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonsense(_client: WorkerClient, _message: bytes) -> bytes:
        return b"\x90"  # An empty list.

    monkeypatch.setattr(WorkerClient, "request", nonsense)
    with pytest.raises(StoreUnavailable, match="response"):
        await database.writer.write(rows(acme))
    monkeypatch.undo()
    await database.writer.write(rows(acme))


async def test_a_closed_client_starts_no_process(database: SqliteDatabase, acme: Home) -> None:
    assert database.worker is not None
    await database.worker.close()
    with pytest.raises(StoreUnavailable, match="was closed"):
        await database.writer.write(rows(acme))


async def test_a_response_to_another_request_counts_as_none(
    database: SqliteDatabase, acme: Home, client: WorkerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def written(_client: WorkerClient, _message: bytes) -> bytes:
        return encode(BlobResponse())

    monkeypatch.setattr(WorkerClient, "request", written)
    with pytest.raises(StoreUnavailable, match="BlobResponse, which does not match the request"):
        await database.writer.write(rows(acme))


async def test_blobs_are_written(client: WorkerClient, tmp_path: Path) -> None:
    folder = f"{tmp_path}/msg"
    await asyncio.gather(*[client.write_blob(folder, f"{folder}/{n}", b"%d" % n) for n in range(40)])
    assert {path.name: path.read_bytes() for path in (tmp_path / "msg").iterdir()} == {
        str(n): b"%d" % n for n in range(40)
    }
    assert list((tmp_path / ".unfinished").iterdir()) == []


def test_on_the_loop_that_the_server_runs_on(tmp_path: Path) -> None:
    async def put() -> None:
        blobs = LocalBlobs(tmp_path / "incoming", process=True)
        await blobs.open()
        await asyncio.gather(*[blobs.put(f"msg/o/m/{n}.eml", MemoryContent(b"x" * 9000)) for n in range(100)])
        await blobs.close()

    uvloop.run(put())
    assert {path.stat().st_size for path in (tmp_path / "incoming/msg/o/m").iterdir()} == {9000}


async def test_a_blob_that_fails_fails_alone(client: WorkerClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    good, bad = f"{tmp_path}/msg", f"{tmp_path}/file"
    work = [client.write_blob(good, f"{good}/1", b"x"), client.write_blob(bad, f"{bad}/1", b"x")]
    fine, failed = await asyncio.gather(*work, return_exceptions=True)
    assert fine is None
    assert isinstance(failed, StoreUnavailable)
    assert bad in str(failed)


async def test_larger_blobs_are_written_here(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "incoming", process=True)
    await blobs.open()
    handover = blobs.worker._handover if blobs.worker is not None else None
    assert isinstance(handover, OwnWorker)
    process = handover.process
    assert process is not None
    process.kill()
    await process.wait()
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x" * (WORKER_OCTETS + 1)))
    assert handover.process is process  # Nobody asked for another one.
    await blobs.close()
