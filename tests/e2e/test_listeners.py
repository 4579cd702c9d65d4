"""The listeners of a real server: what the status says of them, what a reload changes, and how they end."""

from __future__ import annotations

import asyncio
import signal
import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.app.admin import ask
from tests.support.server import RunningServer

pytestmark = pytest.mark.real


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path)
    server.populate({"demo": {"demo.test": ("ann",)}})
    yield server
    server.close()


def admin(server: RunningServer, method: str, target: str) -> dict[str, Any]:
    answer: dict[str, Any] = asyncio.run(ask(server.data / "inbox.sock", method, target, 30))
    return answer


def banner(server: RunningServer, header: bytes = b"") -> bytes:
    """The greeting of the server; empty if it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port("smtp")), 30) as connection:
        connection.sendall(header)
        return connection.recv(4)


def test_the_status_has_the_ports_and_counts_connections(server: RunningServer) -> None:
    server.start()
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.ehlo("client.test")
        status = admin(server, "GET", "/status")
    assert status["listeners"] == server.ports
    assert status["connections"].keys() == {"smtp", "imap"}
    assert status["connections"]["smtp"] >= 1


def test_a_reload_takes_up_the_networks_of_load_balancers(server: RunningServer) -> None:
    server.start()
    assert banner(server) == b"220 "
    server.policy("default.yaml", "server:\n  proxy_networks: [127.0.0.0/8]\n")
    assert admin(server, "POST", "/reload")["problems"] == []
    assert banner(server, b"EHLO client.test\r\n") == b"", "nobody comes in without a PROXY header now"
    assert banner(server, b"PROXY TCP4 198.51.100.9 203.0.113.1 5000 25\r\n") == b"220 "


def test_a_stop_lets_a_transaction_end_and_sends_the_idle_away(server: RunningServer) -> None:
    server.start()
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.ehlo("client.test")
        client.mail("bob@elsewhere.test")
        assert client.rcpt("ann@demo.test")[0] == 250
        assert client.docmd("DATA")[0] == 354
        with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as idle:
            process = server.process
            assert process is not None
            process.send_signal(signal.SIGTERM)
            assert idle.getreply()[0] == 421
            client.send(b"Subject: last\r\n\r\ntext\r\n.\r\n")
            assert client.getreply()[0] == 250
            assert client.getreply()[0] == 421
        client.close()
    assert process.wait(30) == 0
