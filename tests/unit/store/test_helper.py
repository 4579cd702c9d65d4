"""Our side of a helper process: tried with the one that writes blobs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from inbox.base.errors import StoreUnavailable
from inbox.store.blobs import scribe
from inbox.store.helper import Helper


@pytest.fixture
async def helper(tmp_path: Path) -> AsyncIterator[Helper]:
    (tmp_path / ".unfinished").mkdir()
    helper = Helper(scribe.__name__, str(tmp_path))
    yield helper
    await helper.close()


def question(path: Path, data: bytes = b"x") -> bytes:
    return msgspec.msgpack.encode([(str(path.parent), str(path), data)])


ANSWER = msgspec.msgpack.encode([None])


def child(helper: Helper) -> int:
    assert helper._transport is not None
    pid = helper._transport.get_pid()
    assert pid is not None
    return pid


async def test_a_process_that_was_killed_is_replaced(helper: Helper, tmp_path: Path) -> None:
    await helper.start()
    first = child(helper)
    os.kill(first, signal.SIGSTOP)  # It has taken nothing yet, so nothing can have been written.
    waiting = asyncio.ensure_future(helper.ask(question(tmp_path / "1")))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(StoreUnavailable, match="ended"):
        await waiting
    assert await helper.ask(question(tmp_path / "2")) == ANSWER
    assert child(helper) != first


async def test_signals_to_the_whole_group_do_not_end_it(helper: Helper, tmp_path: Path) -> None:
    # Its first answer says that it is up and has set its signals.
    assert await helper.ask(question(tmp_path / "1")) == ANSWER
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child(helper), number)
    assert await helper.ask(question(tmp_path / "2")) == ANSWER


async def test_it_ends_with_its_input(helper: Helper) -> None:
    await helper.start()
    assert helper._transport is not None
    assert helper._pipes is not None
    pipe = helper._transport.get_pipe_transport(0)
    assert pipe is not None
    pipe.close()
    await helper._pipes.ended
    assert helper._transport.get_returncode() == 0


async def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    helper = Helper(scribe.__name__, str(tmp_path))
    with pytest.raises(StoreUnavailable, match="cannot be started"):
        await helper.ask(b"")
    await helper.close()


async def test_it_keeps_nothing_of_the_server_s_open(helper: Helper, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.set_inheritable(True)
        assert await helper.ask(question(tmp_path / "1")) == ANSWER
        descriptors = {path.name for path in Path(f"/proc/{child(helper)}/fd").iterdir()}
    assert descriptors == {"0", "1", "2"}


async def test_a_message_of_many_reads(helper: Helper, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    assert await helper.ask(question(tmp_path / "1", data)) == ANSWER
    assert (tmp_path / "1").read_bytes() == data


async def test_the_answer_to_a_question_that_nobody_waits_for_is_not_the_next_one_s(
    helper: Helper, tmp_path: Path
) -> None:
    await helper.start()
    pieces = [(str(tmp_path), str(tmp_path / name), b"x") for name in ("one", "two")]
    waits = asyncio.ensure_future(helper.ask(msgspec.msgpack.encode(pieces)))
    await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert await helper.ask(question(tmp_path / "three")) == ANSWER
    assert (tmp_path / "three").read_bytes() == b"x"
