"""One connection from the greeting to the goodbye: reads commands, runs them in order, answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from inbox.base.errors import InboxError, StoreError
from inbox.base.limits import IMAP_LITERAL_OCTETS, IMAP_SKIPPED_OCTETS
from inbox.flow.doors import Appending, Login
from inbox.plugin.context import Identity, Session, Tls
from inbox.plugin.services import Log
from inbox.server.imap.append import destination, receive
from inbox.server.imap.capability import capabilities
from inbox.server.imap.channel import Channel, Disconnected
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.listings import Listings
from inbox.server.imap.outcome import Done, Farewell, No
from inbox.server.imap.rules import News, Rule, State
from inbox.server.imap.selected import Selected
from inbox.store.ports import Blobs, Database
from inbox.wire.imap import render
from inbox.wire.imap.commands import Append, Command
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Announced, Broken, Event, Framer, Hopeless, Octets, Request
from inbox.wire.imap.parser import parse, parse_append, tag_of

#: Octets gathered before they are written: one system call, and one turn of the loop, for many responses.
_GATHER: Final = 64 * 1024


_OUT_OF_PLACE: Final = {
    State.FRESH: "Log in first",
    State.KNOWN: "Not now: you are logged in, and no mailbox is selected",
    State.SELECTED: "Not now: you are logged in",
}


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
    """One client.

    Attributes:
        session: the connection as hooks see it.
        selected: the selected mailbox, or None.
        tag: the tag of the command that runs.
        may_start_tls: STARTTLS is offered on this listener.
        enabled: extensions that ENABLE switched on.
    """

    def __init__(
        self,
        backend: Backend,
        channel: Channel,
        session: Session,
        commands: Mapping[str, Rule],
        *,
        implicit_tls: bool,
        may_start_tls: bool,
    ) -> None:
        self.backend = backend
        self.config = backend.config
        self.channel = channel
        self.session = session
        self.selected: Selected | None = None
        self.enabled: set[str] = set()
        self.failures = 0
        self.framer = Framer(IMAP_SKIPPED_OCTETS)
        self._commands = commands
        self._implicit_tls = implicit_tls
        self.may_start_tls = may_start_tls
        self.tag = "*"
        self._out = bytearray()
        self._deadline = 0.0
        self._stopping = False

    # -- life

    async def run(self) -> None:
        """Serves the connection to its end; every error ends here."""
        log = self.backend.log
        try:
            await self._serve()
        except Farewell as farewell:
            self.send(render.status("*", "BYE", farewell.said, farewell.code))
        except Disconnected as reason:
            log.debug("imap_disconnected", session=self.session.id, reason=str(reason))
        except Exception as error:  # noqa: BLE001  the last frame of a connection: whatever it is, it is logged
            log.error("imap_session_failed", session=self.session.id, error=repr(error))  # noqa: TRY400  see Log
        finally:
            await self._end()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + self.config.login_timeout
        if self._implicit_tls:
            self._note_tls()
        greeting = f"{self.config.hostname} ready"
        self.send(render.status("*", "OK", greeting, f"CAPABILITY {capabilities(self)}"))
        async for event in self._events():
            await self._handle(event)

    async def _end(self) -> None:
        await self.deselect()
        try:
            # A peer that does not read must hold up neither the server's stop nor this session's end.
            async with asyncio.timeout(self.config.stop_timeout):
                await self.flush()
                await self.channel.finish(self.config.stop_timeout)
        except (Disconnected, TimeoutError):
            pass  # nobody is there to be told
        finally:
            self.channel.abort()

    def stop(self) -> None:
        """The server stops: the command that runs is finished, then the client is told."""
        self._stopping = True
        self.channel.interrupt()

    # -- reading

    async def _events(self) -> AsyncIterator[Event]:
        while True:
            event = self.framer.next_event()
            if event is not None:
                yield event
                continue
            await self.more()

    async def more(self) -> None:
        """Sends what is queued and waits for more octets from the client.

        Raises:
            Farewell: it took too long, or the server stops.
            Disconnected: the client is gone.
        """
        known = self.session.identity is not None
        deadline = asyncio.get_running_loop().time() + self.config.idle_timeout if known else self._deadline
        try:
            async with asyncio.timeout_at(deadline):
                while not await self.more_or_news():
                    pass
        except TimeoutError:
            raise Farewell("Too long without a command" if known else "Too long without a login") from None

    async def more_or_news(self) -> bool:
        """Like :meth:`more`, without a limit of time; False if something else than octets ended the waiting."""
        await self.flush()
        await self.channel.wait()
        data = self.channel.take()
        self.framer.feed(data)
        if not data and self.channel.at_end:
            if self._stopping:
                raise Farewell("Server is shutting down", "UNAVAILABLE")
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
        await self.channel.drain()

    async def pace(self) -> None:
        """To be called between the steps of a long answer: memory stays bounded, and others get their turn.

        Raises Disconnected: nobody is there any more for whom the work would be done.
        """
        if self.channel.lost:
            raise Disconnected("the peer is gone")
        if len(self._out) >= _GATHER:
            await self.flush()
            await asyncio.sleep(0)

    # -- commands

    async def _handle(self, event: Event) -> None:
        match event:
            case Request():
                try:
                    command = parse(event)
                except BadCommand as error:
                    self._bad(error)
                else:
                    await self.execute(command)
            case Announced():
                await self._literal(event)
            case Broken(text, reason):
                self._bad(reason.tagged(tag_of(text)))
            case Hopeless():
                raise Farewell("Literal too large", "TOOBIG")
            case Octets():
                raise RuntimeError("octets of a literal that nobody streams")

    async def _literal(self, announced: Announced) -> None:
        try:
            append = parse_append(announced)
            if append is not None:
                await self._append(append, announced.synchronizing)
                return
            kept = sum(map(len, announced.literals))
            if kept + announced.size > IMAP_LITERAL_OCTETS:
                raise BadCommand("Literal too large", word="NO", response_code="TOOBIG")
        except BadCommand as error:
            self.framer.refuse(error)
            return
        self.framer.take()
        if announced.synchronizing:
            self.go_ahead()

    async def _append(self, command: Command, synchronizing: bool) -> None:
        """Decides about the message before it comes (RFC 7889 §4), then takes it. Raises BadCommand to refuse it."""
        arguments = cast(Append, command.arguments)
        try:
            self._admit(command.name)
            mailbox = await destination(self, arguments)
        except InboxError as error:
            if isinstance(error, BadCommand):
                raise
            said = No.of(error)
            raise BadCommand(said.said, word="NO", response_code=said.code) from error
        except No as no:
            raise BadCommand(no.said, word="NO", response_code=no.code) from None
        self.framer.stream()
        if synchronizing:
            self.go_ahead()
        await self._answer(command, receive(self, arguments, mailbox))

    def go_ahead(self, said: bytes = b"Ready") -> None:
        """The continuation request (RFC 3501 §7.5)."""
        self.send(b"+ " + said + b"\r\n")

    def _bad(self, error: BadCommand) -> None:
        self.session.errors += 1
        self.send(render.status(error.tag, error.word, error.said, error.response_code))

    async def execute(self, command: Command) -> None:
        """Runs a command and queues its tagged response."""
        try:
            rule = self._admit(command.name)
        except BadCommand as error:
            self._bad(error.tagged(command.tag))
            return
        await self._answer(command, rule.run(self, command.arguments))

    def _admit(self, name: str) -> Rule:
        """The rule for a command. Raises BadCommand if it is out of place (RFC 3501 §3)."""
        rule = self._commands[name]
        if not self.state & rule.states:
            raise BadCommand(_OUT_OF_PLACE[self.state])
        return rule

    async def _answer(self, command: Command, running: Awaitable[Done]) -> None:
        tag = self.tag = command.tag
        done: Done | None = None
        try:
            done = await running
            answer = render.status(tag, "OK", done.said, done.code)
        except BadCommand as error:
            self.session.errors += 1
            answer = render.status(tag, error.word, error.said, error.response_code)
        except No as no:
            answer = render.status(tag, "NO", no.said, no.code)
        except InboxError as error:
            if error.temporary:
                self._log_failure(command, error)
            said = No.of(error)
            answer = render.status(tag, "NO", said.said, said.code)
        except (Farewell, Disconnected):
            raise
        except Exception as error:  # noqa: BLE001  a defect of ours ends one command, not the client's session
            self._log_failure(command, error)
            answer = render.status(tag, "NO", "Internal error", "SERVERBUG")
        await self._tell_news(command)
        self.send(answer)
        if done is not None and done.then is not None:
            await done.then()

    def _log_failure(self, command: Command, error: Exception) -> None:
        self.backend.log.error("imap_command_failed", session=self.session.id, command=command.name, error=repr(error))

    async def _tell_news(self, command: Command) -> None:
        """What other sessions did, as far as this command's response may say so."""
        news = self._commands[command.name].news
        if self.selected is None or news is News.NONE:
            return
        try:
            await self.selected.refresh(ask=news is News.ASK)
        except StoreError as error:
            self._log_failure(command, error)  # the command itself is done; the news will come later
        self.selected.announce(self.send, expunges=news is not News.NO_EXPUNGES)
        await self.pace()

    async def start_tls(self) -> None:
        """Turns the connection into a TLS one. Raises Disconnected if the handshake fails."""
        if self.config.tls is None:
            raise RuntimeError("no certificate")
        await self.flush()
        await self.channel.start_tls(self.config.tls, self.config.tls_timeout)
        self._note_tls()

    def _note_tls(self) -> None:
        version, cipher = self.channel.info("ssl_object").version(), self.channel.info("cipher")
        self.session.tls = Tls(version or "", cipher[0] if cipher else "")

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
    def state(self) -> State:
        if self.session.identity is None:
            return State.FRESH
        return State.KNOWN if self.selected is None else State.SELECTED

    @property
    def identity(self) -> Identity:
        """Who is logged in. Raises RuntimeError before a login: the dispatch table must not let that happen."""
        if self.session.identity is None:
            raise RuntimeError("nobody is logged in")
        return self.session.identity
