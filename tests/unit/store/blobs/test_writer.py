"""The process that writes small blobs, and our side of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from inbox.base.errors import StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.store.blobs.files import Files
from inbox.store.blobs.local import LocalBlobs
from inbox.store.blobs.writer import Writer
from inbox.store.worker.client import CARRIED_OCTETS

pytestmark = pytest.mark.real  # processes of ours, started for each test


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    (tmp_path / ".unfinished").mkdir()
    writer = Writer(str(tmp_path), Files(str(tmp_path)))
    yield writer
    await writer.helper.close()


async def test_blobs_are_written(writer: Writer, tmp_path: Path) -> None:
    folder = f"{tmp_path}/msg"
    await asyncio.gather(*[writer.write(folder, f"{folder}/{n}", b"%d" % n) for n in range(40)])
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


async def test_one_that_fails_fails_alone(writer: Writer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    good, bad = f"{tmp_path}/msg", f"{tmp_path}/file"
    work = [writer.write(good, f"{good}/1", b"x"), writer.write(bad, f"{bad}/1", b"x")]
    fine, failed = await asyncio.gather(*work, return_exceptions=True)
    assert fine is None
    assert isinstance(failed, StoreUnavailable)
    assert bad in str(failed)


async def test_larger_blobs_are_written_here(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "incoming", process=True)
    await blobs.open()
    assert blobs._writer is not None
    process = blobs._writer.door.process
    assert process is not None
    process.kill()
    await process.wait()
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x" * (CARRIED_OCTETS + 1)))
    assert blobs._writer.door.process is process  # Nobody asked for another one.
    await blobs.close()
