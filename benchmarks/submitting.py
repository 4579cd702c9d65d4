"""The client of the benchmark of sending: users who log in over STARTTLS and submit mail over kept connections.

It runs in a process of its own, with a thread for each session; commands are pipelined, so that a message costs two
round trips with every server.

    python -m benchmarks.submitting PORT USER PASSWORD SENDER DOMAIN MESSAGES SESSIONS FIRST
"""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import BinaryIO

from benchmarks.support import Failed

OCTETS = 4096
#: One in as many recipients is one that the sink of some runs refuses for now.
LATER_EVERY = 10
LIMIT_SECONDS = 600.0
#: The line by which the process reports that all users are logged in; it then waits for a line.
READY = "ready\n"


@dataclass(frozen=True, slots=True)
class Submission:
    """The messages to submit, and their users."""

    port: int
    user: str
    password: str
    sender: str
    domain: str
    messages: int
    sessions: int = 20
    #: The number of the first message; numbers are part of the recipient's address and of Message-ID.
    first: int = 0


def recipient(number: int, domain: str) -> str:
    """The recipient of a message: every tenth is named ``later``."""
    return f"{'later' if number % LATER_EVERY == 0 else 'user'}{number}@{domain}"


def message(number: int, sender: str, to: str) -> bytes:
    """A mail of OCTETS octets, as a mail program writes it."""
    head = (
        f"From: Sender <{sender}>\r\nTo: {to}\r\nSubject: To be measured\r\nDate: {formatdate()}\r\n"
        f"Message-ID: <{number}.{time.time_ns()}@{sender.partition('@')[2]}>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
    ).encode()
    return head + _body(OCTETS - len(head))


@lru_cache(maxsize=64)
def _body(octets: int) -> bytes:
    """Made once: the client shares the cores with the server that is measured."""
    lines = b"".join(b"%04d %s\r\n" % (line, b"x" * 65) for line in range(octets // 72))
    return lines + b"y" * (octets - len(lines) - 2) + b"\r\n"


def submit(what: Submission, logged_in: Callable[[], None] | None = None) -> tuple[float, float]:
    """Submits in a process of its own; returns when the first MAIL was sent, and the seconds until the last 250.

    ``logged_in`` is called when all users are logged in, before the first MAIL: a login costs as much CPU time as
    dozens of mails.

    The time is that of :func:`time.perf_counter`, which all processes of Linux share.

    Raises:
        Failed: a message was refused, or the time was up.
    """
    words = (what.port, what.user, what.password, what.sender, what.domain, what.messages, what.sessions, what.first)
    command = [sys.executable, "-m", "benchmarks.submitting", *map(str, words)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        # Its sockets have time limits, so the line or the end of the output comes.
        if process.stdout.readline() == READY and logged_in is not None:
            logged_in()
        printed, errors = process.communicate("\n", timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed(f"the submissions were not done within {LIMIT_SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise Failed(f"submission: {errors.strip()[-300:]}")
    began, took = map(float, printed.split())
    return began, took


# -- the process ------------------------------------------------------------------------------------------------------


def _reply(lines: BinaryIO, expected: bytes) -> None:
    """Reads a reply. Raises Failed when its code begins otherwise."""
    while True:
        line = lines.readline()
        if line[3:4] != b"-":
            break
    if not line.startswith(expected):
        raise Failed(f"expected {expected.decode()}, got {line.decode(errors='replace').strip()!r}")


class Session:
    """A connection that is logged in."""

    def __init__(self, what: Submission) -> None:
        self.what = what
        plain = socket.create_connection(("127.0.0.1", what.port), timeout=120)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with plain.makefile("rb") as lines:
            _reply(lines, b"220")
            plain.sendall(b"EHLO client.test\r\n")
            _reply(lines, b"250")
            plain.sendall(b"STARTTLS\r\n")
            _reply(lines, b"220")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(plain)
        self.lines = self.sock.makefile("rb")
        self.sock.sendall(b"EHLO client.test\r\n")
        _reply(self.lines, b"250")
        secret = base64.b64encode(f"\0{what.user}\0{what.password}".encode())
        self.sock.sendall(b"AUTH PLAIN " + secret + b"\r\n")
        _reply(self.lines, b"235")

    def send(self, numbers: range) -> None:
        for number in numbers:
            to = recipient(number, self.what.domain)
            self.sock.sendall(f"MAIL FROM:<{self.what.sender}>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode())
            for expected in (b"250", b"25", b"354"):
                _reply(self.lines, expected)
            self.sock.sendall(message(number, self.what.sender, to) + b".\r\n")
            _reply(self.lines, b"250")

    def quit(self) -> None:
        self.sock.sendall(b"QUIT\r\n")
        self.lines.readline()
        self.sock.close()


def _main(words: list[str]) -> None:
    port, user, password, sender, domain, *numbers = words
    what = Submission(int(port), user, password, sender, domain, *map(int, numbers))
    sessions = [Session(what) for _ in range(what.sessions)]
    print(READY, end="", flush=True)
    sys.stdin.readline()
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            sessions[index].send(range(what.first + index, what.first + what.messages, what.sessions))
        except (Failed, OSError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(what.sessions)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if failures:
        sys.exit(f"{type(failures[0]).__name__}: {failures[0]}")
    for session in sessions:
        session.quit()
    print(began, took)


if __name__ == "__main__":
    _main(sys.argv[1:])
