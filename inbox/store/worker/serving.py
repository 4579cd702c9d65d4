"""Main loop of the worker process: reads the requests of several server processes and responds in their order.

Its standard input is a socket over which connections are passed (``SCM_RIGHTS``), so they need no name that another
program could find. Requests that arrive while the process is busy form one batch.

The process ends when no process can pass connections any more and all connections have ended, that is, when the server
has ended in any way.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Generic, Protocol, TypeVar

from inbox.base.errors import InboxError
from inbox.store.worker.protocol import PING, Unframer, framed

S = TypeVar("S")
#: Octets read from a connection at once; limits the share of one connection in a batch.
_READ: Final = 1 << 18
#: Seconds in which more requests may join a batch that is smaller than the last one: a large batch costs hardly more
#: than a small one. A peer that sends its requests one after the other never waits.
GATHER_SECONDS: Final = 0.0005
#: The maximum octets of unread responses of a connection, in addition to its socket buffer.
UNREAD: Final = 1 << 24


class Service(Protocol[S]):
    """The service of a worker process: accepts connections and responds to requests."""

    def connect(self, message: bytes) -> S:
        """Returns the subject of a new connection's requests. Raises InboxError; its text is sent to the peer."""
        ...

    def respond(self, requests: Sequence[tuple[S, bytes]]) -> Sequence[bytes]:
        """Returns one response to each request. An exception ends the process."""
        ...


class _Peer(Generic[S]):
    """One connection from a server process."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unframer = Unframer()
        self.subject: S | None = None
        self.unsent = bytearray()
        self.gone = False


class _Loop(Generic[S]):
    """Reads available requests, lets the service respond, and writes the responses."""

    def __init__(self, handover: socket.socket, service: Service[S]) -> None:
        self._handover = handover
        self._service = service
        self._number = str(os.getpid()).encode()
        self._selector = selectors.DefaultSelector()
        self._selector.register(handover, selectors.EVENT_READ)

    def run(self) -> None:
        last = 0
        while self._selector.get_map():
            requests = self._collect(None)
            if 0 < len(requests) < last:
                time.sleep(GATHER_SECONDS)
                requests += self._collect(0)
            if requests:
                last = len(requests)
                self._respond(requests)

    def _collect(self, seconds: float | None) -> list[tuple[_Peer[S], bytes]]:
        """Returns the requests that are available; waits for the first one, for ``seconds`` if given."""
        requests: list[tuple[_Peer[S], bytes]] = []
        for key, events in self._selector.select(seconds):
            if key.data is None:
                self._admit()
                continue
            if events & selectors.EVENT_WRITE:
                self._send(key.data, b"")
            if events & selectors.EVENT_READ:
                requests += [(key.data, message) for message in self._read(key.data)]
        return requests

    def _admit(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._handover, 1, 1)
        if not data:
            self._selector.unregister(self._handover)
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, _Peer(connection))

    def _read(self, peer: _Peer[S]) -> list[bytes]:
        """Returns the complete requests of a connection. A connection that ended is dropped, with any incomplete
        request."""
        if peer.gone:
            return []
        try:
            data = peer.connection.recv(_READ)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._drop(peer)
            return []
        messages = peer.unframer.feed(data)
        if messages and peer.subject is None:
            self._connect(peer, messages.pop(0))
        return messages if peer.subject is not None else []

    def _connect(self, peer: _Peer[S], message: bytes) -> None:
        try:
            peer.subject = self._service.connect(message)
        except InboxError as error:
            self._send(peer, framed(str(error).encode("utf-8", "replace")))
            self._drop(peer)
            return
        self._send(peer, framed(b""))

    def _respond(self, requests: list[tuple[_Peer[S], bytes]]) -> None:
        asked = [(peer.subject, message) for peer, message in requests if message != PING and peer.subject is not None]
        given = iter(self._service.respond(asked) if asked else ())
        responses: dict[_Peer[S], list[bytes]] = {}
        for peer, message in requests:
            response = self._number if message == PING else next(given)
            responses.setdefault(peer, []).append(framed(response))
        for peer, frames in responses.items():
            if not peer.gone:
                self._send(peer, b"".join(frames))

    def _send(self, peer: _Peer[S], data: bytes) -> None:
        """Sends as much as possible without blocking, so that a peer that does not read its responses does not make
        others wait."""
        peer.unsent += data
        try:
            del peer.unsent[: peer.connection.send(peer.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(peer)
            return
        if len(peer.unsent) > UNREAD:
            # By the lost connection the peer learns that the outcome is unknown.
            self._drop(peer)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent else 0)
        if self._selector.get_key(peer.connection).events != wanted:
            self._selector.modify(peer.connection, wanted, peer)

    def _drop(self, peer: _Peer[S]) -> None:
        if not peer.gone:
            peer.gone = True
            self._selector.unregister(peer.connection)
            peer.connection.close()


def _write_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Writes a traceback to standard error if that does not block."""
    text = "".join(traceback.format_exception(kind, error, trace)).encode("utf-8", "backslashreplace")
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    # pipe(7): a writable pipe accepts PIPE_BUF octets without blocking.
    with contextlib.suppress(OSError):
        if any(events & select.POLLOUT for _, events in poll.poll(0)):
            os.write(2, text[-select.PIPE_BUF :])


def serve(service: Service[S]) -> None:
    """Serves requests until no process can send any more."""
    # A terminal's Ctrl-C and a service manager's stop reach this process, too, but the server's remaining requests must
    # still be written.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A blocked write of a traceback must not keep this process from ending: its successor waits for its end.
    sys.excepthook = _write_traceback
    with socket.socket(fileno=sys.stdin.fileno()) as handover:
        _Loop(handover, service).run()
