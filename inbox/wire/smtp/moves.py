"""The commands of SMTP and LMTP, and in which order they may come (RFC 5321 §4.1.4, RFC 2033, RFC 3030)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Verb(StrEnum):  # a plain Enum is hashed in Python, which would be a tenth of a command's cost
    """Commands that are answered by what they ask for."""

    EHLO = "EHLO"
    HELO = "HELO"
    LHLO = "LHLO"
    STARTTLS = "STARTTLS"
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


#: Commands of SMTP that we know and do not offer on these ports: 502 5.5.1, where an unknown word gets 500 5.5.2.
NOT_OFFERED: Final = frozenset({"AUTH", "ATRN", "BURL", "ETRN", "SAML", "SEND", "SOML", "TURN", "XCLIENT", "XFORWARD"})
#: A web browser was made to talk to us: what follows is somebody else's text, so the connection ends at once.
FOREIGN: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class State(StrEnum):
    """Where a connection stands."""

    FRESH = "fresh"  # no EHLO, HELO or LHLO yet, or none since STARTTLS
    READY = "ready"
    SENDER = "sender"  # after MAIL
    RCPTS = "rcpts"  # after the first RCPT that was accepted
    CHUNKS = "chunks"  # after a BDAT that was not the last


_ANYWHERE = (Verb.RSET, Verb.NOOP, Verb.HELP, Verb.VRFY, Verb.EXPN, Verb.QUIT)

#: What may follow what, and where it leads if it succeeds. A missing pair is answered 503.
MOVES: Final[Mapping[tuple[State, Verb], State]] = MappingProxyType(
    {
        **{(state, verb): state for state in State for verb in _ANYWHERE},
        **{(state, Verb.RSET): State.READY for state in State if state is not State.FRESH},
        # RFC 5321 §4.1.4: a second EHLO is a RSET.
        **{(state, verb): State.READY for state in State for verb in (Verb.EHLO, Verb.HELO, Verb.LHLO)},
        # RFC 3207 §4.2: afterwards nothing that the client said before counts.
        (State.READY, Verb.STARTTLS): State.FRESH,
        (State.READY, Verb.MAIL): State.SENDER,
        (State.SENDER, Verb.RCPT): State.RCPTS,
        (State.RCPTS, Verb.RCPT): State.RCPTS,
        (State.RCPTS, Verb.DATA): State.READY,
        # RFC 3030 §2: BDAT and DATA are never mixed in one message. BDAT LAST leads to READY.
        (State.RCPTS, Verb.BDAT): State.CHUNKS,
        (State.CHUNKS, Verb.BDAT): State.CHUNKS,
    }
)
