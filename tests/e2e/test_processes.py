"""Several processes behind one set of sockets, and what becomes of them when one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import COMMAND, RunningServer

pytestmark = pytest.mark.real


def children_of(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_child_is_replaced_and_a_killed_parent_takes_its_children_along(tmp_path: Path) -> None:
    here = RunningServer(tmp_path)
    here.populate()
    ports = {"SMTP_TRANSFER_PORT": "smtp", "IMAP_PORT": "imap", "IMAPS_PORT": "imaps"}
    numbers = {variable: str(here.port(name)) for variable, name in ports.items()}
    here.close()
    with here.log.open("ab") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "serve", "--processes", "2"],
            env={**here.env, **numbers}, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: b'"started"' in here.log.read_bytes(), "the server did not start")
        first = children_of(parent.pid)
        assert len(first) == 2
        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(children_of(parent.pid) - {killed}) == 2, "the child was not replaced")
        second = children_of(parent.pid)
    finally:
        parent.kill()
        parent.wait(60)
    until(lambda: all(ended(pid) for pid in second), "children outlived their parent")
