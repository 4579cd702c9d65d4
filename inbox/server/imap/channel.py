"""One connection's bytes, with back pressure both ways: nothing is read faster than used, or written than taken."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

#: Unused octets after which the peer is not read from any more.
_READ_HIGH: Final = 256 * 1024
#: Unsent octets after which :meth:`Channel.drain` waits, and those at which it goes on.
_WRITE_HIGH: Final = 256 * 1024
_WRITE_LOW: Final = 64 * 1024
#: Seconds for a peer to answer our close_notify when it has taken all else.
_CLOSE_NOTIFY_SECONDS: Final = 0.05


class Disconnected(Exception):
    """The peer is gone, or the connection was given up."""


class Channel(asyncio.Protocol):
    """A TCP connection that can turn into a TLS one.

    Args:
        connected: called once, when the connection is there.
        write_timeout: seconds that :meth:`drain` waits for a peer that does not read.
    """

    def __init__(self, connected: Callable[[Channel], None], write_timeout: float) -> None:
        self._connected = connected
        self._write_timeout = write_timeout
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._drainer: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._paused = False
        self._full = False
        self._nudged = False
        self._eof = False
        self._secure = False
        self.lost = False

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._secure = transport.get_extra_info("ssl_object") is not None
        self._transport.set_write_buffer_limits(_WRITE_HIGH, _WRITE_LOW)
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _READ_HIGH and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake(self._reader)

    def eof_received(self) -> bool:
        self._eof = True
        self._wake(self._reader)
        # A client that only closed its half still gets the answers to what it sent; TLS knows no such thing.
        return not self._secure

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost = self._eof = True
        self._wake(self._reader)
        self._wake(self._drainer)
        self._wake(self._closed)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake(self._drainer)

    # -- what the session calls

    @property
    def transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("not connected")
        return self._transport

    @property
    def full(self) -> bool:
        """True while the peer has not taken most of what was written."""
        return self._full and not self.lost

    @property
    def secure(self) -> bool:
        """True once a TLS handshake has begun."""
        return self._secure

    def info(self, name: str) -> Any:
        """What the transport knows under ``name`` (``peername``, ``ssl_object`` …)."""
        return self.transport.get_extra_info(name)

    async def wait(self) -> None:
        """Returns when octets came, at the end of input, or after a :meth:`nudge`."""
        if not (self._received or self._eof or self._nudged):
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._nudged = False

    def nudge(self) -> None:
        """Ends the :meth:`wait` that is under way, or the next one."""
        self._nudged = True
        self._wake(self._reader)

    def interrupt(self) -> None:
        """From now on the input is at its end, whatever the peer sends."""
        self._eof = True
        self._wake(self._reader)

    @property
    def at_end(self) -> bool:
        """True if nothing is left and nothing will come."""
        return self._eof and not self._received

    def take(self) -> bytes:
        """What came since the last call; empty if nothing did."""
        data = bytes(self._received)
        self._received.clear()
        if self._paused and not self.lost:
            self._paused = False
            self.transport.resume_reading()
        return data

    def hold(self) -> None:
        """Stops reading until TLS has started: what comes next is the handshake."""
        self.transport.pause_reading()

    def discard(self) -> int:
        """Forgets what came and was not read; returns how many octets that were."""
        count = len(self._received)
        self._received.clear()
        return count

    def write(self, data: bytes | bytearray) -> None:
        """Queues ``data``. Raises Disconnected."""
        if self.lost:
            raise Disconnected("the peer is gone")
        self.transport.write(data)

    async def drain(self) -> None:
        """Waits until the peer has taken most of what was written.

        Raises:
            Disconnected: it is gone, or has not read for ``write_timeout`` seconds.
        """
        if self._full and not self.lost:
            self._drainer = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._write_timeout):
                    await self._drainer
            except TimeoutError:
                self.abort()
                raise Disconnected("the peer does not read") from None
            finally:
                self._drainer = None
        if self.lost:
            raise Disconnected("the peer is gone")

    async def start_tls(self, context: ssl.SSLContext, within: float) -> None:
        """Turns the connection into a TLS one, as its server. Raises Disconnected if the handshake fails."""
        loop = asyncio.get_running_loop()
        self._secure = True
        try:
            transport = await loop.start_tls(
                self.transport, self, context, server_side=True, ssl_handshake_timeout=within
            )
        except (OSError, ConnectionError, EOFError) as error:  # ssl.SSLError and time-outs are OSErrors
            self.abort()
            raise Disconnected(f"TLS handshake failed: {error}") from error
        # uvloop returns a transport without TLS if the connection is lost during the handshake.
        if transport is None or self.lost or transport.get_extra_info("ssl_object") is None:
            raise Disconnected("the peer went away during the TLS handshake")
        self._transport = transport
        self._eof = False
        transport.set_write_buffer_limits(_WRITE_HIGH, _WRITE_LOW)

    async def finish(self, within: float) -> None:
        """Sends what is queued and closes; a peer that does not take it ``within`` so many seconds is cut off.

        A TLS connection is closed behind our close_notify. To wait for the peer's is not required (RFC 5246 §7.2.1,
        RFC 8446 §6.1), and a client that waits for the end of the connection does not send one.
        """
        if self._transport is None or self.lost:
            return
        sent = not self._transport.get_write_buffer_size()
        self._closed = asyncio.get_running_loop().create_future()
        if not self._transport.is_closing():  # the second close of asyncio's TLS transport of Python 3.11 breaks abort
            self._transport.close()
        if self._secure and sent:
            within = _CLOSE_NOTIFY_SECONDS
        try:
            async with asyncio.timeout(within):
                await self._closed
        except TimeoutError:
            self._transport.abort()

    def close(self) -> None:
        """Sends what is queued, then closes; for a few octets, since nobody waits for the peer to take them."""
        self.transport.close()

    def abort(self) -> None:
        """Closes at once; what is queued is lost."""
        if self._transport is not None and not self.lost:
            self._transport.abort()

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
