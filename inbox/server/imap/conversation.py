"""Command loop of one connection, from the greeting to BYE: reads commands, runs them in order, sends responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import cast

from inbox.base.errors import InboxError, StoreError
from inbox.base.limits import IMAP_EARLY_LITERAL_OCTETS, IMAP_EARLY_LITERALS, IMAP_LITERAL_OCTETS, IMAP_LITERALS
from inbox.server.imap.append import destination, receive
from inbox.server.imap.capability import capabilities
from inbox.server.imap.outcome import Done, EndConnection, No
from inbox.server.imap.rules import News, Rule, State
from inbox.server.imap.session import ImapSession
from inbox.server.transport import Disconnected
from inbox.wire.imap import render
from inbox.wire.imap.commands import Append, Command
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Broken, Event, LiteralStart, LiteralTooLarge, Octets, Request
from inbox.wire.imap.parser import parse, parse_append, tag_of


class Conversation:
    """The exchange of commands and responses on one connection.

    Args:
        session: the connection.
        commands: the rule of each command: its legal states and its handler.
        implicit_tls: TLS is active before the greeting.
    """

    def __init__(self, session: ImapSession, commands: Mapping[str, Rule], *, implicit_tls: bool) -> None:
        self._s = session
        self._commands = commands
        self._implicit_tls = implicit_tls

    # -- life

    async def run(self) -> None:
        """Serves the connection to its end; every error ends here."""
        log = self._s.backend.log
        try:
            await self._serve()
        except EndConnection as ending:
            self._s.send(render.status("*", "BYE", ending.text, ending.code))
        except Disconnected as reason:
            log.debug("imap_disconnected", session=self._s.session.id, reason=str(reason))
        except Exception as error:  # noqa: BLE001  the last frame of a connection: every error is logged
            log.error("imap_session_failed", session=self._s.session.id, error=repr(error))  # noqa: TRY400  see Log
        finally:
            await self._end()

    async def _serve(self) -> None:
        if self._implicit_tls:
            self._s.note_tls()
        greeting = f"{self._s.config.hostname} ready"
        self._s.send(render.status("*", "OK", greeting, f"CAPABILITY {capabilities(self._s)}"))
        async for event in self._events():
            await self._handle(event)
            if self._s.budget.closing_reason:
                raise EndConnection(self._s.budget.closing_reason)

    async def _end(self) -> None:
        await self._s.deselect()
        try:
            # A peer that does not read must hold up neither the server's stop nor this session's end.
            async with asyncio.timeout(self._s.config.stop_timeout):
                await self._s.flush()
                await self._s.channel.finish(self._s.config.stop_timeout)
        except (Disconnected, TimeoutError):
            pass  # the client is gone
        finally:
            self._s.channel.abort()

    async def _events(self) -> AsyncIterator[Event]:
        while True:
            await self._s.share.pause()
            event = self._s.framer.next_event()
            if event is not None:
                self._s.command_read()
                yield event
                continue
            await self._s.more()

    # -- commands

    async def _handle(self, event: Event) -> None:
        match event:
            case Request():
                try:
                    command = parse(event)
                except BadCommand as error:
                    self._bad(error)
                else:
                    await self._execute(command)
            case LiteralStart():
                await self._literal(event)
            case Broken(text, reason):
                self._bad(reason.tagged(tag_of(text)))
            case LiteralTooLarge():
                raise EndConnection("Literal too large", "TOOBIG")
            case Octets():
                raise RuntimeError("octets of a literal that is not streamed")

    async def _literal(self, announced: LiteralStart) -> None:
        try:
            append = parse_append(announced)
            if append is not None:
                await self._append(append, announced.synchronizing)
                return
            early = self._state is State.NOT_AUTHENTICATED
            if len(announced.literals) >= (IMAP_EARLY_LITERALS if early else IMAP_LITERALS):
                raise BadCommand("Too many literals")
            kept = sum(map(len, announced.literals))
            if kept + announced.size > (IMAP_EARLY_LITERAL_OCTETS if early else IMAP_LITERAL_OCTETS):
                raise BadCommand("Literal too large", word="NO", response_code="TOOBIG")
        except BadCommand as error:
            self._s.framer.refuse(error)
            return
        self._s.framer.take()
        if announced.synchronizing:
            self._s.go_ahead()

    async def _append(self, command: Command, synchronizing: bool) -> None:
        """Accepts or refuses the message before it is sent (RFC 7889 §4), then receives it. Raises BadCommand to refuse
        it."""
        arguments = cast(Append, command.arguments)
        try:
            self._admit(command.name)
            mailbox = await destination(self._s, arguments)
        except InboxError as error:
            if isinstance(error, BadCommand):
                raise
            refusal = No.of(error)
            raise BadCommand(refusal.text, word="NO", response_code=refusal.code) from error
        except No as no:
            raise BadCommand(no.text, word="NO", response_code=no.code) from None
        self._s.framer.stream()
        if synchronizing:
            self._s.go_ahead()
        await self._answer(command, receive(self._s, arguments, mailbox))

    def _bad(self, error: BadCommand) -> None:
        self._count_error(error.word)
        self._s.send(render.status(error.tag, error.word, error.text, error.response_code))

    async def _execute(self, command: Command) -> None:
        """Runs a command and queues its tagged response."""
        try:
            rule = self._admit(command.name)
        except BadCommand as error:
            self._bad(error.tagged(command.tag))
            return
        await self._answer(command, rule.run(self._s, command.arguments))

    def _admit(self, name: str) -> Rule:
        """The rule for a command. Raises BadCommand if the state does not allow it (RFC 3501 §3)."""
        rule = self._commands[name]
        if not self._state & rule.states:
            raise BadCommand(_refusal(rule, self._state))
        return rule

    async def _answer(self, command: Command, running: Awaitable[Done]) -> None:
        tag = self._s.tag = command.tag
        done: Done | None = None
        try:
            if self._state is State.NOT_AUTHENTICATED:
                self._s.budget.idle()
            done = await running
            if self._state is not State.NOT_AUTHENTICATED:
                self._s.budget.restore()
            answer = render.status(tag, "OK", done.text, done.code)
        except BadCommand as error:
            self._count_error(error.word)
            answer = render.status(tag, error.word, error.text, error.response_code)
        except No as no:
            self._count_error("NO")
            answer = render.status(tag, "NO", no.text, no.code)
        except InboxError as error:
            if error.temporary:
                self._log_failure(command, error)
            refusal = No.of(error)
            answer = render.status(tag, "NO", refusal.text, refusal.code)
        except (EndConnection, Disconnected):
            raise
        except Exception as error:  # noqa: BLE001  a bug ends one command, not the client's session
            self._log_failure(command, error)
            answer = render.status(tag, "NO", "Internal error", "SERVERBUG")
        await self._send_news(command)
        self._s.send(answer)
        if done is not None and done.then is not None:
            await done.then()

    def _count_error(self, word: str) -> None:
        # NO is an ordinary response for a user (a mailbox is full or gone), but an error for an unauthenticated client.
        if word == "BAD" or self._state is State.NOT_AUTHENTICATED:
            self._s.session.errors += 1
            self._s.budget.error()

    def _log_failure(self, command: Command, error: Exception) -> None:
        self._s.backend.log.error(
            "imap_command_failed", session=self._s.session.id, command=command.name, error=repr(error)
        )

    async def _send_news(self, command: Command) -> None:
        """Sends changes by other sessions, as far as this command's response may contain them."""
        news = self._commands[command.name].news
        if self._s.selected is None or news is News.NONE:
            return
        try:
            await self._s.selected.refresh(ask=news is News.ASK)
        except StoreError as error:
            self._log_failure(command, error)  # the command itself is done; the changes are sent later
        await self._s.selected.announce(self._s.send, self._s.pace, expunges=news is not News.NO_EXPUNGES)
        await self._s.pace()

    @property
    def _state(self) -> State:
        if self._s.session.identity is None:
            return State.NOT_AUTHENTICATED
        return State.AUTHENTICATED if self._s.selected is None else State.SELECTED


def _refusal(rule: Rule, state: State) -> str:
    """The reason why this state does not allow the command."""
    if state is State.NOT_AUTHENTICATED:
        return "Log in first"
    return "No mailbox selected" if State.SELECTED in rule.states else "Already logged in"
