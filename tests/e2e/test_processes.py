"""Several processes behind one set of sockets, and what becomes of them when one is killed."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

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


def test_a_new_certificate_is_taken_up_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    def issue(name: str, *, key: bool) -> None:
        leaf = trustme.CA().issue_cert(name)
        (tmp_path / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
        if key:
            (tmp_path / "key.pem").write_bytes(leaf.private_key_pem.bytes())

    issue("one.test", key=True)
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    here = RunningServer(tmp_path, environment=files)
    here.populate()
    try:
        here.start()
        assert here.process is not None
        issue("two.test", key=False)
        here.process.send_signal(signal.SIGHUP)
        until(lambda: b'"certificate_refused"' in here.log.read_bytes(), "the mismatch was not told")
        issue("three.test", key=True)
        here.process.send_signal(signal.SIGHUP)
        until(lambda: b'"certificate_changed"' in here.log.read_bytes(), "the change was not told")
        shown = ssl.get_server_certificate(("127.0.0.1", here.port("imaps")))
        assert shown.strip() in (tmp_path / "cert.pem").read_text()
    finally:
        here.close()
