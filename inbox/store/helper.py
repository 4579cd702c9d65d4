"""Our side of a helper process (:mod:`inbox.store.frames`): starts it, asks it, replaces it when it ended.

A thread that calls the system needs the interpreter's lock after each call, and waits for it as long as the event loop
is busy. A process has a lock of its own.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final, cast

from inbox.base.errors import StoreUnavailable
from inbox.store.frames import HEAD, framed

#: The program may have been found in a way that a child would not find it by.
_PACKAGES: Final = str(Path(__file__).parents[2])
#: It must not keep the server's ports, or anything else that the loop let through, from a successor.
_PROGRAM: Final = (
    "import importlib, os, sys; os.closerange(3, 1 << 20); sys.path.append(sys.argv[1]); "
    "importlib.import_module(sys.argv[2]).main(*sys.argv[3:])"
)


class _Pipes(asyncio.SubprocessProtocol):
    """What the process tells us: at most one answer is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, module: str) -> None:
        self.usable = True
        self.answer: asyncio.Future[bytes] | None = None
        self.ended = loop.create_future()
        self._module = module
        self._received = b""

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        self._received += data
        end = HEAD.size + HEAD.unpack_from(self._received)[0] if len(self._received) >= HEAD.size else 0
        if not end or len(self._received) < end:
            return
        message, self._received = self._received[HEAD.size : end], self._received[end:]
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(message)

    def pipe_connection_lost(self, _fd: int, _exc: Exception | None) -> None:
        self._fail()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._fail()
        if not self.ended.done():
            self.ended.set_result(None)

    def _fail(self) -> None:
        self.usable = False
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(StoreUnavailable(f"the process of {self._module} ended"))


class Helper:
    """A process that answers one question at a time; one that ended is replaced at the next question.

    Args:
        module: what the process runs: its ``main(*arguments)`` calls :func:`inbox.store.frames.serve`.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        self._arguments = arguments
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipes: _Pipes | None = None

    async def ask(self, question: bytes) -> bytes:
        """The answer. To be called by one caller at a time.

        Raises:
            StoreUnavailable: the process cannot be started, or ended meanwhile; nobody knows what it did.
        """
        pipes, transport = await self._running()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        pipes.answer = answer
        # uvloop's transports are no asyncio.WriteTransport, but can do the same.
        cast("asyncio.WriteTransport", transport.get_pipe_transport(0)).write(framed(question))
        try:
            return await answer
        except asyncio.CancelledError:
            # Its answer is still to come, and must not be taken for that to the next question: another mail would be
            # acknowledged by it. What was asked may be done or not; the next question gets a new process.
            pipes.usable = False
            raise

    async def start(self) -> None:
        """Starts the process, so that the first question need not wait for it. Raises StoreUnavailable."""
        await self._running()

    async def close(self) -> None:
        """Ends the process; what it was asked is done first."""
        if self._transport is None or self._pipes is None:
            return
        into = self._transport.get_pipe_transport(0)
        if into is not None:
            into.close()
        await self._pipes.ended
        self._transport.close()
        self._transport = self._pipes = None

    async def _running(self) -> tuple[_Pipes, asyncio.SubprocessTransport]:
        if self._transport is not None and self._pipes is not None:
            if self._pipes.usable:
                return self._pipes, self._transport
            self._transport.close()
        loop = asyncio.get_running_loop()
        command = (sys.executable, "-c", _PROGRAM, _PACKAGES, self._module, *self._arguments)
        try:
            # A session of its own: a terminal's Ctrl-C is for the server.
            made = await loop.subprocess_exec(
                lambda: _Pipes(loop, self._module), *command, stderr=None, start_new_session=True
            )
        except OSError as error:
            raise StoreUnavailable(f"the process of {self._module} cannot be started: {error}") from error
        self._transport, self._pipes = made
        return self._pipes, self._transport
