"""One connection as its commands see it: the transaction, the input, and the replies to send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiosmtpd.smtp import Envelope as AiosmtpdEnvelope

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.base.limits import AUTH_LINE_OCTETS, COMMAND_LINE_OCTETS
from inbox.flow.envelope import Envelope
from inbox.flow.ports import Receiving, SaslLogin
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Identity, Session
from inbox.plugin.api.services import Log
from inbox.server.fairness import Share, Turns
from inbox.server.limits import CROWDED_SECONDS, IN_TRANSACTION, LOGGED_IN, STRANGER, ConnectionLimits, ErrorBudget
from inbox.server.smtp.config import Service, SmtpConfig
from inbox.server.smtp.intake import Intake
from inbox.server.spool import Spool
from inbox.server.transport import Channel, Disconnected
from inbox.wire.smtp.receiver import Receiver
from inbox.wire.smtp.reply import render
from inbox.wire.smtp.state import Dialogue

STOPPING: Final = Reply(421, "4.3.2", "Shutting down, try again later")
#: The SASL mechanisms of submission, in the order of preference.
MECHANISMS: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
TOKEN_MECHANISMS: Final = ("OAUTHBEARER", "XOAUTH2")


@dataclass(frozen=True, slots=True)
class Backend:
    """The objects that all sessions of one server share. ``login`` is None where users do not log in."""

    config: SmtpConfig
    service: Service
    receiving: Receiving
    clock: Clock
    ids: Ids
    log: Log
    limits: ConnectionLimits
    turns: Turns
    run_outside: Callable[[Callable[[], None]], Awaitable[None]]
    login: SaslLogin | None = None


class MailTransaction(AiosmtpdEnvelope):
    """One mail transaction, from MAIL to the end of the message (RFC 5321 §3.3).

    aiosmtpd's envelope holds what the client requested: ``smtp_utf8``, and in ``rcpt_tos`` the argument of each RCPT
    that was accepted. The other attributes are added here.

    Attributes:
        transaction: the flow's envelope; servers pass it on unchanged.
        surplus: recipients beyond the limit.
        surplus_reply: the reply to each of these; the refusal is recorded once.
        intake: the chunks of the message so far (BDAT).
        text_since: when the server began to wait for the first octets of the message.
    """

    def __init__(self, transaction: Envelope, *, smtp_utf8: bool) -> None:
        super().__init__()
        self.smtp_utf8 = smtp_utf8
        self.transaction = transaction
        self.surplus = 0
        self.surplus_reply: Reply | None = None
        self.intake: Intake | None = None
        self.text_since: float | None = None


class SmtpSession:
    """One client. It implements no command: ``conversation`` reads them and passes this session to each.

    Attributes:
        session: the connection as hooks see it.
        dialogue: enforces the order of commands.
        envelope: the transaction that is under way.
        in_text: a message, or a chunk of one, is being read.
        leaving: the server stops: the session ends as soon as no transaction is under way.
        closing: the session ends once the gathered replies are sent.
        last_reply: the reply with which a session ends that is leaving.
        login_failures: failed logins so far.
    """

    def __init__(self, backend: Backend, channel: Channel, session: Session, share: Share) -> None:
        config, service = backend.config, backend.service
        self.backend = backend
        self.config = config
        self.service = service
        self.channel = channel
        self.session = session
        self.share = share
        errors, idle = (0, 0) if service.trusted else (config.max_errors, config.max_idle_commands)
        self.budget = ErrorBudget(errors, idle, "Too many non-mail commands")
        self.receiver = Receiver()
        self.dialogue = Dialogue(
            lmtp=service.reply_per_recipient,
            tls_offered=config.tls is not None,
            needs_login=service.needs_login,
            login_without_tls=config.login_without_tls,
        )
        if service.needs_login:
            self.receiver.limit = AUTH_LINE_OCTETS
        self.envelope: MailTransaction | None = None
        self.in_text = self.leaving = self.closing = False
        self.last_reply = STOPPING
        self.login_failures = 0
        self._out: list[bytes] = []

    # -- the transaction

    def begin(self, transaction: Envelope, *, smtp_utf8: bool) -> None:
        """MAIL was accepted."""
        self.envelope = MailTransaction(transaction, smtp_utf8=smtp_utf8)
        # When connections are short, clients with a transaction are kept before those without one.
        self.channel.standing = self._standing(IN_TRANSACTION)

    def reset(self) -> None:
        """Ends the transaction; the greeting remains valid."""
        self.envelope = None
        self.channel.standing = self._standing(STRANGER)
        self.dialogue.reset()

    def _standing(self, otherwise: int) -> int:
        return otherwise if self.session.identity is None else LOGGED_IN

    @property
    def transaction(self) -> MailTransaction:
        """The transaction that is under way. Raises RuntimeError if the dialogue admitted a command without one."""
        if self.envelope is None:
            raise RuntimeError("a command that needs a transaction was admitted without one")
        return self.envelope

    def new_intake(self) -> Intake:
        """Begins to receive a message."""
        limit = self.config.max_message_octets
        spool = Spool(self.config.spool_directory, self.backend.run_outside)
        return Intake(spool, limit, limit * self.config.oversize_multiple, self.backend.log)

    # -- the login

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that EHLO lists."""
        login = self.backend.login
        return MECHANISMS if login is None or not login.accepts_tokens else (*MECHANISMS, *TOKEN_MECHANISMS)

    @property
    def offers_require_tls(self) -> bool:
        """Whether the client may send REQUIRETLS (RFC 8689 §2: over TLS only; LMTP is the last hop)."""
        return self.dialogue.tls_active and not self.service.reply_per_recipient

    def logged_in(self, identity: Identity) -> None:
        """The user is known: MAIL becomes legal, and command lines have their usual limit."""
        self.session.identity = identity
        self.channel.standing = LOGGED_IN
        self.receiver.limit = COMMAND_LINE_OCTETS

    # -- replies

    def say(self, reply: Reply, *, counted: bool = True) -> None:
        """Gathers a reply; it is sent when the server waits for the client, or when many are gathered.

        Args:
            counted: a temporary refusal counts as an error of the connection.
        """
        self._out.append(render(reply, utf8=self.envelope is not None and self.envelope.smtp_utf8))
        if reply.code >= 500:
            self.budget.error()
            self.session.errors += 1
        elif reply.code == 421:  # RFC 5321 §3.8: the server closes after 421
            self.closing = True
        elif reply.code >= 400 and counted:
            # Each may have cost work and a decision record: a client that keeps getting 4xx is disconnected in the end.
            self.budget.idle()

    def say_lines(self, lines: bytes) -> None:
        """Gathers a positive reply that is already rendered."""
        self._out.append(lines)

    async def refused(self, stage: str, reply: Reply) -> Reply:
        """Records a refusal by the server itself; returns the reply with the id of the record."""
        transaction = None if self.envelope is None else self.envelope.transaction
        return await self.backend.receiving.refused(self.session, transaction, reply, stage)

    # -- octets

    @property
    def gathered(self) -> int:
        """Replies that are not sent yet."""
        return len(self._out)

    async def more(self, deadline: float, since: float, pressing: float | None = None) -> None:
        """Sends all gathered replies, then waits for more input.

        Args:
            deadline: reading of the monotonic clock.
            since: when the server began to wait for this command or message.
            pressing: the deadline while connections are short; None: :data:`CROWDED_SECONDS` after ``since``.

        Raises:
            Disconnected: no more input will arrive.
            TimedOut: no input arrived before the deadline.
            Evicted: another connection takes the place of this one.
        """
        channel = self.channel
        if self._out:
            channel.write(self._gathered())
            if channel.full:
                await channel.drain()
        if channel.at_end:
            raise Disconnected("end of input")
        await channel.wait(deadline, since + CROWDED_SECONDS if pressing is None else pressing, since)
        if data := channel.take():
            self.receiver.receive_data(data)

    async def flush(self) -> None:
        """Sends all gathered replies in one write; waits while the client does not read. Raises Disconnected."""
        self.channel.write(self._gathered())
        if self.channel.full:
            await self.channel.drain()

    async def start_tls(self) -> None:
        """Sends all gathered replies, then performs the TLS handshake. Raises Disconnected if it fails."""
        if self.config.tls is None:
            raise RuntimeError("no certificate")
        await self.share.turn()
        self.receiver.drop_buffered()
        await self.channel.start_tls(self.config.tls, self.config.tls_handshake_seconds, self._gathered())
        self.session.tls = self.channel.tls()

    def leave(self, last_reply: Reply | None = None) -> None:
        """Ends the session as soon as no transaction is under way; without ``last_reply`` because the server stops."""
        self.leaving = True
        self.last_reply = last_reply or self.last_reply
        self.channel.nudge()

    def close(self) -> None:
        """Sends all gathered replies and closes the connection."""
        if self._out and not self.channel.lost:
            self.channel.write(self._gathered())
        self.channel.close()

    def _gathered(self) -> bytes:
        octets = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return octets
