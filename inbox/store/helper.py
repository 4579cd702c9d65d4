"""Our side of a helper process (:mod:`inbox.store.frames`): who keeps it, and who asks it.

A thread that calls the system needs the interpreter's lock after each call, and waits for it as long as the event loop
is busy. A process has a lock of its own; and one that several server processes share makes one batch of all that they
have to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol, cast

from inbox.base.errors import StoreUnavailable
from inbox.store.frames import Unframer, framed

#: Octets of mail in one question: above it, to copy them to another process costs more than it saves.
CARRIED_OCTETS: Final = 64 * 1024
#: Seconds in which a new connection must be answered.
PATIENCE: Final = 10.0
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

    async def close(self) -> None:
        """Nobody of ours will ask any more, and all connections have ended."""
        ...


class SharedDoor:
    """Leads to a process that somebody else keeps running (:mod:`inbox.app.processes`)."""

    def __init__(self, descriptor: int) -> None:
        self._outer = socket.socket(fileno=descriptor)
        self._outer.setblocking(False)

    async def outer(self, *, failed: bool) -> socket.socket:
        del failed
        return self._outer

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
        if self._process is not None and failed:
            # It ended, or closed a connection that it should have kept: then it is not to be relied on.
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
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

    async def close(self) -> None:
        """Ends the process; what it was asked is done first."""
        if self._outer is not None:
            self._outer.close()
            self._outer = None
        process, self._process = self._process, None
        if process is not None:
            await process.wait()


class _Link(asyncio.Protocol):
    """One connection: answers come in the order of the questions."""

    def __init__(self) -> None:
        self.usable = True
        # Kept, for to ask for it is a call of the kernel each time.
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.transport: asyncio.WriteTransport | None = None
        self._unframer = Unframer()
        self._waiting: deque[asyncio.Future[bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.WriteTransport, but can do the same.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        for message in self._unframer.feed(data):
            answered = self._waiting.popleft()
            # Whoever gave up leaves his place in the queue: the next answer is not his.
            if not answered.done():
                answered.set_result(message)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.usable = False
        while self._waiting:
            answered = self._waiting.popleft()
            if not answered.done():
                answered.set_exception(StoreUnavailable("a helper process ended"))
        if not self.ended.done():
            self.ended.set_result(None)

    def ask(self, question: bytes) -> asyncio.Future[bytes]:
        assert self.transport is not None, "asked when the connection is made"
        answered: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append(answered)
        self.transport.write(framed(question))
        return answered

    async def close(self) -> None:
        """Waits for all answers first."""
        while self._waiting and self.usable:
            last: asyncio.Future[Any] = self._waiting[-1]
            await asyncio.wait([last, self.ended], return_when=asyncio.FIRST_COMPLETED)
        if self.transport is not None:
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
        self._connecting = asyncio.Lock()

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
        """What was asked is answered first."""
        if self._link is not None:
            await self._link.close()
            self._link = None
        await self._door.close()

    async def _connected(self) -> _Link:
        async with self._connecting:
            if self._link is not None and self._link.usable:
                return self._link
            outer = await self._door.outer(failed=self._link is not None)
            link = self._link = await _handed_in(outer)
            try:
                async with asyncio.timeout(PATIENCE):
                    wrong = await link.ask(self._opening)
            except TimeoutError:
                await self._give_up(link)
                raise StoreUnavailable(f"a helper process did not answer within {PATIENCE:.0f} s") from None
            if wrong:
                await self._give_up(link)
                raise StoreUnavailable(wrong.decode("utf-8", "replace"))
            return link

    @staticmethod
    async def _give_up(link: _Link) -> None:
        assert link.transport is not None, "it was asked"
        link.usable = False
        link.transport.abort()
        await link.ended


async def _handed_in(outer: socket.socket) -> _Link:
    """A new connection. Raises StoreUnavailable."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            socket.send_fds(outer, [b"+"], [theirs.fileno()])
        ours.setblocking(False)
        _, link = await asyncio.get_running_loop().create_unix_connection(_Link, sock=ours)
    except OSError as error:
        ours.close()
        raise StoreUnavailable(f"a helper process cannot be reached: {error}") from error
    return link
