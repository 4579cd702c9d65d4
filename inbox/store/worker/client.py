"""Our side of a helper process (:mod:`inbox.store.worker.protocol`): who keeps it, and who asks it.

A thread that calls the system needs the interpreter's lock after each call, and waits for it as long as the event loop
is busy. A process has a lock of its own; and one that several server processes share makes one batch of all that they
have to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, cast, runtime_checkable

from inbox.base.errors import StoreUnavailable
from inbox.store.worker.protocol import ROLL_CALL, Unframer, framed

#: Octets of mail in one question: above it, to copy them to another process costs more than it saves.
CARRIED_OCTETS: Final = 64 * 1024
#: Seconds in which a new connection must be answered.
PATIENCE: Final = 10.0
#: Seconds in which something that was asked must be answered, or the process is killed: longer than it waits for a lock
#: of another program, on a slow disk, and much shorter than the ten minutes of a client (RFC 5321 §4.5.3.2.6).
ANSWER_SECONDS: Final = 30.0
#: Seconds after which we look again before we do that.
DOUBT_SECONDS: Final = 0.5
#: Seconds in which the last answers must come when we end, and in which the process must end then. Whoever asked was
#: told before that nobody knows.
END_SECONDS: Final = 3.0
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
        module: its ``main()`` calls :func:`inbox.store.worker.protocol.serve`.
    """
    # -P: whatever lies in the working directory is no module of ours.
    return sys.executable, "-P", "-c", _PROGRAM, _PACKAGES, module


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


@runtime_checkable
class Helped(Protocol):
    """A store that has a helper process."""

    @property
    def helper(self) -> Helper | None:
        """Asks it; None if there is none, or the store is not open."""
        ...


