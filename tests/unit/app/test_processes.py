"""Several processes behind the same sockets: real ones, under a real parent."""

from __future__ import annotations

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
