"""The message on an SMTP connection: DATA, BDAT, and the replies to what came (RFC 5321 §4.1.1.4, RFC 3030)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from inbox.flow.envelope import Envelope
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Session
from inbox.server.fairness import Patience
from inbox.server.guard import CROWDED_SECONDS
from inbox.server.smtp.intake import Intake, too_big
from inbox.server.smtp.link import Context, Gone, SmtpLink
from inbox.server.spool import Spool
from inbox.wire.smtp.command import parse_bdat
from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.moves import MOVES, State, Verb
from inbox.wire.smtp.receiver import EndOfText, Text
from inbox.wire.smtp.reply import render

NO_ARGUMENT: Final = Reply(501, "5.5.4", "No argument expected")
LOCAL_PROBLEM: Final = Reply(451, "4.3.0", "Local problem, try again later")
_TLS_IN_TRANSACTION: Final = Reply(503, "5.5.1", "STARTTLS is not allowed inside a transaction, send RSET first")
_GO_AHEAD: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
_BARE: Final = Reply(550, "5.6.0", "Lines of a message end with CR and LF, neither stands alone")
_NO_MORE: Final = Reply(421, "4.7.0", "Closing: what follows such a message cannot be trusted")
#: What to do first, for a command that comes too early.
_MISSING: Final[Mapping[State, str]] = {
    State.FRESH: "Say EHLO first",
    State.READY: "Send MAIL first",
    State.SENDER: "Send RCPT first",
    State.RCPTS: "A transaction is under way",
    State.CHUNKS: "Send the rest with BDAT, or RSET",
}


class SmtpMessages(SmtpLink):
    """The transaction of a connection, and its end: reading, judging and answering a message."""

    #: One reply for each recipient after the message (LMTP).
    per_recipient: ClassVar[bool] = False
    #: Refused commands end the connection some time, and one peer has only so many connections.
    distrusts: ClassVar[bool] = True

    def __init__(self, context: Context, port: int) -> None:
        super().__init__(context)
        self._port = port
        self._client: Session
        self._state = State.FRESH
        self._target = State.FRESH  # where the command leads if it succeeds
        self._tx: Envelope | None = None
        self._accepted = 0  # recipients
        self._tried = False  # a recipient was named
        self._crowded: Reply | None = None  # what a recipient beyond the limit is told
        self._surplus = 0  # recipients beyond the limit
        self._chunks: Intake | None = None
        self._utf8 = False
        self._in_text = False
        self._text_since: float | None = None  # when the first octets of the message were waited for
        config = context.config
        # A mail server of ours that speaks LMTP brings everybody's mail over a few connections: were one closed because
        # a tenant's mail is deferred, it would take us for dead, and the others' mail would wait, too.
        errors, idle = (config.max_errors, config.max_idle_commands) if self.distrusts else (0, 0)
        self._patience = Patience(errors, idle, "Too many non-mail commands")

    @property
    def _transaction(self) -> Envelope:
        if self._tx is None:
            raise RuntimeError("a command was let through that needs a transaction")
        return self._tx

    async def smtp_DATA(self, arg: str) -> None:
        if arg:
            self._say(NO_ARGUMENT)
            return
        self._receiver.expect_data()
        self._say(_GO_AHEAD)
        intake = self._new_intake()
        bare = await self._read_text(intake)
        await self._complete(intake, bare=bare)
        if bare and self.distrusts:
            # Whoever relayed this may take other line ends for the end of the message than we do. Then what follows
            # is its rest, in a stranger's words, and no command (smuggling).
            self._say(_NO_MORE)

    async def smtp_BDAT(self, arg: str) -> None:
        config = self._context.config
        try:
            bdat = parse_bdat(arg)
        except CommandError as error:
            self._say(Reply.of(error))
            self._closing = True  # nobody knows where the next command begins
            return
        if bdat.octets > config.max_message_octets * config.oversize_multiple:
            self._say(await self._refused("data", too_big(config.max_message_octets)))
            self._closing = True
            return
        in_order = (self._state, Verb.BDAT) in MOVES
        intake = (self._chunks or self._new_intake()) if in_order else None
        self._receiver.expect_chunk(bdat.octets, first=self._chunks is None, last=bdat.last)
        bare = await self._read_text(intake)
        if intake is None:
            self._out_of_order(Verb.BDAT)
        elif bdat.last:
            await self._complete(intake, bare=bare)
        elif intake.trouble is not None or bare:
            # RFC 3030 §2: the message has failed; further chunks get 503.
            self._say(await self._refused("data", intake.trouble or _BARE))
            self._reset()
        else:
            if not bdat.octets:
                self._patience.idle()
            self._chunks, self._state = intake, self._target
            self._say(Reply(250, "2.0.0", f"{bdat.octets} octets received"))

    def _new_intake(self) -> Intake:
        context = self._context
        limit = context.config.max_message_octets
        spool = Spool(context.config.spool_directory, context.run_outside)
        return Intake(spool, limit, limit * context.config.oversize_multiple, context.log)

    async def _read_text(self, intake: Intake | None) -> bool:
        """Reads to the end of the text or chunk; without an intake it is thrown away. True: bare CR or LF in it."""
        receiver, clock, config = self._receiver, self._context.clock, self._context.config
        started = clock.monotonic() if self._text_since is None else self._text_since
        octets = 0
        if intake is not None:
            # The chunks of a message have its time together: a client could hold its place with an octet now and then.
            self._text_since, octets = started, intake.octets
        self._in_text = True
        while True:
            await self._share.pause()
            event = receiver.next_event()
            if event is None:
                # Each read has its time, the whole has its time, and after a grace it must have come at some rate;
                # while connections are short, the grace is short, too.
                due = octets / config.data_octets_per_second
                whole = started + min(config.data_total_seconds, config.data_grace_seconds + due)
                read = clock.monotonic() + config.data_block_seconds
                await self._more(min(whole, read), started, started + CROWDED_SECONDS + due)
            elif isinstance(event, Text):
                octets += len(event.data)
                if intake is not None:
                    await intake.add(event.data)
                    if intake.overflow:
                        self._say(await self._refused("data", too_big(config.max_message_octets)))
                        raise Gone
            elif isinstance(event, EndOfText):
                self._in_text = False
                return event.bare

    async def _complete(self, intake: Intake, *, bare: bool) -> None:
        """All octets are here: asks for the verdict and tells it."""
        try:
            replies = await self._judge(intake, bare=bare)
        finally:
            self._reset()
        for reply in replies:
            self._say(reply)
        if any(reply.positive for reply in replies):
            self._patience.restore()

    async def _judge(self, intake: Intake, *, bare: bool) -> list[Reply]:
        expected = self._accepted if self.per_recipient else 1
        content = None if bare else await intake.finish()
        if content is None:
            return [await self._refused("data", intake.trouble or _BARE)] * expected
        # No cancellation reaches this: the connection's task goes on when the client is gone.
        try:
            replies = await self._context.receiving.data(self._transaction, content)
        # `Receiving` does not raise: a defect behind it is logged, and the client tries again.
        except Exception:
            self._context.log.error("smtp_data_failed", session=self._client.id, exc_info=True)
            return [LOCAL_PROBLEM] * expected
        if len(replies) != expected:
            self._context.log.error("smtp_replies_missing", expected=expected, got=len(replies))
            return [LOCAL_PROBLEM] * expected
        return replies

    def _out_of_order(self, verb: Verb) -> None:
        # RFC 5321 §3.3 allows 503, too; RFC 2033 §4.2 wants it.
        if verb is Verb.DATA and self._state is State.SENDER and self._tried and not self.per_recipient:
            self._say(Reply(554, "5.5.1", "No valid recipients"))
        elif verb is Verb.STARTTLS and self._state is not State.FRESH:
            self._say(self._no_tls() or _TLS_IN_TRANSACTION)
        elif verb is Verb.MAIL and self._state is State.SENDER:
            self._say(Reply(503, "5.5.1", _MISSING[State.RCPTS]))
        else:
            self._say(Reply(503, "5.5.1", _MISSING[self._state]))

    def _no_tls(self) -> Reply | None:
        """Why STARTTLS cannot succeed on this connection; None if it can."""
        if self._context.config.tls is None:
            return Reply(502, "5.5.1", "TLS is not offered here")
        return None if self._client.tls is None else Reply(503, "5.5.1", "TLS is active already")

    def _reset(self) -> None:
        """No transaction; the greeting stays."""
        self._state = State.READY if self._client.helo is not None else State.FRESH
        self._tx = self._chunks = self._crowded = None
        self._accepted = self._surplus = 0
        self._text_since = None
        self._tried = self._utf8 = False

    def _say(self, reply: Reply, *, counted: bool = True) -> None:
        """Gathers a reply; it is sent when we wait for the client, or when many are gathered.

        Args:
            counted: a refusal takes away from the connection's patience.
        """
        self._out.append(render(reply, utf8=self._utf8))
        if reply.code >= 500:
            self._patience.error()
            self._client.errors += 1
        elif reply.code == 421:  # RFC 5321 §3.8: who says so closes
            self._closing = True
        elif reply.code >= 400 and counted:
            # Each may have been work, and a record: a client that is told to come back later must do so some time.
            self._patience.idle()

    async def _refused(self, stage: str, reply: Reply) -> Reply:
        """Has a refusal of our own recorded; returns the reply with its id."""
        return await self._context.receiving.refused(self._client, self._tx, reply, stage)
