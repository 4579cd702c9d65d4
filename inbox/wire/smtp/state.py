"""The commands of SMTP and LMTP and the order in which they are legal (RFC 5321 §4.1.4, 2033, 3030, 3207, 4954).

The order is the table :data:`AFTER`, and :class:`Dialogue` is the only code that changes the state of a connection. A
command is admitted before it runs, and changes the state when it has succeeded; a command that is not in the table for
the current state is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from inbox.wire.smtp.errors import CommandError


class Verb(StrEnum):  # a plain Enum is hashed in Python, which would be a tenth of a command's cost
    """Every command that a server of this program implements."""

    EHLO = "EHLO"
    HELO = "HELO"
    LHLO = "LHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    RSET = "RSET"
    NOOP = "NOOP"
    HELP = "HELP"
    VRFY = "VRFY"
    EXPN = "EXPN"
    QUIT = "QUIT"


#: SMTP commands that are known and not implemented, or not by this server (AUTH is for submission): 502 5.5.1; an
#: unknown word gets 500 5.5.2.
NOT_OFFERED: Final = frozenset({"AUTH", "ATRN", "BURL", "ETRN", "SAML", "SEND", "SOML", "TURN", "XCLIENT", "XFORWARD"})
#: Methods of HTTP. A web page made a browser connect here: its author controls what follows, so the connection ends.
FOREIGN: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class State(StrEnum):
    """The states of a connection."""

    FRESH = "fresh"  # no EHLO, HELO or LHLO yet, or none since STARTTLS
    READY = "ready"  # greeted, no transaction
    SENDER = "sender"  # after MAIL
    NO_RCPTS = "no rcpts"  # after MAIL, and every RCPT was refused
    RCPTS = "rcpts"  # after the first RCPT that was accepted
    CHUNKS = "chunks"  # after a BDAT that was not the last


_ANYWHERE: Final = (Verb.NOOP, Verb.HELP, Verb.VRFY, Verb.EXPN, Verb.QUIT)
#: RFC 5321 §4.1.4: a second EHLO is a RSET.
_GREETINGS: Final = (Verb.EHLO, Verb.HELO, Verb.LHLO)


def _row(state: State, then: Mapping[Verb, State]) -> Mapping[Verb, State]:
    """The commands that are legal in every state, and those that ``state`` adds."""
    return MappingProxyType(
        {
            **dict.fromkeys(_ANYWHERE, state),
            **dict.fromkeys(_GREETINGS, State.READY),
            Verb.RSET: State.FRESH if state is State.FRESH else State.READY,
            **then,
        }
    )


#: In each state, the legal commands, and the state after each of them has succeeded.
AFTER: Final[Mapping[State, Mapping[Verb, State]]] = MappingProxyType(
    {
        State.FRESH: _row(State.FRESH, {}),
        # RFC 3207 §4.2: after STARTTLS everything that the client sent before is void.
        # RFC 4954 §4: AUTH is not allowed inside a transaction.
        State.READY: _row(State.READY, {Verb.STARTTLS: State.FRESH, Verb.AUTH: State.READY, Verb.MAIL: State.SENDER}),
        State.SENDER: _row(State.SENDER, {Verb.RCPT: State.RCPTS}),
        State.NO_RCPTS: _row(State.NO_RCPTS, {Verb.RCPT: State.RCPTS}),
        # RFC 3030 §2: BDAT and DATA are never mixed in one message. The last chunk of a message leads to READY.
        State.RCPTS: _row(State.RCPTS, {Verb.RCPT: State.RCPTS, Verb.DATA: State.READY, Verb.BDAT: State.CHUNKS}),
        State.CHUNKS: _row(State.CHUNKS, {Verb.BDAT: State.CHUNKS}),
    }
)
#: The state after a command that was refused, if it differs.
AFTER_REFUSAL: Final[Mapping[tuple[State, Verb], State]] = MappingProxyType({(State.SENDER, Verb.RCPT): State.NO_RCPTS})
#: Replies that name what the client must do first, when its command is not legal yet.
_FIRST: Final[Mapping[State, str]] = MappingProxyType(
    {
        State.FRESH: "Send EHLO first",
        State.READY: "Send MAIL first",
        State.SENDER: "Send RCPT first",
        State.NO_RCPTS: "Send RCPT first",
        State.RCPTS: "A transaction is under way",
        State.CHUNKS: "Send the rest with BDAT, or RSET",
    }
)


class Dialogue:
    """The state of one connection.

    Args:
        lmtp: DATA without a recipient is answered 503 (RFC 2033 §4.2), where SMTP answers 554 (RFC 5321 §3.3).
        tls_offered: STARTTLS can succeed, once.
        needs_login: MAIL is legal after AUTH only (RFC 6409 §4.3).
        login_without_tls: AUTH is legal before TLS.
    """

    __slots__ = ("_lmtp", "_login_without_tls", "_needs_login", "_tls_offered", "authenticated", "state", "tls_active")

    def __init__(
        self,
        *,
        lmtp: bool = False,
        tls_offered: bool = False,
        needs_login: bool = False,
        login_without_tls: bool = False,
    ) -> None:
        self.state = State.FRESH
        self.tls_active = False
        self.authenticated = False
        self._needs_login = needs_login
        self._login_without_tls = login_without_tls
        self._lmtp = lmtp
        self._tls_offered = tls_offered

    @property
    def offers_tls(self) -> bool:
        """Whether EHLO lists STARTTLS (RFC 3207 §4.2: not under TLS)."""
        return self._tls_offered and not self.tls_active

    @property
    def offers_auth(self) -> bool:
        """Whether EHLO lists AUTH: not before TLS, so that no client sends its password in plain text."""
        return self._needs_login and not self.authenticated and (self.tls_active or self._login_without_tls)

    def admit(self, verb: Verb) -> None:
        """Checks that a command may come now.

        Raises:
            CommandError: it may not; 503 in most cases.
        """
        if verb not in AFTER[self.state]:
            raise self._out_of_order(verb)
        if verb is Verb.STARTTLS and not self.offers_tls:
            raise self._no_tls()
        if self._needs_login:
            self._check_login(verb)

    def succeeded(self, verb: Verb) -> None:
        """Changes the state after a command that was admitted and has succeeded."""
        self.state = AFTER[self.state][verb]
        if verb is Verb.STARTTLS:
            self.tls_active, self.authenticated = True, False
        elif verb is Verb.AUTH:
            self.authenticated = True

    def refused(self, verb: Verb) -> None:
        """Changes the state after a command that was admitted and then refused."""
        self.state = AFTER_REFUSAL.get((self.state, verb), self.state)

    def reset(self) -> None:
        """Ends the transaction; the greeting remains valid."""
        self.state = AFTER[self.state][Verb.RSET]

    def _check_login(self, verb: Verb) -> None:
        """Raises CommandError if MAIL comes too early, or AUTH at the wrong time (RFC 4954 §4 and §6)."""
        if verb is Verb.MAIL and not self.authenticated:
            if not self.offers_auth:
                raise CommandError(530, "5.7.0", "Must issue a STARTTLS command first")
            raise CommandError(530, "5.7.0", "Authentication required")
        if verb is Verb.AUTH:
            if self.authenticated:
                raise CommandError(503, "5.5.1", "Already authenticated")
            if not self.offers_auth:
                raise CommandError(538, "5.7.11", "Encryption required for authentication, send STARTTLS first")

    def _out_of_order(self, verb: Verb) -> CommandError:
        state = self.state
        if verb is Verb.STARTTLS and state is not State.FRESH:
            if not self.offers_tls:
                return self._no_tls()
            return CommandError(503, "5.5.1", "STARTTLS is not allowed inside a transaction, send RSET first")
        if verb is Verb.AUTH and state is not State.FRESH:
            if self.authenticated:
                return CommandError(503, "5.5.1", "Already authenticated")
            return CommandError(503, "5.5.1", "AUTH is not allowed inside a transaction, send RSET first")
        if verb is Verb.DATA and state is State.NO_RCPTS and not self._lmtp:
            return CommandError(554, "5.5.1", "No valid recipients")
        if verb is Verb.MAIL and state in (State.SENDER, State.NO_RCPTS):
            return CommandError(503, "5.5.1", _FIRST[State.RCPTS])
        return CommandError(503, "5.5.1", _FIRST[state])

    def _no_tls(self) -> CommandError:
        if self.tls_active:
            return CommandError(503, "5.5.1", "TLS is active already")
        return CommandError(502, "5.5.1", "STARTTLS is not available")
