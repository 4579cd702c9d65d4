"""Our side of a helper process (:mod:`inbox.store.frames`): who keeps it, and who asks it.

A thread that calls the system needs the interpreter's lock after each call, and waits for it as long as the event loop
is busy. A process has a lock of its own; and one that several server processes share makes one batch of all that they
have to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, cast

from inbox.base.errors import StoreUnavailable
from inbox.store.frames import Unframer, framed

#: Seconds in which a new connection must be answered.
PATIENCE: Final = 10.0
#: Seconds in which the last answers must come when we end, and in which the process must end then. Whoever asked was
#: told before that nobody knows.
CLOSING: Final = 3.0
#: How often a connection is looked at, in seconds, and how many looks must find the same question unanswered, after the
#: first that saw it, until its process is given up. One is not enough: a server that was stopped for a while looks
#: before it reads. RFC 5321 §4.5.3.2.6 has a client wait ten minutes.
LOOK_SECONDS: Final = 15.0
LOOKS: Final = 2
#: The program may have been found in a way that a child would not find it by.
_PACKAGES: Final = str(Path(__file__).parents[2])
#: It must not keep the server's ports, or anything else that the loop let through, from a successor.
_PROGRAM: Final = (
    "import importlib, os, sys; os.closerange(3, 1 << 20); sys.path.append(sys.argv[1]); "
    "importlib.import_module(sys.argv[2]).main()"
)


def command(module: str) -> tuple[str, ...]:
    """The command of a helper process; its standard input has to be the inner side of a door.

    Args:
        module: its ``main()`` calls :func:`inbox.store.frames.serve`.
    """
    return sys.executable, "-c", _PROGRAM, _PACKAGES, module


def make_door() -> tuple[socket.socket, socket.socket]:
    """The outer side of a door, where connections are handed in, and the inner one, for the process."""
    outer, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outer.setblocking(False)
    return outer, inner


class Door(Protocol):
    """The way to a helper process."""

    async def outer(self, *, failed: bool) -> socket.socket:
        """Where a connection is handed in. Raises StoreUnavailable.

        Args:
            failed: the last connection was lost.
        """
        ...

    def distrust(self) -> None:
        """The process owes an answer for too long."""
        ...

    async def close(self) -> None:
        """Nobody of ours will ask any more, and all connections have ended."""
        ...


class SharedDoor:
    """Leads to a process that somebody else keeps running (:mod:`inbox.app.processes`)."""

    def __init__(self, descriptor: int) -> None:
        # The process ends when nobody holds its door: our own children must not.
        os.set_inheritable(descriptor, False)
        self._outer = socket.socket(fileno=descriptor)
        self._outer.setblocking(False)

    async def outer(self, *, failed: bool) -> socket.socket:
        del failed
        return self._outer

    def distrust(self) -> None:
        """Who keeps the process looks after it."""

    async def close(self) -> None:
        self._outer.close()


class OwnDoor:
    """Leads to a process of ours, which is started when it is needed and replaced when it has failed."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._outer: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        """The process, if one was started."""
        return self._process

    async def outer(self, *, failed: bool) -> socket.socket:
        if failed:
            # It ended, or closed a connection that it should have kept: then it is not to be relied on.
            self.distrust()
        if self._process is not None and (failed or self._process.returncode is not None):
            await self.close()
        if self._outer is None:
            self._outer, inner = make_door()
            with inner:
                try:
                    # A session of its own: a terminal's Ctrl-C is for the server.
                    self._process = await asyncio.create_subprocess_exec(
                        *command(self._module),
                        stdin=inner.fileno(),
                        stdout=asyncio.subprocess.DEVNULL,
                        start_new_session=True,
                    )
                except OSError as error:
                    await self.close()
                    raise StoreUnavailable(f"the process of {self._module} cannot be started: {error}") from error
        return self._outer

    def distrust(self) -> None:
        """Ends the process now: it may hold a lock that others wait for."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Ends the process; what it was asked is done first, if it is done in time."""
        if self._outer is not None:
            self._outer.close()
            self._outer = None
        if self._process is not None and not await ended(self._process, CLOSING):
            self.distrust()
            # One that waits for a disk ends when the disk answers: we do not wait for that.
            await ended(self._process, CLOSING)
        self._process = None


async def ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Waits for a process to end; False if it does not within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def attended(outer: socket.socket, seconds: float) -> bool:
    """Whether anybody behind a door looks after it within ``seconds``.

    He is handed a connection over which nothing will come, and closes it.
    """
    ours, theirs = socket.socketpair()
    with ours:
        try:
            with theirs:
                socket.send_fds(outer, [b"+"], [theirs.fileno()])
            ours.setblocking(False)
            ours.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_recv(ours, 1)
        except OSError:  # Also when the time is over; or nobody took what was handed in, until no more found room.
            return False
    return True


