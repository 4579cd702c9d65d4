"""One SMTP connection: its commands, in the order in which a client sends them (RFC 5321 §4.1.1)."""

from __future__ import annotations

import asyncio
from math import inf
from typing import ClassVar, Final

from inbox.base.limits import SMTP_SURPLUS_RECIPIENTS
from inbox.base.peers import site_of, unmapped
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Session
from inbox.server.guard import IN_TRANSACTION, STRANGER
from inbox.server.smtp.intake import too_big
from inbox.server.smtp.link import GATHER, TOO_MANY, Evicted, Gone, Stalled
from inbox.server.smtp.message import LOCAL_PROBLEM, NO_ARGUMENT, SmtpMessages
from inbox.wire import proxy
from inbox.wire.smtp.command import Command, check_helo, parse_mail, parse_rcpt
from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.moves import FOREIGN, MOVES, NOT_OFFERED, Verb
from inbox.wire.smtp.receiver import Malformed
from inbox.wire.smtp.reply import render_lines

_OK: Final = Reply(250, "2.0.0", "OK")
_STOPPING: Final = Reply(421, "4.3.2", "Shutting down, try again later")
_TIMED_OUT: Final = Reply(421, "4.4.2", "Timed out waiting for you")
_IDLE: Final = frozenset({Verb.EHLO, Verb.HELO, Verb.LHLO, Verb.NOOP, Verb.RSET, Verb.HELP, Verb.VRFY, Verb.EXPN})

#: Seconds of a deadline that only makes a connection one that waits.
_NEVER: Final = 1e9
_NAMES: Final = {verb: f"smtp_{verb.value}" for verb in Verb}


