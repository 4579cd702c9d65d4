"""The client of the benchmark of the API: programs that send over kept HTTP connections.

It runs in a process of its own, with one thread for all connections, and makes its requests before it sends the first
one: it shares the cores with the server that is measured.

    python -m benchmarks.posting PORT KEY KIND REQUESTS MESSAGES SESSIONS
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.submitting import LIMIT_SECONDS, OCTETS
from benchmarks.support import Failed

#: ``rest`` and ``graphql`` send one message with each request, ``batch`` several.
Kind = Literal["rest", "graphql", "batch"]
_MUTATION = "mutation($f: String!, $t: [String!]!, $s: String!, $b: String!) { sendEmail(from: $f, to: $t, subject: $s, textBody: $b) }"  # noqa: E501
_PATHS = {"rest": "/v1/send", "graphql": "/graphql", "batch": "/v1/send/batch"}


@dataclass(frozen=True, slots=True)
class Posting:
    """The requests to send. ``messages``: in each request."""

    port: int
    key: str
    kind: Kind
    requests: int
    messages: int = 1
    sessions: int = 20


@dataclass(frozen=True, slots=True)
class Posted:
    """Seconds until the last answer, and the median and 99th percentile of the seconds of a request."""

    seconds: float
    median: float
    most: float


def post(what: Posting) -> Posted:
    """Sends in a process of its own.

    Raises:
        Failed: a message was refused, or the time was up.
    """
    words = (what.port, what.key, what.kind, what.requests, what.messages, what.sessions)
    command = [sys.executable, "-m", "benchmarks.posting", *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"the requests were not answered within {LIMIT_SECONDS:.0f} s") from None
    if done.returncode:
        raise Failed(f"{what.kind}: {done.stderr.strip()[-300:]}")
    return Posted(*map(float, done.stdout.split()))


def message(number: int) -> dict[str, Any]:
    """A message of OCTETS octets, as a program gives it."""
    text = "".join(f"{line:04} {'x' * 65}\r\n" for line in range((OCTETS - 300) // 72))
    return {"from": "ann@ours.test", "to": [f"user{number}@remote.test"], "subject": "To be measured", "textBody": text}


def body(what: Posting, number: int) -> bytes:
    """The body of a request."""
    if what.kind == "batch":
        first = number * what.messages
        value: Any = {"messages": [message(first + index) for index in range(what.messages)]}
    elif what.kind == "rest":
        value = message(number)
    else:
        mail = message(number)
        names = {"f": mail["from"], "t": mail["to"], "s": mail["subject"], "b": mail["textBody"]}
        value = {"query": _MUTATION, "variables": names}
    return json.dumps(value).encode()


# -- the process ------------------------------------------------------------------------------------------------------


class Session:
    """A kept connection and its requests, the next one last."""

    def __init__(self, what: Posting, numbers: range) -> None:
        self.kind = what.kind
        self.sock = socket.create_connection(("127.0.0.1", what.port), timeout=120)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = (
            f"POST {_PATHS[what.kind]} HTTP/1.1\r\nHost: mx.ours.test\r\nAuthorization: Bearer {what.key}\r\n"
            "Content-Type: application/json\r\n"
        )
        bodies = [body(what, number) for number in reversed(numbers)]
        self.requests = [f"{head}Content-Length: {len(each)}\r\n\r\n".encode() + each for each in bodies]
        self.began = 0.0
        self.times: list[float] = []
        self._answer = b""

    def begin(self) -> bool:
        """Sends the next request; False if there is none."""
        if not self.requests:
            return False
        self.began = time.perf_counter()
        self.sock.sendall(self.requests.pop())
        return True

    def proceed(self) -> bool:
        """Reads what has arrived, and sends the next request after an answer; False after the last one.

        Raises:
            Failed: a message was refused.
        """
        piece = self.sock.recv(65536)
        if not piece:
            raise Failed("the server ended the connection")
        self._answer += piece
        head, found, rest = self._answer.partition(b"\r\n\r\n")
        if not found:
            return True
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(rest) < length:
            return True
        if not head.startswith(b"HTTP/1.1 20") or b'"errors"' in rest or b'"refused"' in rest:
            raise Failed(f"got {head[:40]!r} {rest[:200]!r}")
        self.times.append(time.perf_counter() - self.began)
        self._answer = b""
        return self.begin()


def _post_all(sessions: Sequence[Session]) -> None:
    with selectors.DefaultSelector() as selector:
        for session in sessions:
            if session.begin():
                selector.register(session.sock, selectors.EVENT_READ, session)
        while selector.get_map():
            if not (ready := selector.select(LIMIT_SECONDS)):
                raise Failed(f"the server did not answer for {LIMIT_SECONDS:.0f} s")
            for key, _ in ready:
                if not key.data.proceed():
                    selector.unregister(key.fileobj)


def _main(words: list[str]) -> None:
    port, key, kind, *numbers = words
    assert kind in _PATHS
    what = Posting(int(port), key, kind, *map(int, numbers))  # type: ignore[arg-type]
    sessions = [Session(what, range(index, what.requests, what.sessions)) for index in range(what.sessions)]
    began = time.perf_counter()
    try:
        _post_all(sessions)
    except (Failed, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    took = time.perf_counter() - began
    times = sorted(each for session in sessions for each in session.times)
    print(took, times[len(times) // 2], times[len(times) * 99 // 100])


if __name__ == "__main__":
    _main(sys.argv[1:])
