"""The lower half of an SMTP connection: octets, waiting, flow control, TLS; no commands.

What comes from aiosmtpd: the protocol class, the task that runs ``_handle_client`` for each client, and a method
``smtp_VERB`` for each command. What does not: its start-up (it inspects itself for each connection), its reader (line
by line, with a buffer of 1001 octets) and asyncio's stream protocol beneath it, its timer (it counts our own time),
its replies (one packet each, with an exception's text), and cancelling a running handler when the client goes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from math import inf
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.base.peers import peer_address, site_of
from inbox.flow.ports import Receiving
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Tls
from inbox.plugin.api.services import Log
from inbox.server.fairness import Share, Turns
from inbox.server.guard import CROWDED_SECONDS, STRANGER, Guard
from inbox.server.smtp.config import SmtpConfig
from inbox.wire.smtp.receiver import Receiver
from inbox.wire.smtp.reply import render

#: More than this waiting to be looked at, and we stop reading from the socket.
HIGH_WATER: Final = 64 * 1024
#: Replies that are gathered before they are written although more commands are there.
GATHER: Final = 64
#: Seconds for a client to fetch our last words after we closed.
LINGER_SECONDS: Final = 10.0
TLS_SHUTDOWN_SECONDS: Final = 5.0
LOOPBACK: Final = IPv4Address("127.0.0.1")
TOO_MANY: Final = Reply(421, "4.7.0", "Too many connections, try again later")


class Gone(Exception):
    """The client closed the connection, or its half of it with nothing left to answer."""


class Stalled(Exception):
    """The client kept us waiting too long."""


class Evicted(Exception):
    """Another connection takes the place of this one."""


@dataclass(frozen=True, slots=True)
class Context:
    """What all connections of one listener share."""

    config: SmtpConfig
    receiving: Receiving
    clock: Clock
    ids: Ids
    log: Log
    guard: Guard
    turns: Turns
    run_outside: Callable[[Callable[[], None]], Awaitable[None]]
    loop: asyncio.AbstractEventLoop


class SmtpLink(SMTP):
    """Octets in and out, with deadlines. The task of :meth:`_handle_client` is the only one that waits or writes."""

    def __init__(self, context: Context) -> None:
        # aiosmtpd's own __init__ is left out on purpose: 250 µs of looking at its own methods, and a table of
        # limits that all connections share and clear. So is that of asyncio's stream protocol: we take octets as they
        # come, and wait in our own way.
        self.loop = context.loop
        self.session = None
        self.envelope = None
        self.transport: asyncio.BaseTransport | None = None
        self._handler_coroutine = None
        self._context = context
        self._pipe: asyncio.Transport
        self._receiver = Receiver()
        self._out: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._fresh = self._halted = self._eof = self._lost = self._stalled = self._evicted = False
        self._closing = self._leaving = self._paused = self._over_ssl = False
        self._share: Share
        self.deadline = self.pressing = inf
        self.waiting_since = 0.0

    # What the transport tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pipe = cast("asyncio.Transport", transport)
        self.transport = transport
        context = self._context
        peer = self._peer()
        guard = context.guard
        if guard.enter_unidentified(self) if context.config.proxy_networks else guard.enter(self, peer):
            self._share = Share(context.turns, site_of(peer))
            self._handler_coroutine = self.loop.create_task(self._share.run(self._handle_client()))
            return
        context.log.warning("smtp_too_many_connections", peer=str(peer), connections=len(guard.connections))
        self._pipe.write(render(TOO_MANY))
        self._close()

    def data_received(self, data: bytes) -> None:
        self._receiver.receive_data(data)
        self._fresh = True
        # Also while somebody waits for it: uvloop reads on and on before it lets anybody run.
        if not self._halted and self._receiver.buffered > HIGH_WATER:
            self._halted = True
            self._pipe.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake()
        # Half closed: what was asked is still answered. TLS has no half-closed connections.
        return not self._over_ssl

    def connection_lost(self, _error: Exception | None) -> None:
        # A running handler is not cancelled: a message whose last octet has come is stored or refused, and never
        # left in between. The task notices when it wants to read again.
        self._lost = True
        self._wake()
        self._wake_writer()
        if self._linger is not None:
            self._linger.cancel()
        self.transport = None

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake_writer()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # What the server tells us

    def expire(self) -> None:
        """The client kept us waiting too long (:class:`inbox.server.guard.Guarded`)."""
        if self._waiter is not None:
            self._stalled = True
            self._wake()
        else:
            # It does not fetch our replies: there is no use in one more.
            self._pipe.abort()

    def evict(self) -> None:
        """Another connection takes our place (:class:`inbox.server.guard.Guarded`)."""
        self._evicted = True
        self.expire()

    @property
    def standing(self) -> int:
        """How well the connection is protected (:class:`inbox.server.guard.Guarded`)."""
        return STRANGER

    def leave(self) -> None:
        """The server stops: say good-bye as soon as no transaction is under way."""
        self._leaving = True
        self._wake()

    def abort(self) -> None:
        """The server has stopped waiting."""
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
        self._pipe.abort()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Serves the client; None if the connection was refused at once."""
        return self._handler_coroutine

    # What the upper half uses

    async def _more(self, deadline: float, since: float, pressing: float | None = None) -> None:
        """Sends what is to be sent, then waits until there is more to look at.

        Args:
            deadline: reading of the monotonic clock.
            since: when we began to wait for this command or message.
            pressing: the deadline while connections are short; None: :data:`CROWDED_SECONDS` after ``since``.

        Raises:
            Gone: nothing will come any more.
            Stalled: nothing came before the deadline.
            Evicted: another connection takes our place.
        """
        self._fresh = False
        if self._out:
            await self._flush()
            if self._fresh:
                return
        if self._lost or self._eof:
            raise Gone
        if self._halted:
            self._halted = False
            if not self._pipe.is_closing():
                self._pipe.resume_reading()
        self.deadline, self.waiting_since = deadline, since
        self.pressing = since + CROWDED_SECONDS if pressing is None else pressing
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self.deadline, self._waiter = inf, None
        if self._evicted:
            raise Evicted
        if self._stalled:
            self._stalled = False
            raise Stalled

    async def _flush(self) -> None:
        """Sends all gathered replies in one write; waits while the client does not fetch them.

        Raises:
            Gone: the connection is lost.
        """
        octets = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        if self._lost:
            raise Gone
        self._pipe.write(octets)
        if self._paused:
            self.waiting_since = self._context.clock.monotonic()
            self.deadline = self.waiting_since + self._context.config.write_seconds
            self.pressing = self.waiting_since + CROWDED_SECONDS
            self._drained = self.loop.create_future()
            try:
                await self._drained
            finally:
                self.deadline, self._drained = inf, None
            if self._lost:
                raise Gone

    async def _start_tls(self, context: ssl.SSLContext) -> Tls:
        """Sends what is to be sent, then waits for the client's handshake.

        Raises:
            Gone: it failed; the connection cannot go on.
        """
        await self._share.turn()
        # RFC 3207 §4.2: what came before the handshake was said by anybody. No waiting between the write and the
        # hand-over of the transport: the client's hello would be read here, and dropped.
        self._receiver.drop_buffered()
        self._pipe.write(b"".join(self._out))
        self._out.clear()
        self.waiting_since = self._context.clock.monotonic()
        self.deadline = self.waiting_since + self._context.config.tls_handshake_seconds
        self.pressing = self.waiting_since + CROWDED_SECONDS
        try:
            pipe = await self.loop.start_tls(
                self._pipe,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._context.config.tls_handshake_seconds,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
        except OSError as error:  # TLS errors, time-out and lost connections are all OSErrors
            self._context.log.info("smtp_tls_failed", peer=str(self._peer()), error=str(error))
            raise Gone from error
        finally:
            self.deadline = inf
        # uvloop returns a transport without TLS if the connection is lost during the handshake.
        if pipe is None or self._lost or pipe.get_extra_info("ssl_object") is None:
            raise Gone
        self._pipe = self.transport = pipe
        self._over_ssl = True
        self._paused = self._halted = False
        tls: Any = pipe.get_extra_info("ssl_object")
        return Tls(tls.version(), tls.cipher()[0])

    def _peer(self) -> IPv4Address | IPv6Address:
        """The address at the other end of the socket; a Unix socket has none: its clients are on this machine."""
        name = self._pipe.get_extra_info("peername")
        return peer_address(name[0]) if isinstance(name, tuple) else LOOPBACK

    def _close(self) -> None:
        """Sends what is to be sent and closes; a client that does not fetch it is cut off after a while."""
        if self._lost:
            return
        if self._out:
            self._pipe.write(b"".join(self._out))
            self._out.clear()
        self._pipe.close()
        if self._pipe.get_write_buffer_size():
            self._linger = self.loop.call_later(LINGER_SECONDS, self._pipe.abort)