class _Link(asyncio.Protocol):
    """One connection: answers come in the order of the questions.

    Args:
        silent: called when an answer is owed for too long, before the connection is given up.
    """

    def __init__(self, silent: Callable[[], None]) -> None:
        self.usable = True
        self._silent = silent
        # Kept, for to ask for it is a call of the kernel each time.
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.transport: asyncio.WriteTransport | None = None
        self._unframer = Unframer()
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._answered: asyncio.Future[None] | None = None
        self._what = "a helper process ended"
        # One timer for the connection, and none for each question.
        self._oldest: asyncio.Future[bytes] | None = None
        self._looks = 0
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.WriteTransport, but can do the same.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        for message in self._unframer.feed(data):
            answered = self._waiting.popleft()
            # Whoever gave up leaves his place in the queue: the next answer is not his.
            if not answered.done():
                answered.set_result(message)
        if self._answered is not None and not self._waiting and not self._answered.done():
            self._answered.set_result(None)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.usable = False
        self._timer.cancel()
        while self._waiting:
            answered = self._waiting.popleft()
            if not answered.done():
                answered.set_exception(StoreUnavailable(self._what))
        if not self.ended.done():
            self.ended.set_result(None)

    def _look(self) -> None:
        oldest = self._waiting[0] if self._waiting else None
        self._looks = self._looks + 1 if oldest is not None and oldest is self._oldest else 0
        self._oldest = oldest
        if self._looks < LOOKS:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
            return
        self._what = f"a helper process did not answer within {LOOKS * LOOK_SECONDS:.0f} s"
        self._silent()
        self.abort()

    def ask(self, question: bytes) -> asyncio.Future[bytes]:
        assert self.transport is not None, "asked when the connection is made"
        answered: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append(answered)
        self.transport.write(framed(question))
        return answered

    def abort(self) -> None:
        """Whoever waits hears that nobody knows what was done."""
        assert self.transport is not None, "given up when the connection was made"
        self.usable = False
        self.transport.abort()

    async def close(self) -> None:
        """Waits for the answers first, those that nobody waits for any more included, but not for ever."""
        assert self.transport is not None, "closed when the connection was made"
        if self._waiting:
            self._answered = self._loop.create_future()
            await asyncio.wait([self._answered, self.ended], timeout=CLOSING, return_when=asyncio.FIRST_COMPLETED)
        if self._waiting:
            self.abort()
        else:
            self.transport.close()
        await self.ended


class Helper:
    """Asks a helper process; a connection that was lost is replaced at the next question.

    Args:
        opening: the first message of each connection.
    """

    def __init__(self, door: Door, opening: bytes) -> None:
        self._door = door
        self._opening = opening
        self._link: _Link | None = None
        self._connecting: asyncio.Task[_Link] | None = None

    async def ask(self, question: bytes) -> bytes:
        """The answer. Many may ask at once.

        Raises:
            StoreUnavailable: the process cannot be reached, or ended meanwhile; nobody knows what it did.
        """
        link = self._link
        if link is None or not link.usable:
            link = await self._connected()
        return await link.ask(question)

    async def start(self) -> None:
        """Connects, so that the first question need not wait for it. Raises StoreUnavailable."""
        await self._connected()

    async def close(self) -> None:
        """What was asked is answered first, if the process answers in time."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._link is not None:
            await self._link.close()
            self._link = None
        await self._door.close()

    async def _connected(self) -> _Link:
        """All who come meanwhile share one attempt, and what it fails of: they do not wait one after the other."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._tried)
        # Who is cancelled leaves the attempt to the others.
        return await asyncio.shield(self._connecting)

    def _tried(self, attempt: asyncio.Task[_Link]) -> None:
        self._connecting = None
        if not attempt.cancelled():
            attempt.exception()  # Those who asked know it; there may be none left.

    async def _connect(self) -> _Link:
        if self._link is not None and self._link.usable:
            return self._link
        outer = await self._door.outer(failed=self._link is not None)
        link = self._link = await _handed_in(outer, self._door.distrust)
        try:
            async with asyncio.timeout(PATIENCE):
                wrong = await link.ask(self._opening)
        except TimeoutError:
            link.abort()
            raise StoreUnavailable(f"a helper process did not answer within {PATIENCE:.0f} s") from None
        if wrong:
            link.abort()
            raise StoreUnavailable(wrong.decode("utf-8", "replace"))
        return link


async def _handed_in(outer: socket.socket, silent: Callable[[], None]) -> _Link:
    """A new connection. Raises StoreUnavailable."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            socket.send_fds(outer, [b"+"], [theirs.fileno()])
        ours.setblocking(False)
        _, link = await asyncio.get_running_loop().create_unix_connection(lambda: _Link(silent), sock=ours)
    except OSError as error:
        ours.close()
        raise StoreUnavailable(f"a helper process cannot be reached: {error}") from error
    return link
