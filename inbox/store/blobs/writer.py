"""Our side of the process that writes small blobs (:mod:`inbox.store.blobs.scribe`): starts it, hands it batches."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final, cast

import msgspec

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.store.blobs.files import translated
from inbox.store.blobs.scribe import HEAD, Batch, Outcome, framed

#: The program may have been found in a way that a child would not find it by.
_PACKAGES: Final = str(Path(__file__).parents[3])
_PROGRAM: Final = (
    "import sys; sys.path.append(sys.argv[1]); from inbox.store.blobs.scribe import main; main(sys.argv[2])"
)


class _Pipes(asyncio.SubprocessProtocol):
    """What the process tells us: at most one answer is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.usable = True
        self.answer: asyncio.Future[Outcome] | None = None
        self.ended = loop.create_future()
        self._received = b""
        self._decode = msgspec.msgpack.Decoder(Outcome).decode

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        self._received += data
        end = HEAD.size + HEAD.unpack_from(self._received)[0] if len(self._received) >= HEAD.size else 0
        if not end or len(self._received) < end:
            return
        packed, self._received = self._received[HEAD.size : end], self._received[end:]
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(self._decode(packed))

    def pipe_connection_lost(self, _fd: int, _exc: Exception | None) -> None:
        self._fail()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._fail()
        if not self.ended.done():
            self.ended.set_result(None)

    def _fail(self) -> None:
        self.usable = False
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(StoreUnavailable("the process that writes blobs ended"))


class Writer:
    """Writes batches in a process of its own. One batch at a time; a process that ended is replaced by the next one.

    Args:
        root: the directory of the blobs.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipes: _Pipes | None = None

    async def write(self, batch: Batch) -> list[StoreError | None]:
        """Makes a batch durable; what went wrong with each blob.

        Raises:
            StoreUnavailable: the process cannot be started, or ended meanwhile; nobody knows what is durable.
        """
        pipes, transport = await self._running()
        answer = pipes.answer = asyncio.get_running_loop().create_future()
        # uvloop's transports are no asyncio.WriteTransport, but can do the same.
        cast("asyncio.WriteTransport", transport.get_pipe_transport(0)).write(framed(batch))
        outcome = await answer
        if len(outcome) != len(batch):
            raise StoreUnavailable(f"{len(outcome)} answers for {len(batch)} blobs")
        return [_error(told, place) for told, (_, place, _) in zip(outcome, batch, strict=True)]

    async def start(self) -> None:
        """Starts the process, so that the first mail need not wait for it. Raises StoreUnavailable."""
        await self._running()

    async def close(self) -> None:
        """Ends the process; what it was given is written first."""
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
        command = (sys.executable, "-c", _PROGRAM, _PACKAGES, self._root)
        try:
            # A session of its own: a terminal's Ctrl-C is for the server.
            made = await loop.subprocess_exec(lambda: _Pipes(loop), *command, stderr=None, start_new_session=True)
        except OSError as error:
            raise StoreUnavailable(f"the process that writes blobs cannot be started: {error}") from error
        self._transport, self._pipes = made
        return self._pipes, self._transport


def _error(told: tuple[int, str] | None, place: str) -> StoreError | None:
    if told is None:
        return None
    number, words = told
    if not number:
        return StoreUnavailable(f"blob store at {place}: {words}")
    return translated(OSError(number, words), place, StoreUnavailable)
