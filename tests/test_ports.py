"""The ports that tests give to programs (tests/support/ports.py)."""

from __future__ import annotations

import socket
import subprocess
import sys

from tests.support.ports import BLOCK, FIRST, LAST, free_port, free_ports
from tests.support.sources import ROOT


def test_two_processes_get_different_ports() -> None:
    code = f"from tests.support.ports import free_ports; print(free_ports({BLOCK // 2}))"
    ours = free_ports(BLOCK // 2)
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    theirs = [int(port) for port in printed.strip(" []\n").split(", ")]
    assert len(set(ours)) == len(set(theirs)) == BLOCK // 2
    assert not set(ours) & set(theirs)
    assert all(FIRST <= port <= LAST for port in ours + theirs)


def test_a_port_that_is_taken_is_not_given() -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        # More than once around.
        assert port not in [free_port() for _ in range(BLOCK)]
