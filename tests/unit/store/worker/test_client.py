"""Our side of a helper process: tried with the one that writes blobs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import uvloop

from inbox.base.errors import StoreUnavailable
from inbox.store.blobs import scribe
from inbox.store.worker import client as module
from inbox.store.worker.client import Helper, OwnDoor, SharedDoor, attended, command, make_door
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.real  # processes of ours, started for each test

ANSWER = msgspec.msgpack.encode(None)


@pytest.fixture
def door() -> OwnDoor:
    return OwnDoor(scribe.__name__)


@pytest.fixture
async def helper(tmp_path: Path, door: OwnDoor) -> AsyncIterator[Helper]:
    (tmp_path / ".unfinished").mkdir()
    helper = Helper(door, lambda: msgspec.msgpack.encode((str(tmp_path), b"")))
    yield helper
    await helper.close()


def question(path: Path, data: bytes = b"x") -> bytes:
    return msgspec.msgpack.encode((str(path.parent), str(path), data))


def child(door: OwnDoor) -> int:
    assert door.process is not None
    return door.process.pid


async def test_many_ask_at_once(helper: Helper, tmp_path: Path) -> None:
    answers = await asyncio.gather(*[helper.ask(question(tmp_path / str(n), b"%d" % n)) for n in range(300)])
    assert answers == [ANSWER] * 300
    assert {path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == {b"%d" % n for n in range(300)}


async def test_a_process_that_was_killed_is_replaced(helper: Helper, door: OwnDoor, tmp_path: Path) -> None:
    await helper.start()
    first = child(door)
    os.kill(first, signal.SIGSTOP)  # It has taken nothing yet, so nothing can have been written.
    waiting = [asyncio.ensure_future(helper.ask(question(tmp_path / f"1-{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == [f"a helper process (pid {first}) ended"] * 3
    assert await asyncio.gather(*[helper.ask(question(tmp_path / f"2-{n}")) for n in range(3)]) == [ANSWER] * 3
    assert child(door) != first
    assert not list(tmp_path.glob("1-*"))


async def test_signals_to_the_whole_group_do_not_end_it(helper: Helper, door: OwnDoor, tmp_path: Path) -> None:
    # The answer to the opening says that it is up and has set its signals.
    await helper.start()
    first = child(door)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(first, number)
    assert await helper.ask(question(tmp_path / "2")) == ANSWER
    assert child(door) == first


async def test_it_ends_with_its_door_and_its_connections(helper: Helper, door: OwnDoor, tmp_path: Path) -> None:
    await helper.start()
    process = door.process
    assert process is not None
    asked = asyncio.ensure_future(helper.ask(question(tmp_path / "1")))
    await asyncio.sleep(0)
    await helper.close()
    assert await asked == ANSWER  # What was asked is done first.
    assert process.returncode == 0


async def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, door: OwnDoor) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    helper = Helper(door, bytes)
    with pytest.raises(StoreUnavailable, match="cannot be started"):
        await helper.ask(b"")
    await helper.close()


async def test_a_process_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    outer, inner = make_door()
    helper = Helper(SharedDoor(outer.detach()), bytes)
    with inner, pytest.raises(StoreUnavailable, match="did not answer"):
        await helper.ask(b"")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await helper.ask(b"")
    await helper.close()


async def test_a_process_that_hangs_is_given_up_and_replaced(
    helper: Helper, door: OwnDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await helper.start()
    first = child(door)
    assert helper.pid == first
    os.kill(first, signal.SIGSTOP)
    assert helper._link is not None
    helper._link._look()  # Nothing is waited for: the next question begins a watch of its own.
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    asked = [helper.ask(question(tmp_path / f"1-{n}")) for n in range(3)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == [
        f"a helper process (pid {first}) did not answer within 0 s and was killed"
    ] * 3
    monkeypatch.undo()
    assert await helper.ask(question(tmp_path / "2")) == ANSWER
    assert helper.pid == child(door) != first


async def test_a_process_that_answers_is_not_given_up(
    helper: Helper, door: OwnDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it has been asked: only what it has not answered for so long counts."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)
    await helper.start()
    first = child(door)
    ends = asyncio.get_running_loop().time() + 1.5
    while asyncio.get_running_loop().time() < ends:
        await helper.check()
    assert child(door) == helper.pid == first


async def test_all_who_wait_for_a_process_that_hangs_wait_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    outer, inner = make_door()
    helper = Helper(SharedDoor(outer.detach()), bytes)
    with inner:
        outcomes = await asyncio.gather(*[helper.check() for _ in range(100)], return_exceptions=True)
        handed_in = socket.recv_fds(inner, 1, 8)[1]
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert len(handed_in) == 1
    for descriptor in handed_in:
        os.close(descriptor)
    await helper.close()


async def test_a_process_that_hangs_does_not_keep_the_server_from_ending(
    helper: Helper, door: OwnDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await helper.start()
    process = door.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(module, "END_SECONDS", 0.05)
    await helper.close()
    assert process.returncode == -signal.SIGKILL


async def test_it_keeps_nothing_of_the_server_s_open(helper: Helper, door: OwnDoor) -> None:
    with socket.socket() as listener:
        listener.set_inheritable(True)
        await helper.start()
        open_there = {path.name: str(path.readlink()) for path in Path(f"/proc/{child(door)}/fd").iterdir()}
        ours = str(Path(f"/proc/self/fd/{listener.fileno()}").readlink())
    # What it polls with, and one connection.
    own = [target for name, target in open_there.items() if name not in "012" and "eventpoll" not in target]
    assert ours not in open_there.values()
    assert len(own) == 1


async def test_a_message_of_many_reads(helper: Helper, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    assert await helper.ask(question(tmp_path / "1", data)) == ANSWER
    assert (tmp_path / "1").read_bytes() == data


async def test_the_answer_to_a_question_that_nobody_waits_for_is_not_the_next_one_s(
    helper: Helper, tmp_path: Path
) -> None:
    await helper.start()
    (tmp_path / "file").write_bytes(b"")
    # This one fails, the next one does not: answers that were mixed up would be seen.
    waits = asyncio.ensure_future(helper.ask(question(tmp_path / "file" / "one")))
    await asyncio.sleep(0)
    waits.cancel()
    assert await helper.ask(question(tmp_path / "three")) == ANSWER
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert (tmp_path / "three").read_bytes() == b"x"


async def test_an_answer_that_was_not_read_in_time_is_read_first(
    helper: Helper, door: OwnDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await helper.start()
    link, first = helper._link, child(door)
    assert link is not None
    monkeypatch.setattr(module, "DOUBT_SECONDS", PATIENCE)
    asked = asyncio.ensure_future(helper.ask(question(tmp_path / "1")))
    await asyncio.sleep(0)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.0)
    link._look()  # As on a loop that was stopped for too long.
    assert await asked == ANSWER
    assert child(door) == first


async def test_closing_does_not_wait_for_one_that_hangs(
    helper: Helper, door: OwnDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.05)
    await helper.start()
    process = door.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    asked = asyncio.ensure_future(helper.ask(question(tmp_path / "1")))
    given_up = asyncio.ensure_future(helper.ask(question(tmp_path / "2")))
    await asyncio.sleep(0)
    given_up.cancel()
    async with asyncio.timeout(PATIENCE):
        await helper.close()
    with pytest.raises(StoreUnavailable):
        await asked
    assert await process.wait() == -signal.SIGKILL


async def test_an_opening_whose_asker_goes_away_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    outer, inner = make_door()
    helper = Helper(SharedDoor(outer.detach()), bytes)
    with inner:
        gone = asyncio.ensure_future(helper.ask(b""))
        await asyncio.sleep(0.01)
        gone.cancel()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(StoreUnavailable):
                await helper.ask(b"")
            await helper.close()


async def test_all_who_wait_share_one_attempt_to_start_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    attempts: list[bool] = []

    class Counted(OwnDoor):
        async def outer(self, *, failed: bool) -> socket.socket:
            attempts.append(failed)
            return await super().outer(failed=failed)

    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    helper = Helper(Counted(scribe.__name__), bytes)
    outcomes = await asyncio.gather(*[helper.ask(b"") for _ in range(100)], return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert len(attempts) == 1
    await helper.close()


async def test_a_shared_door_is_not_left_to_our_own_children() -> None:
    outer, inner = make_door()
    outer.set_inheritable(True)  # As a parent hands it down.
    descriptor = outer.detach()
    door = SharedDoor(descriptor)
    assert not os.get_inheritable(descriptor)
    await door.close()
    inner.close()


async def test_whether_anybody_looks_after_a_door(door: OwnDoor) -> None:
    outer = await door.outer(failed=False)
    assert await attended(outer, PATIENCE)
    os.kill(child(door), signal.SIGSTOP)
    assert not await attended(outer, 0.05)
    os.kill(child(door), signal.SIGCONT)
    assert await attended(outer, PATIENCE)
    await door.close()


def test_two_share_a_process_on_the_loop_that_the_server_runs_on(tmp_path: Path) -> None:
    (tmp_path / ".unfinished").mkdir()

    async def share() -> int:
        outer, inner = make_door()
        with inner:
            process = await asyncio.create_subprocess_exec(*command(scribe.__name__), stdin=inner.fileno())
        other = os.dup(outer.fileno())
        helpers = [
            Helper(SharedDoor(descriptor), lambda: msgspec.msgpack.encode((str(tmp_path), b"")))
            for descriptor in (outer.detach(), other)
        ]
        asked = [helper.ask(question(tmp_path / f"{n}{k}")) for n in range(100) for k, helper in enumerate(helpers)]
        assert await asyncio.gather(*asked) == [ANSWER] * 200
        for helper in helpers:
            await helper.close()
        return await process.wait()

    assert uvloop.run(share()) == 0
    assert len(list(tmp_path.glob("[0-9]*"))) == 200


async def test_what_lies_in_the_working_directory_is_not_imported(
    helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("msgspec", "inbox", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert await helper.ask(question(tmp_path / "1")) == ANSWER


def test_a_traceback_that_nobody_reads_keeps_no_process_from_ending(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x" * 512)
    os.set_blocking(writing, True)
    outer, inner = make_door()
    with inner, os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as full:
        # What is no socket at its standard input is a mistake that ends it.
        with (tmp_path / "file").open("wb") as file:
            process = subprocess.Popen(command(scribe.__name__), stdin=file, stderr=full)
        assert process.wait(PATIENCE) == 1
    outer.close()
