"""Several processes behind the same sockets: real ones, under a real parent."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inbox.app import processes
from inbox.app.processes import Processes
from inbox.store.blobs import scribe
from inbox.store.helper import attended
from tests.support.children import children, filers, runs
from tests.support.ports import free_port
from tests.support.server import COMMAND, RunningServer
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.real

PROCESSES = 2


def servers(pid: int) -> set[int]:
    """Children that serve."""
    return children(pid) - filers(pid)


def all_run(pid: int) -> bool:
    return len(filers(pid)) == 1 and len(servers(pid)) == PROCESSES


def greets(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.settimeout(PATIENCE)
        return connection.recv(100).startswith(b"220 ")


@contextmanager
def parent(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """``inbox serve --processes`` with its SMTP door on ``port``."""
    server = RunningServer(folder, names=())
    environment = {**server.env, "SMTP_TRANSFER_PORT": str(port), "IMAP_PORT": "0", "IMAPS_PORT": "0"}
    command = [sys.executable, "-c", COMMAND, "serve", "--processes", str(PROCESSES)]
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)


def test_a_child_that_dies_is_replaced_and_sigterm_ends_all(tmp_path: Path) -> None:
    port = free_port()
    with parent(tmp_path, port) as process:
        until(lambda: all_run(process.pid), "all children run")
        assert greets(port)
        first = children(process.pid)
        killed = min(servers(process.pid))
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(servers(process.pid) - {killed}) == PROCESSES, "the dead child is replaced")
        # The other one was left in peace. (The kernel may leave a child out of the list while another one comes.)
        until(lambda: (first - {killed}) < children(process.pid), "the other child is still there")
        assert greets(port)
        everybody = children(process.pid)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert [pid for pid in everybody if Path(f"/proc/{pid}").exists()] == []
    ended = re.findall(r'"code":\s*(-?\d+)', (tmp_path / "server.log").read_text())
    assert ended == [str(-signal.SIGKILL)]


def test_a_killed_parent_takes_its_children_along(tmp_path: Path) -> None:
    port = free_port()
    with parent(tmp_path, port) as process:
        until(lambda: all_run(process.pid), "all children run")
        assert greets(port)
        everybody = children(process.pid)
        process.kill()
        process.wait(PATIENCE)
    until(lambda: not any(runs(pid) for pid in everybody), "the children end")


def test_a_helper_that_dies_is_replaced(tmp_path: Path) -> None:
    port = free_port()
    with parent(tmp_path, port) as process:
        until(lambda: all_run(process.pid), "all children run")
        assert greets(port)
        before = servers(process.pid)
        (killed,) = filers(process.pid)
        os.kill(killed, signal.SIGKILL)
        until(lambda: bool(filers(process.pid) - {killed}), "the dead helper is replaced")
        assert servers(process.pid) == before


#: A server that does not hear that it shall stop.
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(3600)"
HELPER = scribe.__name__


def made(monkeypatch: pytest.MonkeyPatch, program: str, helper: str | None = None) -> Processes:
    monkeypatch.setattr(processes, "CHILD", (sys.executable, "-c", program))
    return Processes([], 1, helper)


async def test_who_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STOP_SECONDS", "HELPER_STOP_SECONDS"):
        monkeypatch.setattr(processes, name, 0.05)
    ours = made(monkeypatch, DEAF, HELPER)
    run = asyncio.create_task(ours.run())
    here = os.getpid()
    helper, child = await asyncio.to_thread(until, lambda: pair(here), "both run")
    assert await attended(ours._door, PATIENCE)
    os.kill(helper, signal.SIGSTOP)
    os.kill(here, signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        await run
    assert not runs(helper)
    assert not runs(child)


def pair(pid: int) -> tuple[int, int] | None:
    """The helper and the deaf child of ``pid``."""
    found = {name: [each for each in children(pid) if name.encode() in words(each)] for name in (HELPER, "SIG_IGN")}
    return (found[HELPER][0], found["SIG_IGN"][0]) if all(found.values()) else None


def words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def test_a_helper_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = made(monkeypatch, DEAF, HELPER)
    monkeypatch.setattr(processes, "WATCH_SECONDS", 3600)
    helper = await ours._start_helper()
    assert await attended(ours._door, PATIENCE)
    os.kill(helper.pid, signal.SIGSTOP)
    monkeypatch.setattr(processes, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(processes, "HANG_SECONDS", 0.05)
    await ours._watch(helper)
    assert await helper.wait() == -signal.SIGKILL
    ours.close()


async def test_one_that_could_not_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "PAUSES", (0.01, 0.01))
    ours, here = Processes([], 1), os.getpid()
    monkeypatch.setattr(processes, "CHILD", (str(tmp_path / "nothing"),))
    run = asyncio.create_task(ours.run())
    await asyncio.sleep(0.05)
    monkeypatch.setattr(processes, "CHILD", (sys.executable, "-c", "import time; time.sleep(3600)"))
    await asyncio.to_thread(until, lambda: any(b"3600" in words(each) for each in children(here)), "it is started")
    os.kill(here, signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        await run
