"""A connection as its commands see it: what was read, what is to be sent, what is selected."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import inf
from typing import Final

from inbox.base.limits import (
    IMAP_EARLY_SKIPPED_OCTETS,
    IMAP_FRESH_LINE_OCTETS,
    IMAP_LINE_OCTETS,
    IMAP_SKIPPED_OCTETS,
)
from inbox.flow.ports import Appending, Login
from inbox.plugin.api.context import Identity, Session, Tls
from inbox.plugin.api.services import Log
from inbox.server.fairness import Patience, Share
from inbox.server.guard import CROWDED_SECONDS, LOGGED_IN, STRANGER, Guard
from inbox.server.imap.channel import Channel, Disconnected
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.listings import Listings
from inbox.server.imap.outcome import Farewell
from inbox.server.imap.selected import Selected
from inbox.store.ports import Blobs, Database
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Announced, Broken, Framer, Hopeless, Octets, Request

#: Octets gathered before they are written: one system call, and one turn of the loop, for many responses.
_GATHER: Final = 64 * 1024
#: A deadline that never comes: the time-outs of this class are timers, and the guard only needs to know that the
#: session waits.
_WAITING: Final = 1e300


@dataclass(frozen=True, slots=True)
class Backend:
    """What all sessions of one server share."""

    config: ImapConfig
    database: Database
    listings: Listings
    blobs: Blobs
    login: Login
    appending: Appending
    log: Log


class ImapSession:
    """One client. Knows no command: ``conversation`` reads them, and each is given this session.

    To be made while the event loop runs: the time to log in begins here.

    Attributes:
        session: the connection as hooks see it.
        selected: the selected mailbox, or None.
        tag: the tag of the command that runs.
        may_start_tls: STARTTLS is offered on this listener.
        enabled: extensions that ENABLE switched on.
        identified: the client has sent ID.
    """

    def __init__(
        self,
        backend: Backend,
        channel: Channel,
        session: Session,
        share: Share,
        guard: Guard,
        *,
        may_start_tls: bool,
    ) -> None:
        self.backend = backend
        self.config = backend.config
        self.channel = channel
        self.session = session
        self.selected: Selected | None = None
        self.enabled: set[str] = set()
        self.failures = 0
        self.identified = False
        self.framer = Framer(IMAP_EARLY_SKIPPED_OCTETS, IMAP_FRESH_LINE_OCTETS)
        self.share = share
        self.patience = Patience(backend.config.max_errors, backend.config.max_early_commands, "Log in first")
        self.deadline = self.pressing = inf
        self.waiting_since = 0.0
        self._guard = guard
        self._command_since: float | None = None
        self.may_start_tls = may_start_tls
        self.tag = "*"
        self._out = bytearray()
        self._login_until = asyncio.get_running_loop().time() + self.config.login_timeout
        self._ends: Farewell | None = None
        self._expired = self._evicted = False

    # -- what the guard asks (inbox.server.guard.Guarded)

    @property
    def standing(self) -> int:
        return STRANGER if self.session.identity is None else LOGGED_IN

    def expire(self) -> None:
        self._expired = True
        self._cut()

    def evict(self) -> None:
        self._evicted = True
        self._cut()

    def _cut(self) -> None:
        in_handshake = self.channel.secure and self.session.tls is None
        if self.channel.full or in_handshake:
            self.channel.abort()  # a response would not reach it
        else:
            self.channel.interrupt()

    def stop(self) -> None:
        """The server stops: the command that runs is finished, then the client is told."""
        self.end(Farewell("Server is shutting down", "UNAVAILABLE"))

    def end(self, farewell: Farewell) -> None:
        """The command that runs is finished, then the client is told why the connection ends."""
        self._ends = farewell
        self.channel.interrupt()

    # -- reading

    async def more(self) -> None:
        """Sends what is queued and waits for more octets from the client.

        Raises:
            Farewell: it took too long, or the server stops.
            Disconnected: the client is gone.
        """
        known = self.session.identity is not None
        clock = self._guard.clock
        self._command_since = clock.monotonic() if self._command_since is None else self._command_since
        self.waiting_since = self._command_since
        self.pressing = inf if known else self._command_since + CROWDED_SECONDS
        deadline = asyncio.get_running_loop().time() + self.config.idle_timeout if known else self._login_until
        try:
            async with asyncio.timeout_at(deadline):
                while not await self.more_or_news():
                    pass
        except TimeoutError:
            raise Farewell("Too long without a command" if known else "Too long without a login") from None

    def command_read(self) -> None:
        """A whole command, or a piece of a streamed literal, has come: the next one has its own time."""
        self._command_since = None

    async def more_or_news(self) -> bool:
        """Like :meth:`more`, without a limit of time; False if something else than octets ended the waiting."""
        await self.flush()
        # Finite: the client is waited for, and may be evicted.
        self.deadline = _WAITING
        try:
            await self.channel.wait()
        finally:
            self.deadline = inf
        data = self.channel.take()
        self.framer.feed(data)
        if not data and self.channel.at_end:
            if self._evicted:
                self.backend.log.info("imap_evicted", peer=str(self.session.peer))
                raise Farewell("Too many connections, try again later", "UNAVAILABLE")
            if self._expired:
                raise Farewell("Too long without a command")
            if self._ends is not None:
                raise self._ends
            raise Disconnected("end of input")
        return bool(data)

    async def line(self, limit: int) -> bytes:
        """A line outside of commands: what follows a continuation request. Raises BadCommand if it is too long."""
        while True:
            line = self.framer.next_line(limit)
            if line is not None:
                return line
            await self.more()

    async def octets(self) -> Octets:
        """The next piece of a literal that is streamed."""
        while True:
            event = self.framer.next_event()
            if isinstance(event, Octets):
                self.command_read()
                await self.share.pause()
                return event
            if event is not None:
                raise RuntimeError(f"{type(event).__name__} inside of a literal")
            await self.more()

    async def rest_of_command(self) -> Request | Broken:
        """What follows the streamed literal."""
        while True:
            event = self.framer.next_event()
            match event:
                case Request() | Broken():
                    return event
                case Announced():
                    self.framer.refuse(BadCommand("Only one literal expected here"))
                case Hopeless():
                    raise Farewell("Literal too large", "TOOBIG")
                case _:
                    await self.more()

    # -- writing

    def send(self, data: bytes) -> None:
        """Queues a response."""
        self._out += data

    async def flush(self) -> None:
        """Hands what is queued to the connection and waits while that is full. Raises Disconnected."""
        if self._out:
            data, self._out = self._out, bytearray()
            self.channel.write(data)
        if not self.channel.full:
            await self.channel.drain()
            return
        since, pressing = self.waiting_since, self.pressing
        self.deadline, self.waiting_since = _WAITING, self._guard.clock.monotonic()
        self.pressing = self.waiting_since + CROWDED_SECONDS
        try:
            await self.channel.drain()
        finally:
            self.deadline, self.waiting_since, self.pressing = inf, since, pressing

    async def pace(self) -> None:
        """To be called between the steps of a long answer: memory stays bounded, and others get their turn.

        Raises Disconnected: nobody is there any more for whom the work would be done.
        """
        if self.channel.lost:
            raise Disconnected("the peer is gone")
        if len(self._out) >= _GATHER:
            await self.flush()
        await self.share.pause()

    def go_ahead(self, said: bytes = b"Ready") -> None:
        """The continuation request (RFC 3501 §7.5)."""
        self.send(b"+ " + said + b"\r\n")

    # -- state

    async def start_tls(self) -> None:
        """Turns the connection into a TLS one. Raises Disconnected if the handshake fails."""
        if self.config.tls is None:
            raise RuntimeError("no certificate")
        await self.flush()
        await self.share.turn()
        self.deadline, self.waiting_since = _WAITING, self._guard.clock.monotonic()
        self.pressing = self.waiting_since + CROWDED_SECONDS
        try:
            await self.channel.start_tls(self.config.tls, self.config.tls_timeout)
        finally:
            self.deadline = inf
        self.note_tls()

    def note_tls(self) -> None:
        """TLS is active from now on."""
        version, cipher = self.channel.info("ssl_object").version(), self.channel.info("cipher")
        self.session.tls = Tls(version or "", cipher[0] if cipher else "")

    def logged_in(self, identity: Identity) -> None:
        """The client is ``identity`` from now on, and may send more and longer commands."""
        self.session.identity = identity
        self.framer.line_limit = IMAP_LINE_OCTETS
        self.framer.skip_limit = IMAP_SKIPPED_OCTETS
        self.patience = Patience(self.config.max_errors, 0, "")
        self.pressing = inf  # it may go on to IDLE without another look at the time

    def changed(self, mailbox: str) -> None:
        """A command of this session changed that mailbox (id): if it is the selected one, the news are told at once."""
        if self.selected is not None and self.selected.view.mailbox.id == mailbox:
            self.selected.suspect()

    async def deselect(self) -> None:
        """No mailbox is selected any more."""
        if self.selected is not None:
            selected, self.selected = self.selected, None
            await selected.close()

    @property
    def identity(self) -> Identity:
        """Who is logged in. Raises RuntimeError before a login: the dispatch table must not let that happen."""
        if self.session.identity is None:
            raise RuntimeError("nobody is logged in")
        return self.session.identity
