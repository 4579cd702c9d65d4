"""The octets of one connection, for every server: plain or TLS, flow control both ways, waiting with deadlines.

A session reads with :meth:`Channel.wait` and :meth:`Channel.take`, and writes with :meth:`Channel.write` and
:meth:`Channel.drain`. Input is read only as fast as the session uses it, and output is
written only as fast as the peer reads it. While a channel waits for its peer it has a deadline, which the limits of its
server enforce (:class:`inbox.server.limits.Limited`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address
from math import inf
from typing import Any, Final, cast

from inbox.base.clock import Clock
from inbox.base.peers import peer_address
from inbox.plugin.api.context import Tls
from inbox.server.limits import CROWDED_SECONDS, STRANGER

#: Octets that the session has not taken, above which reading from the peer pauses.
READ_HIGH: Final = 64 * 1024
#: A deadline that only marks the channel as waiting: its session has its own time-out.
WAITING: Final = 1e300
#: Seconds for a peer to take the last octets after :meth:`Channel.close`.
_LINGER_SECONDS: Final = 10.0
#: Seconds for a peer to answer our close_notify when a TLS connection is closed in an orderly way.
_TLS_SHUTDOWN_SECONDS: Final = 5.0
#: The same in :meth:`Channel.finish`, once the peer has taken everything else.
_CLOSE_NOTIFY_SECONDS: Final = 0.05
#: The peer of a connection that was lost before its address could be read; nothing is bound to this address.
_UNKNOWN: Final = IPv4Address("0.0.0.0")  # noqa: S104


class Disconnected(Exception):
    """The peer has disconnected, or the connection was aborted."""


class TimedOut(Exception):
    """The peer did not send anything before the deadline."""


class Evicted(Exception):
    """Another connection takes the place of this one."""


class _End(Enum):
    TIMED_OUT = auto()
    EVICTED = auto()


class Channel(asyncio.Protocol):
    """A TCP connection that can be upgraded to TLS.

    Args:
        connected: called once, when the connection is established.
        clock: for the deadlines of writes and handshakes.
        write_seconds: time limit of :meth:`drain` for a peer that does not read.
        write_octets: unsent octets above which :meth:`drain` waits, until a quarter of them is left; 0: the
            event loop's defaults.
        secure: the connection begins with a TLS handshake.

    Attributes:
        lost: the connection is over, in both directions.
        standing: how well the connection is protected from eviction.
        deadline, pressing, waiting_since: see :class:`inbox.server.limits.Limited`.
    """

    def __init__(
        self,
        connected: Callable[[Channel], None],
        clock: Clock,
        write_seconds: float,
        write_octets: int = 0,
        *,
        secure: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connected = connected
        self._clock = clock
        self._write_seconds = write_seconds
        self._write_octets = write_octets
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._end: _End | None = None
        self._halted = False  # reading is paused
        self._full = False  # the peer has not taken most of what was written
        self._nudged = False
        self._eof = False
        self._secure = secure
        self.lost = False
        self.standing = STRANGER
        self.deadline = self.pressing = inf
        self.waiting_since = 0.0

    # -- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._write_octets:
            self._limit_writes()
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        # Also while a session waits for input: uvloop keeps reading before it lets any task run.
        if len(self._received) > READ_HIGH and not self._halted:
            self._halted = True
            self.transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        self._eof = True
        _wake(self._reader)
        # A client that closed only its half still gets the replies to its commands. TLS has no half-closed connections.
        return not self._secure

    def connection_lost(self, _error: Exception | None) -> None:
        # A session that is working continues, and notices the loss when it reads or writes again. A message that was
        # received completely is stored or refused, and never left in between.
        self.lost = self._eof = True
        _wake(self._reader)
        _wake(self._writer)
        _wake(self._closed)
        if self._linger is not None:
            self._linger.cancel()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        _wake(self._writer)

    # -- called by the limits (inbox.server.limits.Limited)

    def expire(self) -> None:
        self._give_up(_End.TIMED_OUT)

    def evict(self) -> None:
        self._give_up(_End.EVICTED)

    def _give_up(self, end: _End) -> None:
        self._end = end
        if self._reader is not None:
            _wake(self._reader)
        else:
            self.abort()  # the peer does not read, or does not finish its handshake: no more octets would reach it

    # -- the connection

    @property
    def transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("not connected")
        return self._transport

    @property
    def peer(self) -> tuple[IPv4Address | IPv6Address, int]:
        """Address and port of the peer; an IPv4 client of an IPv6 socket has its IPv4 address."""
        name = self.info("peername")
        return (peer_address(name[0]), name[1]) if name else (_UNKNOWN, 0)

    def info(self, name: str) -> Any:
        """The transport's extra information ``name`` (``sockname``, ``ssl_object`` …)."""
        return self.transport.get_extra_info(name)

    # -- reading

    async def wait(self, deadline: float, pressing: float, since: float) -> None:
        """Returns when octets arrived, at the end of input, or after a :meth:`nudge`.

        Args:
            deadline, pressing, since: see :class:`inbox.server.limits.Limited`.

        Raises:
            TimedOut: the deadline has passed. The session may still write.
            Evicted: another connection takes the place of this one.
        """
        if not (self._received or self._eof or self._nudged):
            self.deadline, self.pressing, self.waiting_since = deadline, pressing, since
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self.deadline, self._reader = inf, None
            if self._end is not None:
                self._raise_end()
        self._nudged = False

    async def pause(self, seconds: float) -> None:
        """Waits without reading; the connection may be evicted meanwhile. Raises Evicted."""
        self.waiting_since = self._clock.monotonic()
        self.deadline, self.pressing = WAITING, inf
        try:
            await asyncio.sleep(seconds)
        finally:
            self.deadline = inf
        if self._end is not None:
            self._raise_end()

    def _raise_end(self) -> None:
        end, self._end = self._end, None
        raise TimedOut if end is _End.TIMED_OUT else Evicted

    @property
    def buffered(self) -> int:
        """The number of octets that were received and not taken."""
        return len(self._received)

    @property
    def at_end(self) -> bool:
        """True if no input is left and none will arrive."""
        return self._eof and not self._received

    def take(self) -> bytes:
        """Returns the octets received since the last call; empty if there are none."""
        data, self._received = self._received, b""
        if self._halted and not self.lost:
            self._halted = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
        return data

    def untake(self, data: bytes) -> None:
        """Gives back the end of what :meth:`take` returned."""
        self._received = data + self._received

    def nudge(self) -> None:
        """Ends the current :meth:`wait`, or the next one."""
        self._nudged = True
        _wake(self._reader)

    def interrupt(self) -> None:
        """Ends the input here, whatever else the peer sends."""
        self._eof = True
        _wake(self._reader)

    # -- writing

    @property
    def full(self) -> bool:
        """True while the peer has not taken most of what was written."""
        return self._full and not self.lost

    def write(self, data: bytes | bytearray) -> None:
        """Queues ``data``. Raises Disconnected."""
        if self.lost:
            raise Disconnected("the peer has disconnected")
        self.transport.write(data)

    async def drain(self) -> None:
        """Waits until the peer has taken most of what was written.

        Raises:
            Disconnected: the peer has disconnected, or did not read for ``write_seconds``.
        """
        if self._full and not self.lost:
            self._hurry(self._write_seconds)
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self.deadline, self._writer = inf, None
            if self._end is not None:
                raise Disconnected("the peer does not read")
        if self.lost:
            raise Disconnected("the peer has disconnected")

    def _hurry(self, seconds: float) -> None:
        """Gives the peer this many seconds from now, fewer while connections are short."""
        self.waiting_since = self._clock.monotonic()
        self.deadline, self.pressing = self.waiting_since + seconds, self.waiting_since + CROWDED_SECONDS

    def _limit_writes(self) -> None:
        self.transport.set_write_buffer_limits(self._write_octets, self._write_octets // 4)

    # -- TLS

    def hold(self) -> None:
        """Stops reading until TLS has started: the next octets belong to the handshake."""
        self.transport.pause_reading()

    def tls(self) -> Tls:
        """Version and cipher of the TLS session."""
        session = self.info("ssl_object")
        cipher = session.cipher()
        return Tls(session.version() or "", cipher[0] if cipher else "")

    async def start_tls(self, context: ssl.SSLContext, seconds: float, go_ahead: bytes = b"") -> None:
        """Sends ``go_ahead`` and upgrades the connection to TLS, as its server.

        Input received before the handshake is discarded: anyone could have injected it (RFC 3207 §4.2, RFC 3501
        §6.2.1).

        Raises:
            Disconnected: the handshake failed; the connection cannot be used any more.
        """
        # No await between the write and the hand-over of the transport: the client's hello would be read and lost.
        self._received = b""
        if go_ahead:
            self.write(go_ahead)
        self._secure = True
        self._hurry(seconds)
        try:
            transport = await self._loop.start_tls(
                self.transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
            )
        except (OSError, EOFError) as error:  # TLS errors, time-outs and lost connections are all OSErrors
            self.abort()
            raise Disconnected(f"TLS handshake failed: {error}") from error
        finally:
            self.deadline = inf
        # uvloop returns a transport without TLS if the connection is lost during the handshake.
        if transport is None or self.lost or transport.get_extra_info("ssl_object") is None:
            raise Disconnected("the peer disconnected during the TLS handshake")
        self._transport = transport
        self._eof = self._full = self._halted = False
        if self._write_octets:
            self._limit_writes()

    # -- the end

    def close(self) -> None:
        """Sends queued output and closes; a peer that does not read it is disconnected after a while."""
        if self.lost:
            return
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._linger = self._loop.call_later(_LINGER_SECONDS, self.transport.abort)

    async def finish(self, seconds: float) -> None:
        """Sends queued output and closes; returns when the connection is over. A peer that does not read it within
        ``seconds`` is disconnected.

        A TLS connection is closed after our close_notify. Waiting for the peer's is not required (RFC 5246 §7.2.1,
        RFC 8446 §6.1), and a client that waits for the end of the connection does not send one.
        """
        if self._transport is None or self.lost:
            return
        sent = not self._transport.get_write_buffer_size()
        self._closed = self._loop.create_future()
        if not self._transport.is_closing():  # in Python 3.11, closing asyncio's TLS transport twice breaks abort
            self._transport.close()
        if self._secure and sent:
            seconds = _CLOSE_NOTIFY_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await self._closed
        except TimeoutError:
            self._transport.abort()

    def abort(self) -> None:
        """Closes at once; queued output is lost."""
        if self._transport is not None and not self.lost:
            self._transport.abort()


def channels(
    clock: Clock, write_seconds: float, write_octets: int = 0
) -> Callable[[Callable[[Channel], None], bool], Channel]:
    """Returns a function that makes channels, for :class:`inbox.server.acceptor.Acceptor`."""

    def make(connected: Callable[[Channel], None], secure: bool) -> Channel:
        return Channel(connected, clock, write_seconds, write_octets, secure=secure)

    return make


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
