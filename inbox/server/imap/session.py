"""State of one connection for its commands: input, queued output, user, selected mailbox."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import inf
from typing import Final

from inbox.base.clock import Clock
from inbox.base.limits import (
    IMAP_EARLY_SKIPPED_OCTETS,
    IMAP_FRESH_LINE_OCTETS,
    IMAP_LINE_OCTETS,
    IMAP_SKIPPED_OCTETS,
)
from inbox.flow.mailboxes import MailboxMessages, MailboxNames
from inbox.flow.ports import Login
from inbox.plugin.api.context import Identity, Session
from inbox.plugin.api.services import Log
from inbox.server.fairness import Share
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.outcome import EndConnection
from inbox.server.imap.selected import Selected
from inbox.server.limits import CROWDED_SECONDS, LOGGED_IN, ErrorBudget
from inbox.server.transport import WAITING, Channel, Disconnected, Evicted, TimedOut
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Broken, Framer, LiteralStart, LiteralTooLarge, Octets, Request

#: Octets queued before they are written: one system call, and one turn of the loop, for many responses.
_GATHER: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Backend:
    """Objects that all sessions of one server share."""

    config: ImapConfig
    names: MailboxNames
    messages: MailboxMessages
    login: Login
    log: Log


class ImapSession:
    """One client. ``conversation`` reads its commands and passes this session to each of them.

    Create it while the event loop runs: the login timeout starts here.

    Attributes:
        session: the connection in the form that hooks receive.
        selected: the selected mailbox, or None.
        tag: the tag of the running command.
        may_start_tls: this listener offers STARTTLS.
        enabled: extensions that ENABLE switched on.
        identified: the client has sent ID.
    """

    def __init__(
        self,
        backend: Backend,
        channel: Channel,
        session: Session,
        share: Share,
        clock: Clock,
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
        self.budget = ErrorBudget(backend.config.max_errors, backend.config.max_early_commands, "Log in first")
        self._clock = clock
        self._command_since: float | None = None
        self.may_start_tls = may_start_tls
        self.tag = "*"
        self._out = bytearray()
        self._login_until = asyncio.get_running_loop().time() + self.config.login_timeout
        self._ends: EndConnection | None = None

    # -- the end

    def stop(self) -> None:
        """Finishes the running command, then sends BYE: the server stops."""
        self.end(EndConnection("Server is shutting down", "UNAVAILABLE"))

    def end(self, ending: EndConnection) -> None:
        """Finishes the running command, then sends BYE with the reason and closes the connection."""
        self._ends = ending
        self.channel.interrupt()

    # -- reading

    async def more(self) -> None:
        """Sends queued output and waits for more octets from the client.

        Raises:
            EndConnection: a timeout expired, or the server stops.
            Disconnected: the client is gone.
        """
        authenticated = self.session.identity is not None
        self._command_since = self._clock.monotonic() if self._command_since is None else self._command_since
        deadline = asyncio.get_running_loop().time() + self.config.idle_timeout if authenticated else self._login_until
        try:
            async with asyncio.timeout_at(deadline):
                while not await self.more_or_news():
                    pass
        except TimeoutError:
            raise EndConnection("Disconnected for inactivity" if authenticated else "Login timed out") from None

    def command_read(self) -> None:
        """Restarts the timeout: a whole command, or a piece of a streamed literal, has arrived."""
        self._command_since = None

    async def more_or_news(self) -> bool:
        """Like :meth:`more`, without a timeout; False if something other than input ended the wait."""
        await self.flush()
        since = self._clock.monotonic() if self._command_since is None else self._command_since
        pressing = inf if self.session.identity is not None else since + CROWDED_SECONDS
        try:
            # A session's timeouts are timers; the channel only has a deadline if the connection may be evicted.
            await self.channel.wait(WAITING, pressing, since)
        except Evicted:
            self.backend.log.info("imap_evicted", peer=str(self.session.peer))
            raise EndConnection("Too many connections, try again later", "UNAVAILABLE") from None
        except TimedOut:
            raise EndConnection("Disconnected for inactivity") from None
        data = self.channel.take()
        self.framer.feed(data)
        if not data and self.channel.at_end:
            if self._ends is not None:
                raise self._ends
            raise Disconnected("end of input")
        return bool(data)

    async def line(self, limit: int) -> bytes:
        """A line outside of commands, after a continuation request. Raises BadCommand if it is too long."""
        while True:
            line = self.framer.next_line(limit)
            if line is not None:
                return line
            await self.more()

    async def octets(self) -> Octets:
        """The next piece of a streamed literal."""
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
        """The rest of the command, after the streamed literal."""
        while True:
            event = self.framer.next_event()
            match event:
                case Request() | Broken():
                    return event
                case LiteralStart():
                    self.framer.refuse(BadCommand("Unexpected literal"))
                case LiteralTooLarge():
                    raise EndConnection("Literal too large", "TOOBIG")
                case _:
                    await self.more()

    # -- writing

    def send(self, data: bytes) -> None:
        """Queues a response."""
        self._out += data

    async def flush(self) -> None:
        """Writes queued output to the connection and waits while its buffer is full. Raises Disconnected."""
        if self._out:
            data, self._out = self._out, bytearray()
            self.channel.write(data)
        await self.channel.drain()

    async def pace(self) -> None:
        """Call this between the steps of a long response: it bounds memory, and gives other sessions their turn.

        Raises Disconnected: the client is gone and needs no response.
        """
        if self.channel.lost:
            raise Disconnected("the peer is gone")
        if len(self._out) >= _GATHER:
            await self.flush()
        await self.share.pause()

    def go_ahead(self, text: bytes = b"Ready") -> None:
        """Queues a continuation request (RFC 3501 §7.5)."""
        self.send(b"+ " + text + b"\r\n")

    # -- state

    async def start_tls(self) -> None:
        """Starts TLS on the connection. Raises Disconnected if the handshake fails."""
        if self.config.tls is None:
            raise RuntimeError("no certificate")
        await self.flush()
        await self.share.turn()
        await self.channel.start_tls(self.config.tls, self.config.tls_timeout)
        self.note_tls()

    def note_tls(self) -> None:
        """Notes that TLS is active."""
        self.session.tls = self.channel.tls()

    def logged_in(self, identity: Identity) -> None:
        """Notes that the client is authenticated as ``identity``, and may now send more and longer commands."""
        self.session.identity = identity
        self.channel.standing = LOGGED_IN
        self.framer.line_limit = IMAP_LINE_OCTETS
        self.framer.skip_limit = IMAP_SKIPPED_OCTETS
        self.budget = ErrorBudget(self.config.max_errors, 0, "")

    def changed(self, mailbox: str) -> None:
        """Notes that a command of this session changed a mailbox (id): if it is selected, the changes are sent at
        once."""
        if self.selected is not None and self.selected.access.mailbox.id == mailbox:
            self.selected.suspect()

    async def deselect(self) -> None:
        """Closes the selected mailbox, if any."""
        if self.selected is not None:
            selected, self.selected = self.selected, None
            await selected.close()

    @property
    def identity(self) -> Identity:
        """The user. Raises RuntimeError before login: the command table must prevent that."""
        if self.session.identity is None:
            raise RuntimeError("the client is not authenticated")
        return self.session.identity
