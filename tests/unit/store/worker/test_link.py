"""Connections to the worker process, tried with requests for blobs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from inbox.base.errors import StoreUnavailable
from inbox.store.worker import link as module
from inbox.store.worker.link import Link
from inbox.store.worker.protocol import PING, BlobRequest, BlobResponse, Connect, encode
from inbox.store.worker.starting import WORKER, OwnWorker, SharedWorker, command, is_responsive, make_handover
from tests.support.waiting import TIMEOUT_SECONDS

pytestmark = pytest.mark.real  # processes of ours, started for each test

ANSWER = encode(BlobResponse())


@pytest.fixture
def worker() -> OwnWorker:
    return OwnWorker()


@pytest.fixture
async def link(tmp_path: Path, worker: OwnWorker) -> AsyncIterator[Link]:
    (tmp_path / ".unfinished").mkdir()
    link = Link(worker, lambda: encode(Connect(blobs=str(tmp_path))))
    yield link
    await link.close()


def blob(path: Path, data: bytes = b"x") -> bytes:
    return encode(BlobRequest(str(path.parent), str(path), data))


def child(worker: OwnWorker) -> int:
    assert worker.process is not None
    return worker.process.pid


async def test_many_ask_at_once(link: Link, tmp_path: Path) -> None:
    answers = await asyncio.gather(*[link.request(blob(tmp_path / str(n), b"%d" % n)) for n in range(300)])
    assert answers == [ANSWER] * 300
    assert {path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == {b"%d" % n for n in range(300)}


async def test_a_process_that_was_killed_is_replaced(link: Link, worker: OwnWorker, tmp_path: Path) -> None:
    await link.start()
    first = child(worker)
    os.kill(first, signal.SIGSTOP)  # It has taken nothing yet, so nothing can have been written.
    waiting = [asyncio.ensure_future(link.request(blob(tmp_path / f"1-{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == [f"the worker process (pid {first}) ended"] * 3
    assert await asyncio.gather(*[link.request(blob(tmp_path / f"2-{n}")) for n in range(3)]) == [ANSWER] * 3
    assert child(worker) != first
    assert not list(tmp_path.glob("1-*"))


async def test_signals_to_the_whole_group_do_not_end_it(link: Link, worker: OwnWorker, tmp_path: Path) -> None:
    # The answer to the opening says that it is up and has set its signals.
    await link.start()
    first = child(worker)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(first, number)
    assert await link.request(blob(tmp_path / "2")) == ANSWER
    assert child(worker) == first


async def test_it_ends_with_its_socket_and_its_connections(link: Link, worker: OwnWorker, tmp_path: Path) -> None:
    await link.start()
    process = worker.process
    assert process is not None
    asked = asyncio.ensure_future(link.request(blob(tmp_path / "1")))
    await asyncio.sleep(0)
    await link.close()
    assert await asked == ANSWER  # What was asked is done first.
    assert process.returncode == 0


async def test_a_closed_link_starts_no_process_until_it_is_started_again(link: Link, tmp_path: Path) -> None:
    await link.start()
    await link.close()
    with pytest.raises(StoreUnavailable, match="the worker process was closed"):
        await link.request(blob(tmp_path / "1"))
    await link.start()
    assert await link.request(blob(tmp_path / "2")) == ANSWER
    assert not (tmp_path / "1").exists()


async def test_a_process_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, worker: OwnWorker
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    link = Link(worker, bytes)
    with pytest.raises(StoreUnavailable, match="cannot be started"):
        await link.request(b"")
    await link.close()


async def test_a_process_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.05)
    outer, inner = make_handover()
    link = Link(SharedWorker(outer.detach()), bytes)
    with inner, pytest.raises(StoreUnavailable, match="did not answer"):
        await link.request(b"")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await link.request(b"")
    await link.close()


async def test_a_process_that_hangs_is_given_up_and_replaced(
    link: Link, worker: OwnWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await link.start()
    first = child(worker)
    assert link.pid == first
    os.kill(first, signal.SIGSTOP)
    assert link._connection is not None
    link._connection._look()  # Nothing is waited for: the next question begins a watch of its own.
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    asked = [link.request(blob(tmp_path / f"1-{n}")) for n in range(3)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == [
        f"the worker process (pid {first}) did not answer within 0 s and was killed"
    ] * 3
    monkeypatch.undo()
    assert await link.request(blob(tmp_path / "2")) == ANSWER
    assert link.pid == child(worker) != first


async def test_a_process_that_answers_is_not_given_up(
    link: Link, worker: OwnWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long requests are outstanding: only the time since the last response counts."""
    await link.start()
    connection, first = link._connection, child(worker)
    assert connection is not None
    loop, clock = connection._loop, SimpleNamespace(now=0.0)
    stepped = SimpleNamespace(time=lambda: clock.now, call_later=loop.call_later, create_future=loop.create_future)
    monkeypatch.setattr(connection, "_loop", stepped)
    waiting = connection.send(PING)
    for _ in range(5):
        clock.now += 0.9 * module.ANSWER_SECONDS
        following = connection.send(PING)
        await waiting
        waiting = connection.send(PING)  # Not answered yet when the link checks the time.
        connection._look()
        await following
    await waiting
    assert connection.usable
    assert child(worker) == link.pid == first


async def test_all_who_wait_for_a_process_that_hangs_wait_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    outer, inner = make_handover()
    link = Link(SharedWorker(outer.detach()), bytes)
    with inner:
        outcomes = await asyncio.gather(*[link.check() for _ in range(100)], return_exceptions=True)
        handed_in = socket.recv_fds(inner, 1, 8)[1]
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert len(handed_in) == 1
    for descriptor in handed_in:
        os.close(descriptor)
    await link.close()


