"""The process that writes small blobs, and our side of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from inbox.base.errors import StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.store.blobs.local import OUTSIDE_OCTETS, LocalBlobs
from inbox.store.blobs.writer import Writer


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    (tmp_path / ".unfinished").mkdir()
    writer = Writer(str(tmp_path))
    yield writer
    await writer.close()


def child(writer: Writer) -> int:
    assert writer._transport is not None
    pid = writer._transport.get_pid()
    assert pid is not None
    return pid


async def ended(writer: Writer) -> None:
    assert writer._pipes is not None
    await writer._pipes.ended


async def test_a_batch_is_written(writer: Writer, tmp_path: Path) -> None:
    folder = f"{tmp_path}/msg"
    assert await writer.write([(folder, f"{folder}/{n}", b"%d" % n) for n in range(40)]) == [None] * 40
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
    fine, failed = await writer.write([(good, f"{good}/1", b"x"), (bad, f"{bad}/1", b"x")])
    assert fine is None
    assert isinstance(failed, StoreUnavailable)
    assert bad in str(failed)


async def test_a_process_that_was_killed_is_replaced(writer: Writer, tmp_path: Path) -> None:
    await writer.start()
    first = child(writer)
    os.kill(first, signal.SIGSTOP)  # It has taken nothing yet, so nothing can have been written.
    waiting = asyncio.ensure_future(writer.write([(str(tmp_path), f"{tmp_path}/1", b"x")]))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(StoreUnavailable, match="ended"):
        await waiting
    assert await writer.write([(str(tmp_path), f"{tmp_path}/2", b"y")]) == [None]
    assert child(writer) != first
    assert (tmp_path / "2").read_bytes() == b"y"


async def test_signals_to_the_whole_group_do_not_end_it(writer: Writer, tmp_path: Path) -> None:
    # Its first answer says that it is up and has set its signals.
    assert await writer.write([(str(tmp_path), f"{tmp_path}/1", b"x")]) == [None]
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child(writer), number)
    assert await writer.write([(str(tmp_path), f"{tmp_path}/2", b"y")]) == [None]


async def test_it_ends_with_its_input(writer: Writer) -> None:
    await writer.start()
    assert writer._transport is not None
    pipe = writer._transport.get_pipe_transport(0)
    assert pipe is not None
    pipe.close()
    await ended(writer)
    assert writer._transport.get_returncode() == 0


async def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    writer = Writer(str(tmp_path))
    with pytest.raises(StoreUnavailable, match="cannot be started"):
        await writer.write([(str(tmp_path), f"{tmp_path}/1", b"x")])
    await writer.close()


async def test_larger_blobs_are_written_here(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "incoming", process=True)
    await blobs.open()
    assert blobs._writer is not None
    os.kill(child(blobs._writer), signal.SIGKILL)
    await ended(blobs._writer)
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x" * (OUTSIDE_OCTETS + 1)))
    assert blobs._writer._pipes is not None
    assert not blobs._writer._pipes.usable  # Nobody asked for another one.
    await blobs.close()
