"""A TCP server in front of another one that may refuse, stall, or answer by itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Literal

import pytest

Mode = Literal["pass", "refuse", "stall", "answer"]


class Faulty:
    """Forwards to a port of this machine as long as ``mode`` is ``pass``.

    ``refuse`` cuts connections, ``stall`` takes requests and never answers, ``answer`` sends :attr:`answer` to each.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.answer = b""
        #: Set when a request has come in that will not be answered.
        self.stalled = threading.Event()
        self._target = target
        self._mode: Mode = "pass"
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def become(self, mode: Mode, answer: bytes = b"") -> None:
        """From now on; connections that are open are cut."""
        asyncio.run_coroutine_threadsafe(self._become(mode, answer), self._loop).result(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(server.sockets[0].getsockname()[1])
        ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        await self._become("refuse", b"")
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        if serving:
            await asyncio.wait(serving)
        await asyncio.sleep(0)  # closed transports let go of their sockets in the next turn

    async def _become(self, mode: Mode, answer: bytes) -> None:
        self._mode, self.answer = mode, answer
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._connected(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "pass":
            inner, outer = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(outer)
            try:
                await asyncio.gather(_pump(reader, outer), _pump(inner, writer), return_exceptions=True)
            finally:
                self._open.discard(outer)
                outer.close()
        elif self._mode == "stall":
            while await reader.read(65_536):
                self.stalled.set()
        elif self._mode == "answer":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
def faulty_s3(request: pytest.FixtureRequest) -> Iterator[Faulty]:
    """In front of ministack."""
    made = Faulty(int(request.getfixturevalue("ministack").endpoint.rpartition(":")[2]))
    yield made
    made.close()