async def test_a_process_that_hangs_does_not_keep_the_server_from_ending(
    link: Link, worker: OwnWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await link.start()
    process = worker.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(module, "END_SECONDS", 0.05)
    await link.close()
    assert process.returncode == -signal.SIGKILL


async def test_it_keeps_nothing_of_the_server_s_open(link: Link, worker: OwnWorker) -> None:
    with socket.socket() as listener:
        listener.set_inheritable(True)
        await link.start()
        open_there = {path.name: str(path.readlink()) for path in Path(f"/proc/{child(worker)}/fd").iterdir()}
        ours = str(Path(f"/proc/self/fd/{listener.fileno()}").readlink())
    # What it polls with, and one connection.
    own = [target for name, target in open_there.items() if name not in "012" and "eventpoll" not in target]
    assert ours not in open_there.values()
    assert len(own) == 1


async def test_a_message_of_many_reads(link: Link, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    assert await link.request(blob(tmp_path / "1", data)) == ANSWER
    assert (tmp_path / "1").read_bytes() == data


async def test_an_abandoned_answer_is_not_given_to_the_next_question(link: Link, tmp_path: Path) -> None:
    await link.start()
    (tmp_path / "file").write_bytes(b"")
    # This one fails, the next one does not: answers that were mixed up would be seen.
    waits = asyncio.ensure_future(link.request(blob(tmp_path / "file" / "one")))
    await asyncio.sleep(0)
    waits.cancel()
    assert await link.request(blob(tmp_path / "three")) == ANSWER
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert (tmp_path / "three").read_bytes() == b"x"


async def test_an_answer_that_was_not_read_in_time_is_read_first(
    link: Link, worker: OwnWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await link.start()
    connection, first = link._connection, child(worker)
    assert connection is not None
    monkeypatch.setattr(module, "DOUBT_SECONDS", TIMEOUT_SECONDS)
    asked = asyncio.ensure_future(link.request(blob(tmp_path / "1")))
    await asyncio.sleep(0)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.0)
    connection._look()  # As on a loop that was stopped for too long.
    assert await asked == ANSWER
    assert child(worker) == first


async def test_closing_does_not_wait_for_one_that_hangs(
    link: Link, worker: OwnWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.05)
    await link.start()
    process = worker.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    asked = asyncio.ensure_future(link.request(blob(tmp_path / "1")))
    given_up = asyncio.ensure_future(link.request(blob(tmp_path / "2")))
    await asyncio.sleep(0)
    given_up.cancel()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await link.close()
    with pytest.raises(StoreUnavailable):
        await asked
    assert await process.wait() == -signal.SIGKILL


async def test_an_opening_whose_asker_goes_away_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.05)
    outer, inner = make_handover()
    link = Link(SharedWorker(outer.detach()), bytes)
    with inner:
        gone = asyncio.ensure_future(link.request(b""))
        await asyncio.sleep(0.01)
        gone.cancel()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            with pytest.raises(StoreUnavailable):
                await link.request(b"")
            await link.close()


async def test_all_who_wait_share_one_attempt_to_start_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    attempts: list[bool] = []

    class Counted(OwnWorker):
        async def outer(self, *, failed: bool) -> socket.socket:
            attempts.append(failed)
            return await super().outer(failed=failed)

    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    link = Link(Counted(WORKER), bytes)
    outcomes = await asyncio.gather(*[link.request(b"") for _ in range(100)], return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert len(attempts) == 1
    await link.close()


async def test_a_shared_socket_is_not_left_to_our_own_children() -> None:
    outer, inner = make_handover()
    outer.set_inheritable(True)  # As a parent hands it down.
    descriptor = outer.detach()
    worker = SharedWorker(descriptor)
    assert not os.get_inheritable(descriptor)
    await worker.close()
    inner.close()


async def test_whether_a_process_is_responsive(worker: OwnWorker) -> None:
    outer = await worker.outer(failed=False)
    assert await is_responsive(outer, TIMEOUT_SECONDS)
    os.kill(child(worker), signal.SIGSTOP)
    assert not await is_responsive(outer, 0.05)
    os.kill(child(worker), signal.SIGCONT)
    assert await is_responsive(outer, TIMEOUT_SECONDS)
    await worker.close()


def test_two_share_a_process_on_the_loop_that_the_server_runs_on(tmp_path: Path) -> None:
    (tmp_path / ".unfinished").mkdir()

    async def share() -> int:
        outer, inner = make_handover()
        with inner:
            process = await asyncio.create_subprocess_exec(*command(WORKER), stdin=inner.fileno())
        other = os.dup(outer.fileno())
        links = [
            Link(SharedWorker(descriptor), lambda: encode(Connect(blobs=str(tmp_path))))
            for descriptor in (outer.detach(), other)
        ]
        asked = [link.request(blob(tmp_path / f"{n}{k}")) for n in range(100) for k, link in enumerate(links)]
        assert await asyncio.gather(*asked) == [ANSWER] * 200
        for link in links:
            await link.close()
        return await process.wait()

    assert uvloop.run(share()) == 0
    assert len(list(tmp_path.glob("[0-9]*"))) == 200


async def test_modules_in_the_working_directory_are_not_imported(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("msgspec", "inbox", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert await link.request(blob(tmp_path / "1")) == ANSWER


def test_a_traceback_that_nobody_reads_keeps_no_process_from_ending(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x" * 512)
    os.set_blocking(writing, True)
    outer, inner = make_handover()
    with inner, os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as full:
        # What is no socket at its standard input is a mistake that ends it.
        with (tmp_path / "file").open("wb") as file:
            process = subprocess.Popen(command(WORKER), stdin=file, stderr=full)
        assert process.wait(TIMEOUT_SECONDS) == 1
    outer.close()
