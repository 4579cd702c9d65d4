"""Connections to the worker process, which sends responses in the order of the requests.

A thread needs the interpreter lock after each system call, and waits for it while the event loop is busy. A process has
its own lock; and a process that several server processes share writes all their requests in one batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from inbox.base.errors import StoreUnavailable
from inbox.store.worker.protocol import PING, Unframer, framed
from inbox.store.worker.starting import Handover

#: Seconds within which a new connection must be answered.
TIMEOUT_SECONDS: Final = 10.0
#: Seconds within which a request must be answered, or the process is killed: longer than it waits for a lock of another
#: program on a slow disk, and much shorter than the ten minutes of a client (RFC 5321 §4.5.3.2.6).
ANSWER_SECONDS: Final = 30.0
#: Seconds after which the link checks again before it kills the process.
DOUBT_SECONDS: Final = 0.5
#: Seconds within which the last responses must arrive when the link is closed.
END_SECONDS: Final = 3.0


class _Connection(asyncio.Protocol):
    """One connection to the worker process.

    Args:
        name: the name of the other end, for error texts.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid: int | None = None
        self.usable = True
        # Stored, because getting it is a system call each time.
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.transport: asyncio.WriteTransport | None = None
        self._unframer = Unframer()
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._all_answered: asyncio.Future[None] | None = None
        self._why = "ended"
        # When the last response arrived, or a request was sent while none was waiting; one timer covers all requests.
        self._moved = 0.0
        self._doubted = -1.0
        self._watch: asyncio.TimerHandle | None = None

    def __str__(self) -> str:
        return self.name if self.pid is None else f"{self.name} (pid {self.pid})"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio.WriteTransport, but have the same methods.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._moved = self._loop.time()
        for message in self._unframer.feed(data):
            answered = self._waiting.popleft()
            # A cancelled caller keeps its place in the queue, so that its response does not go to the next caller.
            if not answered.done():
                answered.set_result(message)
        if self._all_answered is not None and not self._waiting and not self._all_answered.done():
            self._all_answered.set_result(None)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.usable = False
        if self._watch is not None:
            self._watch.cancel()
        while self._waiting:
            answered = self._waiting.popleft()
            if not answered.done():
                answered.set_exception(StoreUnavailable(f"{self} {self._why}"))
        if not self.ended.done():
            self.ended.set_result(None)

    def send(self, request: bytes) -> asyncio.Future[bytes]:
        assert self.transport is not None, "used when the connection is made"
        answered: asyncio.Future[bytes] = self._loop.create_future()
        if not self._waiting:
            self._moved = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(ANSWER_SECONDS, self._look)
        self._waiting.append(answered)
        self.transport.write(framed(request))
        return answered

    def _look(self) -> None:
        """Kills a process that no longer answers, because it was suspended or its disk hangs."""
        self._watch = None
        if not self._waiting:
            return
        left = self._moved + ANSWER_SECONDS - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
            return
        if self._doubted != self._moved:
            # A server that was suspended itself runs this timer before it reads: the response may have arrived.
            self._doubted = self._moved
            self._watch = self._loop.call_later(DOUBT_SECONDS, self._look)
            return
        if self.pid is not None:
            # It holds the other end of the connection, so it is alive, and no other process has its pid. Its owner
            # starts a new one.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.give_up(f"did not answer within {ANSWER_SECONDS:.0f} s and was killed")

    def give_up(self, why: str) -> None:
        """Fails all waiting requests; later responses are ignored."""
        assert self.transport is not None, "the connection was used"
        self.usable = False
        self._why = why
        self.transport.abort()

    async def close(self) -> None:
        """Closes the connection after the outstanding responses, including those of cancelled callers, or after
        END_SECONDS."""
        assert self.transport is not None, "closed after the connection was made"
        if self._waiting:
            self._all_answered = self._loop.create_future()
            await asyncio.wait(
                [self._all_answered, self.ended], timeout=END_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        if self._waiting:
            self.give_up(f"did not answer within {END_SECONDS:.0f} s after the server stopped")
        else:
            self.transport.close()
        await self.ended


class Link:
    """Sends requests to the worker process; the next request after a lost connection opens a new one.

    Args:
        opening: returns the first message of each connection; raises StoreUnavailable.
        name: the name of the process, for error texts.
    """

    def __init__(self, handover: Handover, opening: Callable[[], bytes], name: str = "the worker process") -> None:
        self._handover = handover
        self._opening = opening
        self._name = name
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None
        self._closed = False

    def __str__(self) -> str:
        return self._name if self._connection is None else str(self._connection)

    @property
    def name(self) -> str:
        return self._name

    @property
    def pid(self) -> int | None:
        """The pid of the process that answered last, if one did."""
        return None if self._connection is None else self._connection.pid

    async def request(self, message: bytes) -> bytes:
        """Sends a request and returns the response. Many requests may be in progress at once.

        Raises:
            StoreUnavailable: the process cannot be reached, has ended or hangs; the outcome is unknown.
        """
        connection = self._connection
        if connection is None or not connection.usable:
            connection = await self._connected()
        return await connection.send(message)

    async def start(self) -> None:
        """Connects before the first request; also after :meth:`close`. Raises StoreUnavailable."""
        self._closed = False
        await self._connected()

    async def check(self) -> None:
        """Returns if the process answers. Raises StoreUnavailable."""
        await self.request(PING)

    async def close(self) -> None:
        """Closes the connection after the responses to earlier requests, if they arrive in time."""
        self._closed = True
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        await self._handover.close()

    async def _connected(self) -> _Connection:
        if self._closed:
            raise StoreUnavailable(f"{self._name} was closed")
        # All requests during an attempt share it: otherwise each would wait in turn for a hanging process.
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._tried)
        return await asyncio.shield(self._connecting)

    def _tried(self, attempt: asyncio.Task[_Connection]) -> None:
        self._connecting = None
        if not attempt.cancelled():
            attempt.exception()  # Each caller that still waits raises it.

    async def _connect(self) -> _Connection:
        outer = await self._handover.outer(failed=self._connection is not None)
        connection = self._connection = await _handed_in(outer, self._name)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                wrong = await connection.send(self._opening())
                if not wrong:
                    connection.pid = int(await connection.send(PING))
                    return connection
        except TimeoutError:
            why = f"did not answer within {TIMEOUT_SECONDS:.0f} s"
            connection.give_up(why)
            await connection.ended
            raise StoreUnavailable(f"{connection} {why}") from None
        connection.give_up("rejected the connection")
        await connection.ended
        raise StoreUnavailable(wrong.decode("utf-8", "replace"))


async def _handed_in(outer: socket.socket, name: str) -> _Connection:
    """Opens a connection. Raises StoreUnavailable."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            socket.send_fds(outer, [b"+"], [theirs.fileno()])
        ours.setblocking(False)
        _, connection = await asyncio.get_running_loop().create_unix_connection(lambda: _Connection(name), sock=ours)
    except OSError as error:
        ours.close()
        raise StoreUnavailable(f"{name} cannot be reached: {error}") from error
    return connection
