"""A transport without a socket: a server's protocol can be talked to in memory, octet by octet."""

from __future__ import annotations

import asyncio
from typing import Any


class MemoryTransport(asyncio.Transport):
    """Keeps what the protocol writes; the test plays the peer.

    Args:
        protocol: is notified of the peer's actions (also as an attribute, for pausing and resuming).
        peer: what ``peername`` says.
    """

    def __init__(self, protocol: asyncio.Protocol, peer: tuple[str, int] = ("192.0.2.7", 40000)) -> None:
        super().__init__({"peername": peer, "sockname": ("192.0.2.1", 25)})
        self.protocol = protocol
        self._loop = asyncio.get_running_loop()
        self.written = bytearray()
        self.writes = 0
        self.reading = True
        self.closed = False
        self._changed = asyncio.Event()
        protocol.connection_made(self)

    # The protocol's side

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data
            self.writes += 1
            self._changed.set()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._changed.set()
            self._loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    # The peer's side

    def send(self, data: bytes) -> None:
        """The peer sends."""
        self.protocol.data_received(data)

    def half_close(self) -> None:
        """The peer will send no more, and still listens."""
        if not self.protocol.eof_received():
            self.close()

    def lose(self) -> None:
        """The connection breaks."""
        self.closed = True
        self._changed.set()
        self.protocol.connection_lost(ConnectionResetError("lost"))

    async def changed(self) -> None:
        """Waits until the protocol has written or closed."""
        if not self.closed:
            await self._changed.wait()
        self._changed.clear()

    def take(self) -> bytes:
        """The octets written since the last call."""
        data = bytes(self.written)
        self.written.clear()
        return data
