"""The loop of the worker process, seen from outside."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from inbox.store.worker import serving
from inbox.store.worker.protocol import PING, Unframer, framed
from inbox.store.worker.starting import make_handover
from tests.support.waiting import TIMEOUT_SECONDS, until

pytestmark = pytest.mark.real  # processes of ours, started for each test

ROOT = Path(__file__).parents[3]
#: A process that answers with its question, backwards, the opening before it, and how many were asked at once.
PROGRAM = f"""
import sys
sys.path.append({str(ROOT)!r})
from inbox.base.errors import StoreUnavailable
from inbox.store.worker.serving import serve

class Service:
    def connect(self, message):
        if message == b"wrong":
            raise StoreUnavailable("not here")
        return message

    def respond(self, questions):
        return [b"%s%s%d" % (opening, message[::-1], len(questions)) for opening, message in questions]

serve(Service())
"""


class Served:
    """A running process and its handover socket."""

    def __init__(self, process: subprocess.Popen[bytes], outer: socket.socket) -> None:
        self.process = process
        self.outer = outer
        self.connections: list[socket.socket] = []

    def connect(self, opening: bytes) -> tuple[socket.socket, bytes]:
        """A connection, and the answer to its opening."""
        ours, theirs = socket.socketpair()
        self.connections.append(ours)
        ours.settimeout(TIMEOUT_SECONDS)
        with theirs:
            socket.send_fds(self.outer, [b"+"], [theirs.fileno()])
        ours.sendall(framed(opening))
        return ours, read(ours)[0]

    def ended(self) -> tuple[int, bytes]:
        """Exit code and complaints, when nobody can ask any more."""
        self.outer.close()
        _, complaints = self.process.communicate(timeout=TIMEOUT_SECONDS)
        return self.process.returncode, complaints


@contextmanager
def served() -> Iterator[Served]:
    """One life of the process."""
    outer, inner = make_handover()
    with outer:
        with inner:
            process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=inner.fileno(), stderr=subprocess.PIPE)
        try:
            running = Served(process, outer)
            yield running
            for connection in running.connections:
                connection.close()
        finally:
            process.kill()
            process.communicate()


def read(connection: socket.socket, count: int = 1) -> list[bytes]:
    """That many messages."""
    unframer, found = Unframer(), list[bytes]()
    while len(found) < count:
        data = connection.recv(1 << 16)
        assert data, "the process closed the connection"
        found += unframer.feed(data)
    return found


def test_each_question_gets_its_answer_in_its_turn() -> None:
    with served() as process:
        connection, told = process.connect(b"<")
        assert told == b""
        large = bytes(range(256)) * 200
        connection.sendall(framed(b"abc") + framed(PING) + framed(large))
        first, second, third = read(connection, 3)
        assert (first[:-1], third[:-1]) == (b"<cba", b"<" + large[::-1])
        # Only who works can say so: a roll call is answered in its turn, too.
        assert int(second) == process.process.pid
        connection.close()
        assert process.ended() == (0, b"")


def test_a_question_that_is_longer_than_what_is_read_at_once() -> None:
    with served() as process:
        connection, _ = process.connect(b"")
        connection.sendall(framed(b"x" * 1_000_000)[:-1])
        other, _ = process.connect(b"2")  # It does not wait for the rest of the long one.
        other.sendall(framed(b"ab"))
        assert read(other) == [b"2ba1"]
        connection.sendall(b"x")
        connection.close()
        other.close()
        assert process.ended() == (0, b"")


def test_requests_during_a_batch_form_the_next_one() -> None:
    with served() as process:
        connections = [process.connect(opening)[0] for opening in (b"1", b"2")]
        # Stopped for as long as they ask: so it finds both questions at once.
        process.process.send_signal(signal.SIGSTOP)
        until(lambda: _state(process.process.pid) == "T", "the process is stopped")
        for connection in connections:
            connection.sendall(framed(b"ab"))
        process.process.send_signal(signal.SIGCONT)
        assert [read(connection) for connection in connections] == [[b"1ba2"], [b"2ba2"]]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_an_opening_that_is_refused() -> None:
    with served() as process:
        connection, told = process.connect(b"wrong")
        assert told == b"not here"
        assert connection.recv(1) == b""
        assert process.connect(b"right")[1] == b""


def test_a_client_that_does_not_read_answers_blocks_no_other() -> None:
    with served() as process:
        deaf, _ = process.connect(b"")
        deaf.sendall(framed(b"x" * 1_000_000))
        other, _ = process.connect(b"2")
        other.sendall(framed(b"ab"))
        assert read(other)[0].startswith(b"2ba")
        assert len(read(deaf)[0]) == 1_000_001  # All is there when the peer reads.


def test_a_client_that_reads_no_answers_loses_the_connection() -> None:
    with served() as process:
        deaf, _ = process.connect(b"")
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for _ in range(100):
                deaf.sendall(framed(b"x" * 1_000_000))
        other, _ = process.connect(b"2")
        other.sendall(framed(b"ab"))
        assert read(other)[0].startswith(b"2ba")


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_a_connection_that_ends_within_a_question(cut: int) -> None:
    with served() as process:
        connection, _ = process.connect(b"")
        connection.sendall(framed(b"abc")[:cut])
        connection.close()
        assert process.ended() == (0, b"")


def test_a_batch_that_is_smaller_than_the_last_one_gives_others_time_to_join_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outer, inner = make_handover()
    ours, theirs = socket.socketpair()
    sizes: list[int] = []
    pauses: list[float] = []

    class Counting:
        def connect(self, message: bytes) -> bytes:
            return message

        def respond(self, requests: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
            sizes.append(len(requests))
            if len(sizes) == 1:
                ours.sendall(framed(b"early"))
            elif len(sizes) == 2:
                ours.sendall(framed(b"one") + framed(b"two"))
            else:
                ours.close()
                outer.close()
            return [b""] * len(requests)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        ours.sendall(framed(b"late"))

    monkeypatch.setattr(time, "sleep", pause)
    with theirs:
        socket.send_fds(outer, [b"+"], [theirs.fileno()])
    ours.sendall(b"".join([framed(b"opening"), *[framed(b"x")] * 3]))
    with inner:
        serving._Loop(inner, Counting()).run()
    assert (sizes, pauses) == ([3, 2, 2], [serving.GATHER_SECONDS])
