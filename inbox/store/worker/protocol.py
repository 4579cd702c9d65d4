"""The life of a helper process: questions of several server processes, answered in the order they came.

Its standard input is a door, a socket over which connections are handed in (``SCM_RIGHTS``): they need no name that a
stranger could find. Over a connection go frames: four octets of length (big endian) and that many octets. The first
one opens the connection, and is answered with what is wrong with it, or with nothing; each further one is a question
and gets one answer; an empty one's is the number of the process. Whatever has come while the process was busy is
answered together.

The process ends when nobody can hand in connections any more and all connections have ended, which is when the server
has ended, however that happens.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Generic, Protocol, TypeVar

from inbox.base.errors import InboxError

S = TypeVar("S")
#: The length in front of a frame.
HEAD: Final = struct.Struct(">I")
#: What is read from a connection at once; bounds what one connection has in a batch.
_READ: Final = 1 << 18
#: Octets of answers that a connection may leave unread, besides what its socket holds.
UNREAD: Final = 1 << 24
#: A question that every helper process answers, with its number in decimal: whoever gets it knows that it works.
ROLL_CALL: Final = b""


def framed(message: bytes) -> bytes:
    """A frame with ``message`` in it."""
    return HEAD.pack(len(message)) + message


class Unframer:
    """Takes frames out of a stream."""

    __slots__ = ("_received",)

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        received = self._received
        received += data
        messages, place = [], 0
        while len(received) - place >= HEAD.size:
            end = place + HEAD.size + HEAD.unpack_from(received, place)[0]
            if len(received) < end:
                break
            messages.append(bytes(received[place + HEAD.size : end]))
            place = end
        del received[:place]
        return messages


class Service(Protocol[S]):
    """What a helper process does."""

    def open(self, message: bytes) -> S:
        """What the questions of a new connection are about. Raises InboxError: its words go to the other side."""
        ...

    def answer(self, questions: Sequence[tuple[S, bytes]]) -> Sequence[bytes]:
        """One answer to each. What it raises ends the process."""
        ...


class _Peer(Generic[S]):
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unframer = Unframer()
        self.subject: S | None = None
        self.unsent = bytearray()
        self.gone = False


class _Desk(Generic[S]):
    """Reads what is there, has it answered, writes the answers."""

    def __init__(self, door: socket.socket, service: Service[S]) -> None:
        self._door = door
        self._service = service
        self._number = str(os.getpid()).encode()
        self._selector = selectors.DefaultSelector()
        self._selector.register(door, selectors.EVENT_READ)

    def run(self) -> None:
        while self._selector.get_map():
            asked: list[tuple[_Peer[S], bytes]] = []
            for key, events in self._selector.select():
                if key.data is None:
                    self._admit()
                    continue
                if events & selectors.EVENT_WRITE:
                    self._tell(key.data, b"")
                if events & selectors.EVENT_READ:
                    asked += [(key.data, message) for message in self._read(key.data)]
            if asked:
                self._answer(asked)

    def _admit(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._door, 1, 1)
        if not data:
            self._selector.unregister(self._door)
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, _Peer(connection))

    def _read(self, peer: _Peer[S]) -> list[bytes]:
        """Complete questions of a connection; one that ended is forgotten, with a question that it did not finish."""
        if peer.gone:
            return []
        try:
            data = peer.connection.recv(_READ)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._forget(peer)
            return []
        messages = peer.unframer.feed(data)
        if messages and peer.subject is None:
            self._open(peer, messages.pop(0))
        return messages if peer.subject is not None else []

    def _open(self, peer: _Peer[S], message: bytes) -> None:
        try:
            peer.subject = self._service.open(message)
        except InboxError as error:
            self._tell(peer, framed(str(error).encode("utf-8", "replace")))
            self._forget(peer)
            return
        self._tell(peer, framed(b""))

    def _answer(self, asked: list[tuple[_Peer[S], bytes]]) -> None:
        questions = [
            (peer.subject, message) for peer, message in asked if message != ROLL_CALL and peer.subject is not None
        ]
        given = iter(self._service.answer(questions) if questions else ())
        answers: dict[_Peer[S], list[bytes]] = {}
        for peer, message in asked:
            answer = self._number if message == ROLL_CALL else next(given)
            answers.setdefault(peer, []).append(framed(answer))
        for peer, frames in answers.items():
            if not peer.gone:
                self._tell(peer, b"".join(frames))

    def _tell(self, peer: _Peer[S], data: bytes) -> None:
        """Sends what can be sent now; who does not read his answers keeps nobody waiting."""
        peer.unsent += data
        try:
            del peer.unsent[: peer.connection.send(peer.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._forget(peer)
            return
        if len(peer.unsent) > UNREAD:
            # The loss of the connection tells him that nobody knows what was done.
            self._forget(peer)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent else 0)
        if self._selector.get_key(peer.connection).events != wanted:
            self._selector.modify(peer.connection, wanted, peer)

    def _forget(self, peer: _Peer[S]) -> None:
        if not peer.gone:
            peer.gone = True
            self._selector.unregister(peer.connection)
            peer.connection.close()


def _complain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Writes a traceback to standard error if that takes it at once."""
    text = "".join(traceback.format_exception(kind, error, trace)).encode("utf-8", "backslashreplace")
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    # pipe(7): one that is ready takes PIPE_BUF octets without blocking.
    with contextlib.suppress(OSError):
        if any(events & select.POLLOUT for _, events in poll.poll(0)):
            os.write(2, text[-select.PIPE_BUF :])


def serve(service: Service[S]) -> None:
    """Answers until nobody can ask any more."""
    # A terminal's Ctrl-C and a service manager's stop reach us, too: what the server still writes must be written.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A blocked write of a traceback must not keep this process from ending: its successor waits for that.
    sys.excepthook = _complain
    with socket.socket(fileno=sys.stdin.fileno()) as door:
        _Desk(door, service).run()
