"""The client of the benchmark of the API."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from benchmarks.posting import Kind, Posting, Session, body
from benchmarks.submitting import OCTETS
from benchmarks.support import Failed

ANSWER = b'HTTP/1.1 202 Accepted\r\nContent-Length: 11\r\n\r\n{"id":"one"}'.replace(b"11", b"12")


@pytest.mark.parametrize(("kind", "messages"), [("rest", 1), ("graphql", 1), ("batch", 3)])
def test_each_message_has_the_size_of_a_submitted_one(kind: Kind, messages: int) -> None:
    value = json.loads(body(Posting(1, "key", kind, 1, messages), 0))
    mails: list[Any] = value["messages"] if kind == "batch" else [value["variables"] if kind == "graphql" else value]
    assert len(mails) == messages
    for mail in mails:
        assert OCTETS - 400 < len(mail.get("textBody") or mail["b"]) < OCTETS


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (ANSWER, False),
        (ANSWER.replace(b"202", b"422"), True),
        (ANSWER.replace(b'"id"', b'"errors"').replace(b"12", b"16"), True),
    ],
)
def test_a_refusal_ends_the_run(answer: bytes, refused: bool) -> None:
    """An answer may come in pieces."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer[:20])
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        session = Session(Posting(listening.getsockname()[1], "key", "rest", 1), range(1))
        assert session.begin()
        assert session.proceed(), "half of the answer"
        session._answer += answer[20:-1]
        session.sock.sendall(b"!")
        thread.join()
        session.sock.close()
        session.sock = _Last(answer[-1:])  # type: ignore[assignment]
        if refused:
            with pytest.raises(Failed):
                session.proceed()
        else:
            assert not session.proceed(), "there is no other request"
            assert len(session.times) == 1


class _Last:
    """A socket with one more piece."""

    def __init__(self, piece: bytes) -> None:
        self.piece = piece

    def recv(self, _octets: int) -> bytes:
        return self.piece
