"""A clamd for operators: answers, and each way in which it does not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.doctor.clamav import Clamd, ClamdError, Version, daemons, read_version
from inbox.app.wiring.policies import find_plugins, load_policies
from tests.support.waiting import TIMEOUT_SECONDS

STATS = b"""POOLS: 1

STATE: VALID PRIMARY
THREADS: live 3  idle 0 max 10 idle-timeout 30
QUEUE: 2 items
\tINSTREAM 0.1 stream
\tSTATS 0.000079 \n
MEMSTATS: heap N/A mmap N/A used N/A free N/A releasable N/A pools 1 pools_used 1306.837M pools_total 1306.882M
END
"""


@contextmanager
def answering(answers: dict[bytes, bytes], family: int = socket.AF_INET) -> Iterator[str]:
    """A daemon that answers each command with fixed octets and closes; an unknown command gets nothing at all."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with socket.create_server((host, 0), family=family) as listening:
        held = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                held.append(connection)
                asked = connection.recv(100)
                if asked in answers:
                    connection.sendall(answers[asked])
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT_SECONDS)
            for connection in held:
                connection.close()


VERSION = b"ClamAV 1.4.3/27400/Wed Sep 10 08:27:22 2025\n"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_version_and_load(family: int) -> None:
    with answering({b"nVERSION\n": VERSION, b"nSTATS\n": STATS}, family) as address:
        found = Clamd(address, TIMEOUT_SECONDS).status()
    signed = datetime(2025, 9, 10, 8, 27, 22).astimezone()
    assert found.version == Version("ClamAV 1.4.3", 27400, signed)
    assert (found.state, found.queue, found.threads, found.most) == ("VALID PRIMARY", 2, 3, 10)


def test_a_version_without_a_daily_database_has_no_date() -> None:
    assert read_version("ClamAV 1.4.3") == Version("ClamAV 1.4.3")


@pytest.mark.parametrize("answer", ["", "220 mx.example.org ESMTP", "ClamAV/x/y", "ClamAV 1/27400/yesterday", "a\nb"])
def test_other_answers_are_no_versions(answer: str) -> None:
    with pytest.raises(ValueError):
        read_version(answer)


def _version(clamd: Clamd) -> object:
    return clamd.version()


def _status(clamd: Clamd) -> object:
    return clamd.status()


def _reload(clamd: Clamd) -> object:
    clamd.reload()
    return None


@pytest.mark.parametrize(
    ("ask", "answers", "why"),
    [
        (_version, {b"nVERSION\n": b"220 mx.example.org ESMTP\n"}, "'220 mx.example.org ESMTP': is this the address"),
        (_version, {b"nVERSION\n": b"\xff\xfe\n"}, "the answer is not text"),
        (_version, {b"nVERSION\n": b""}, "closed without an answer to VERSION"),
        (_version, {b"nVERSION\n": b"COMMAND UNAVAILABLE\n"}, "clamd.conf does not permit VERSION"),
        (_status, {b"nVERSION\n": VERSION, b"nSTATS\n": b"COMMAND UNAVAILABLE\n"}, "clamd.conf does not permit STATS"),
        (_status, {b"nVERSION\n": VERSION, b"nSTATS\n": b"POOLS: 0\n"}, "the answer to STATS is 'POOLS: 0"),
        (_reload, {b"nRELOAD\n": b"no\n"}, "the answer to RELOAD is 'no'"),
        (_version, {}, "no answer within 0.2 seconds"),
    ],
)
def test_answers_that_are_none(ask: Callable[[Clamd], object], answers: dict[bytes, bytes], why: str) -> None:
    with answering(answers) as address, pytest.raises(ClamdError) as caught:
        ask(Clamd(address, 0.2))
    assert str(caught.value).startswith(f"{address}: ")
    assert why in str(caught.value)


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for address, why in (
        (f"tcp://127.0.0.1:{port}", "connection refused: clamd does not run"),
        (f"unix://{tmp_path}/none", "no such socket: clamd does not run"),
        ("tcp://nobody.invalid:3310", "the host name cannot be resolved"),
    ):
        with pytest.raises(ClamdError, match=why):
            Clamd(address, TIMEOUT_SECONDS).version()


def test_no_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root may open every socket, so the kernel's refusal is played."""

    def refuse(self: socket.socket, address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ClamdError, match="permission denied: run this command as a user in the group"):
        Clamd(f"unix://{tmp_path}/clamd.ctl", TIMEOUT_SECONDS).version()


def test_a_full_backlog_is_not_waited_for(tmp_path: Path) -> None:
    """The package itself connects without a time-out."""
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(path)
        listening.listen(0)
        first.connect(path)
        with pytest.raises(ClamdError, match="too many connections wait"):
            Clamd(f"unix://{path}", 0.1).version()


def test_the_addresses_that_policies_name(tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "default.yaml").write_text("plugins: {clamav: {}, recipients: {}}\n")
    for name, text in {
        "acme": "plugins: {clamav: {address: 'unix:///run/acme'}}\n",
        "beta": "thresholds: {tag: 3}\n",
        "gone": "plugins: {clamav: {enabled: false, address: 'unix:///run/gone'}}\n",
        "host": "domains: {host.test: {plugins: {clamav: {address: 'unix:///run/host'}}}}\n",
        "wrong": "plugins: {clamav: {adress: x}}\n",
    }.items():
        (tmp_path / "tenants" / f"{name}.yaml").write_text(text)
    config = load({"INBOX_POLICY_DIR": str(tmp_path), "INBOX_DATA_DIR": str(tmp_path)})
    assert daemons(load_policies(config, find_plugins(config))) == {
        "tcp://127.0.0.1:3310": ["default", "beta", "host"],
        "unix:///run/acme": ["acme"],
        "unix:///run/host": ["host"],
    }