class SmtpConnection(SmtpMessages):
    """The upper half: greets, obeys, and hands what came to the :class:`~inbox.flow.ports.Receiving`."""

    door: ClassVar[Door] = Door.SMTP
    greetings: ClassVar[frozenset[Verb]] = frozenset({Verb.EHLO, Verb.HELO})

    @property
    def standing(self) -> int:
        """A client that has a recipient or sends a message is worth more than one that has named nothing."""
        return STRANGER if self._tx is None else IN_TRANSACTION

    async def _handle_client(self) -> None:
        """Serves one client from the first octet to the last."""
        log = self._context.log
        self._client = self._new_session()
        try:
            if await self._admit():
                try:
                    await self._greet()
                    await self._converse()
                except Stalled:
                    self._say(await self._refused("data", _TIMED_OUT) if self._in_text else _TIMED_OUT)
                except Evicted:
                    log.info("smtp_evicted", peer=str(self._client.peer), in_message=self._in_text)
                    self._say(await self._refused("data", TOO_MANY) if self._in_text else TOO_MANY)
                finally:
                    if self.distrusts:
                        self._context.guard.leave_peer(self._client.peer)
        except Gone:
            log.debug("smtp_client_gone", session=self._client.id, in_message=self._in_text)
        # A defect of ours: it ends this connection and no other, and says so in the log.
        except Exception:
            log.error("smtp_connection_failed", session=self._client.id, exc_info=True)
            self._say(Reply(421, "4.3.0", "Local problem, try again later"))
        finally:
            self._context.guard.leave(self)
            self._close()

    def _new_session(self) -> Session:
        context = self._context
        name = self._pipe.get_extra_info("peername")
        port = name[1] if isinstance(name, tuple) else 0
        now = context.clock.now()
        return Session(context.ids.new(), self.door, self._peer(), port, local_port=self._port, started_at=now)

    # Before the banner

    async def _admit(self) -> bool:
        """Learns who the client is; False if it has too many connections already."""
        config = self._context.config
        if config.proxy_networks:
            await self._read_proxy()
            self._share.network = site_of(self._client.peer)
            if not self._context.guard.identify(self, self._client.peer):
                self._context.log.warning("smtp_too_many_connections", peer=str(self._client.peer))
                self._say(TOO_MANY)
                return False
        if not self.distrusts or self._context.guard.enter_peer(self._client.peer):
            return True
        self._context.log.warning("smtp_too_many_connections", peer=str(self._client.peer))
        self._say(Reply(421, "4.7.0", "Too many connections from your network, try again later"))
        return False

    async def _read_proxy(self) -> None:
        """Reads the PROXY header; raises Gone without a word if there is none or its sender is not listed."""
        config, log, session = self._context.config, self._context.log, self._client
        if not any(session.peer in network for network in config.proxy_networks):
            log.warning("smtp_proxy_not_listed", peer=str(session.peer))
            raise Gone
        since = self._context.clock.monotonic()
        try:
            while (header := proxy.parse(self._receiver.peek())) is None:
                if self._leaving:
                    raise Gone
                await self._more(since + config.proxy_seconds, since)
        except (proxy.ProxyError, Stalled, Evicted) as error:
            log.warning("smtp_proxy_header_missing", peer=str(session.peer), error=str(error))
            raise Gone from error
        self._receiver.skip(header.octets)
        if header.proxied is not None:
            session.peer, session.peer_port = unmapped(header.proxied.source), header.proxied.source_port
            session.local_port = header.proxied.destination_port

    async def _greet(self) -> None:
        config, session, receiver = self._context.config, self._client, self._receiver
        if config.greet_delay_seconds:
            await self._delay(config.greet_delay_seconds)
        session.early_talker = receiver.buffered > 0
        refusal = await self._context.receiving.connect(session)
        session.early_talker = receiver.buffered > 0
        if refusal is None:
            self._say(Reply(220, "", f"{config.hostname} {config.banner}"))
        else:
            self._say(refusal)
            self._closing = True

    async def _delay(self, seconds: float) -> None:
        """Waits; meanwhile the connection may be evicted, or its network could hold places that nobody may take."""
        self.waiting_since = self._context.clock.monotonic()
        self.deadline, self.pressing = self.waiting_since + _NEVER, inf
        try:
            await asyncio.sleep(seconds)
        finally:
            self.deadline = inf
        if self._evicted:
            raise Evicted

    # Commands

    async def _converse(self) -> None:
        """One command after the other, until one of us has enough."""
        receiver, clock, config = self._receiver, self._context.clock, self._context.config
        since: float | None = None
        while not self._closing:
            await self._share.pause()
            event = receiver.next_event()
            if event is None:
                if self._leaving and self._tx is None:
                    self._say(_STOPPING)
                    return
                # A client that sends a command octet by octet has no more time than one that sends it at once.
                since = clock.monotonic() if since is None else since
                await self._more(since + config.command_seconds, since)
                continue
            since = None
            if type(event) is Command:
                await self._obey(event)
            elif type(event) is Malformed:
                self._say(Reply.of(event.error))
            if len(self._out) >= GATHER:
                await self._flush()
            self._lose_patience()

    async def _obey(self, command: Command) -> None:
        verb = command.verb
        if verb is None or (verb not in self.greetings and verb in (Verb.EHLO, Verb.HELO, Verb.LHLO)):
            self._unknown(command.word)
            return
        target = MOVES.get((self._state, verb))
        if target is None and verb is not Verb.BDAT:  # the octets behind a BDAT must be read in any case
            self._out_of_order(verb)
            return
        self._target = target or self._state
        if verb in _IDLE:
            self._patience.idle()
        try:
            await getattr(self, _NAMES[verb])(command.argument)
        except CommandError as error:
            self._say(Reply.of(error))
        except (Gone, Stalled, Evicted):
            raise
        # `Receiving` does not raise: a defect behind it costs one command and is logged.
        except Exception:
            self._context.log.error("smtp_command_failed", session=self._client.id, verb=verb.value, exc_info=True)
            self._say(LOCAL_PROBLEM)

    def _unknown(self, word: str) -> None:
        if word in FOREIGN:
            self._say(Reply(421, "4.7.0", "This is a mail server"))
        elif word in NOT_OFFERED:
            self._say(Reply(502, "5.5.1", "Command not offered here"))
        else:
            self._say(Reply(500, "5.5.2", "Command unknown"))

    def _lose_patience(self) -> None:
        if self._patience.lost:
            self._say(Reply(421, "4.7.0", self._patience.lost))

    async def smtp_EHLO(self, arg: str) -> None:
        await self._hello(arg, esmtp=True)

    async def smtp_HELO(self, arg: str) -> None:
        await self._hello(arg, esmtp=False)

    async def _hello(self, name: str, *, esmtp: bool) -> None:
        config, session = self._context.config, self._client
        check_helo(name, strict=config.strict_helo)
        before = session.helo, session.esmtp
        session.helo, session.esmtp = name, esmtp
        refusal = await self._context.receiving.helo(session)
        if refusal is not None:
            session.helo, session.esmtp = before
            self._say(refusal)
            return
        self._reset()
        if esmtp:
            self._out.append(render_lines(250, self._extensions()))
        else:
            self._say(Reply(250, "", config.hostname))

    def _extensions(self) -> list[bytes]:
        config = self._context.config
        lines = [
            config.hostname.encode(),
            b"PIPELINING",
            b"SIZE %d" % config.max_message_octets,
            b"8BITMIME",
            b"SMTPUTF8",
            b"ENHANCEDSTATUSCODES",
            b"DSN",
            b"CHUNKING",
        ]
        if config.tls is not None and self._client.tls is None:
            lines.append(b"STARTTLS")
        return lines

    async def smtp_STARTTLS(self, arg: str) -> None:
        if arg:
            self._say(NO_ARGUMENT)
        elif (refusal := self._no_tls()) is not None:
            self._say(refusal)
        elif (tls := self._context.config.tls) is not None:
            self._say(Reply(220, "2.0.0", "Go ahead"))
            session = self._client
            session.tls = await self._start_tls(tls)
            session.helo, session.esmtp = None, False
            self._state = self._target

    async def smtp_MAIL(self, arg: str) -> None:
        context = self._context
        try:
            mail = parse_mail(arg)
        except CommandError as error:
            self._say(await self._refused("mail", Reply.of(error)))
            return
        limit = context.config.max_message_octets
        if mail.size > limit:
            self._say(await self._refused("mail", too_big(limit)))
            return
        reply, tx = await context.receiving.mail(self._client, mail.sender, mail.params)
        if reply.positive:
            if tx is None:
                raise RuntimeError("a positive reply to MAIL came without a transaction")
            self._tx, self._utf8, self._state = tx, mail.utf8, self._target
        self._say(reply)

    async def smtp_RCPT(self, arg: str) -> None:
        context = self._context
        if self._accepted >= context.config.max_recipients:
            # Recorded once for a message: the rest of a long list gets the same answer.
            if self._crowded is None:
                self._crowded = await self._refused("rcpt", Reply(452, "4.5.3", "Too many recipients"))
            self._surplus += 1
            self._say(self._crowded, counted=self._surplus > SMTP_SURPLUS_RECIPIENTS)
            return
        self._tried = True
        try:
            rcpt = parse_rcpt(arg, context.config.hostname, utf8=self._utf8)
        except CommandError as error:
            self._say(await self._refused("rcpt", Reply.of(error)))
            return
        reply = await context.receiving.rcpt(self._transaction, rcpt.address, rcpt.notify, rcpt.orcpt)
        if reply.positive:
            self._accepted += 1
            self._state = self._target
        self._say(reply)

    # The rest

    async def smtp_RSET(self, arg: str) -> None:
        if arg:
            self._say(NO_ARGUMENT)
            return
        self._reset()
        self._say(_OK)

    async def smtp_NOOP(self, _arg: str) -> None:
        self._say(_OK)

    async def smtp_HELP(self, _arg: str) -> None:
        self._say(Reply(214, "2.0.0", "See RFC 5321"))

    async def smtp_VRFY(self, arg: str) -> None:
        if not arg:
            raise CommandError(501, "5.5.4", "An address is expected")
        # RFC 5321 §3.5.3, §7.3: nobody is told who receives mail here before MAIL and RCPT.
        self._say(Reply(252, "2.5.0", "Cannot verify, but try RCPT"))

    async def smtp_EXPN(self, _arg: str) -> None:
        self._say(Reply(502, "5.5.1", "Lists are not expanded"))

    async def smtp_QUIT(self, arg: str) -> None:
        if arg:
            self._say(NO_ARGUMENT)
            return
        self._say(Reply(221, "2.0.0", "Bye"))
        self._closing = True
