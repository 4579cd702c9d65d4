"""The log cannot be written: mail still gets its 250, people still log in, and health says what is wrong."""

from __future__ import annotations

import imaplib
import json
import os
import select
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.children import children
from tests.support.server import PASSWORD, RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real
MESSAGES = 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path)
    running.populate()
    yield running
    running.close()


def deliver_and_read(server: RunningServer, messages: int = MESSAGES) -> None:
    """Every message gets 250 and is in the mailbox."""
    for number in range(messages):
        with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as smtp:
            refused = smtp.sendmail("bob@elsewhere.test", ["ann@demo.test"], f"Subject: {number}\r\n\r\nbody\r\n")
            assert refused == {}
    assert len(subjects(server)) == messages


def subjects(server: RunningServer) -> set[bytes]:
    context = ssl.create_default_context(cafile=server.certificate)
    context.check_hostname = False
    with imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context, timeout=30) as imap:
        imap.login("ann@demo.test", PASSWORD)
        imap.select("INBOX", readonly=True)
        numbers = imap.search(None, "ALL")[1][0].split()
        found = [imap.fetch(number.decode(), "(BODY[HEADER.FIELDS (SUBJECT)])")[1][0] for number in numbers]
    return {each[1] for each in found if isinstance(each, tuple)}


def ask(server: RunningServer, path: str) -> dict[str, Any]:
    done = subprocess.run(
        ["curl", "-s", "--unix-socket", str(server.data / "inbox.sock"), f"http://inbox{path}"],
        capture_output=True,
        timeout=30,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_full_disk(server: RunningServer) -> None:
    with Path("/dev/full").open("wb") as full:
        server.start(stderr=full)
    deliver_and_read(server)
    health = ask(server, "/health")
    assert health["status"] == "ok"
    assert "the log cannot be written: No space left on device" in health["warnings"][0]
    log = ask(server, "/status")["log"]
    assert log["why"] == "No space left on device"
    assert log["lost"] >= MESSAGES
    doctor = server.cli("doctor", "--json")
    checks = [each for each in json.loads(doctor.stdout)["checks"] if each["check"] == "server"]
    assert [each["outcome"] for each in checks if "the log cannot be written" in each["detail"]] == ["warn"]
    assert server.stop() == 0


def test_a_reader_that_has_gone(server: RunningServer) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        server.start(stderr=pipe)
    deliver_and_read(server)
    assert "Broken pipe" in ask(server, "/health")["warnings"][0]
    assert server.stop() == 0


def test_a_reader_that_does_not_read_and_then_does(server: RunningServer) -> None:
    reading, writing = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, reading)
        full = stack.enter_context(os.fdopen(writing, "wb"))
        fill(full)
        server.start(stderr=full)
        deliver_and_read(server)
        until(lambda: "its reader has read nothing" in str(ask(server, "/health").get("warnings")), "health names it")
        full.close()
        # It reads again: what waited arrives, and nothing was lost.
        got = b""
        while got.count(b'"accepted"') < MESSAGES:
            got += os.read(reading, 1 << 16)
        assert ask(server, "/health") == {"status": "ok"}
        assert server.stop() == 0


def fill(pipe: IO[bytes]) -> None:
    """So that the next octet would block."""
    os.set_blocking(pipe.fileno(), False)
    try:
        while True:
            os.write(pipe.fileno(), b"x" * 511 + b"\n")
    except BlockingIOError:
        os.set_blocking(pipe.fileno(), True)
    assert not select.select([], [pipe], [], 0)[1]


def test_a_reader_that_does_not_read_does_not_keep_the_server_from_stopping(server: RunningServer) -> None:
    reading, writing = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, reading)
        full = stack.enter_context(os.fdopen(writing, "wb"))
        fill(full)
        server.start(stderr=full)
        deliver_and_read(server, 1)
        assert server.stop() == 0


def test_a_closed_descriptor_of_several_processes(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, processes=2, wrapper=("sh", "-c", 'exec "$@" >&- 2>&-', "sh"))
    server.populate()
    server.start()
    deliver_and_read(server)
    assert "Bad file descriptor" in ask(server, "/health")["warnings"][0]
    assert server.stop() == 0
    assert server.log.read_bytes() == b""


def test_a_closed_descriptor(server: RunningServer) -> None:
    server.wrapper = ("sh", "-c", 'exec "$@" >&- 2>&-', "sh")
    server.start()
    deliver_and_read(server)
    assert "it was closed when the program started" in ask(server, "/health")["warnings"][0]
    assert server.stop() == 0
    assert server.log.read_bytes() == b""


def test_a_terminal_that_was_closed(server: RunningServer) -> None:
    ours, theirs = os.openpty()
    server.start(stderr=theirs)
    os.close(theirs)
    os.close(ours)  # From now on each write fails with EIO.
    deliver_and_read(server)
    assert "Input/output error" in ask(server, "/health")["warnings"][0]
    assert server.stop() == 0


def test_a_returning_reader_learns_how_much_it_missed(server: RunningServer, tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("wb") as pipe:
        server.start(stderr=pipe)
    os.close(reading)
    deliver_and_read(server)
    assert "the log cannot be written: Broken pipe" in ask(server, "/health")["warnings"][0]
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    with os.fdopen(reading, "rb") as back:
        # A line that was on its way when the reader came back may be ahead of it.
        told = next(line for line in map(json.loads, back) if line["event"] == "log_lines_lost")
    assert (told["event"], told["why"], told["level"]) == ("log_lines_lost", "Broken pipe", "error")
    assert told["lost"] == ask(server, "/status")["log"]["lost"] >= MESSAGES
    assert server.stop() == 0


def test_two_processes_and_the_worker_with_a_reader_that_has_gone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    server = RunningServer(tmp_path, processes=2)
    server.populate()
    with os.fdopen(writing, "wb") as pipe:
        server.start(stderr=pipe)
    deliver_and_read(server)
    assert server.process is not None
    # The parent has to log that it replaces one, and cannot.
    (worker,) = server.workers()
    os.kill(worker, 9)
    until(lambda: server.workers() - {worker}, "the worker is replaced")
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as smtp:
        assert smtp.sendmail("bob@elsewhere.test", ["ann@demo.test"], "Subject: again\r\n\r\nbody\r\n") == {}
    assert len(children(server.process.pid)) == 3
    assert server.stop() == 0