class SharedDoor:
    """Leads to a process that somebody else keeps running (:mod:`inbox.app.serve.processes`)."""

    def __init__(self, descriptor: int) -> None:
        # The process ends when nobody holds its door: our own children must not.
        os.set_inheritable(descriptor, False)
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
        """Ends the process; what it was asked is done first, if it is done in time."""
        if self._outer is not None:
            self._outer.close()
            self._outer = None
        process, self._process = self._process, None
        if process is not None and not await ended(process, END_SECONDS):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # One that waits for a disk ends when the disk answers: we do not wait for that.
            await ended(process, END_SECONDS)


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
        name: what is at the other end, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid: int | None = None
        self.usable = True
        # Kept, for to ask for it is a call of the kernel each time.
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.transport: asyncio.WriteTransport | None = None
        self._unframer = Unframer()
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._answered: asyncio.Future[None] | None = None
        self._why = "ended"
        # When something was answered last, or asked while nothing waited; one timer looks after all questions.
        self._moved = 0.0
        self._doubted = -1.0
        self._watch: asyncio.TimerHandle | None = None

    def __str__(self) -> str:
        return self.name if self.pid is None else f"{self.name} (pid {self.pid})"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.WriteTransport, but can do the same.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._moved = self._loop.time()
        for message in self._unframer.feed(data):
            answered = self._waiting.popleft()
            # Whoever gave up leaves his place in the queue: the next answer is not his.
            if not answered.done():
                answered.set_result(message)
        if self._answered is not None and not self._waiting and not self._answered.done():
            self._answered.set_result(None)

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

    def ask(self, question: bytes) -> asyncio.Future[bytes]:
        assert self.transport is not None, "asked when the connection is made"
        answered: asyncio.Future[bytes] = self._loop.create_future()
        if not self._waiting:
            self._moved = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(ANSWER_SECONDS, self._look)
        self._waiting.append(answered)
        self.transport.write(framed(question))
        return answered

    def _look(self) -> None:
        """Gives a process up that answers nothing any more: it was stopped, or its disk hangs."""
        self._watch = None
        if not self._waiting:
            return
        left = self._moved + ANSWER_SECONDS - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
            return
        if self._doubted != self._moved:
            # A server that was stopped itself looks before it reads: the answer may be there.
            self._doubted = self._moved
            self._watch = self._loop.call_later(DOUBT_SECONDS, self._look)
            return
        if self.pid is not None:
            # It lives, for it has the other end of the connection: nobody else has its number. Whoever keeps it running
            # starts another one.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.give_up(f"did not answer within {ANSWER_SECONDS:.0f} s and was killed")

    def give_up(self, why: str) -> None:
        """Whoever waits hears that; what comes now is nobody's answer."""
        assert self.transport is not None, "it was asked"
        self.usable = False
        self._why = why
        self.transport.abort()

    async def close(self) -> None:
        """Waits for the answers first, those that nobody waits for any more included, but not for ever."""
        assert self.transport is not None, "closed when the connection was made"
        if self._waiting:
            self._answered = self._loop.create_future()
            await asyncio.wait([self._answered, self.ended], timeout=END_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if self._waiting:
            self.give_up(f"did not answer within {END_SECONDS:.0f} s of the server's end")
        else:
            self.transport.close()
        await self.ended


class Helper:
    """Asks a helper process; a connection that was lost is replaced at the next question.

    Args:
        opening: makes the first message of each connection.
        name: what the process is, for messages.
    """

    def __init__(self, door: Door, opening: Callable[[], bytes], name: str = "a helper process") -> None:
        self._door = door
        self._opening = opening
        self._name = name
        self._link: _Link | None = None
        self._connecting: asyncio.Task[_Link] | None = None

    def __str__(self) -> str:
        return self._name if self._link is None else str(self._link)

    @property
    def name(self) -> str:
        return self._name

    @property
    def pid(self) -> int | None:
        """The process that answered last, if one did."""
        return None if self._link is None else self._link.pid

    async def ask(self, question: bytes) -> bytes:
        """The answer. Many may ask at once.

        Raises:
            StoreUnavailable: the process cannot be reached, or ended meanwhile, or answers nothing any more; nobody
                knows what it did.
        """
        link = self._link
        if link is None or not link.usable:
            link = await self._connected()
        return await link.ask(question)

    async def start(self) -> None:
        """Connects, so that the first question need not wait for it. Raises StoreUnavailable."""
        await self._connected()

    async def check(self) -> None:
        """Returns if the process answers. Raises StoreUnavailable."""
        await self.ask(ROLL_CALL)

    async def close(self) -> None:
        """What was asked is answered first, if it is answered in time."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._link is not None:
            await self._link.close()
            self._link = None
        await self._door.close()

    async def _connected(self) -> _Link:
        # All who ask meanwhile share an attempt: one after the other they would wait for a process that hangs.
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._tried)
        return await asyncio.shield(self._connecting)

    def _tried(self, attempt: asyncio.Task[_Link]) -> None:
        self._connecting = None
        if not attempt.cancelled():
            attempt.exception()  # Whoever still waits raises it.

    async def _connect(self) -> _Link:
        outer = await self._door.outer(failed=self._link is not None)
        link = self._link = await _handed_in(outer, self._name)
        try:
            async with asyncio.timeout(PATIENCE):
                wrong = await link.ask(self._opening())
                if not wrong:
                    link.pid = int(await link.ask(ROLL_CALL))
                    return link
        except TimeoutError:
            why = f"did not answer within {PATIENCE:.0f} s"
            link.give_up(why)
            await link.ended
            raise StoreUnavailable(f"{link} {why}") from None
        link.give_up("was asked for what it cannot do")
        await link.ended
        raise StoreUnavailable(wrong.decode("utf-8", "replace"))


async def _handed_in(outer: socket.socket, name: str) -> _Link:
    """A new connection. Raises StoreUnavailable."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            socket.send_fds(outer, [b"+"], [theirs.fileno()])
        ours.setblocking(False)
        _, link = await asyncio.get_running_loop().create_unix_connection(lambda: _Link(name), sock=ours)
    except OSError as error:
        ours.close()
        raise StoreUnavailable(f"{name} cannot be reached: {error}") from error
    return link
