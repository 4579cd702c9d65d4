"""The AUTH command and the SASL messages of PLAIN and LOGIN (RFC 4954, RFC 4616, draft-murchison-sasl-login)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from inbox.wire.smtp.errors import CommandError

#: The name of a SASL mechanism.
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}\Z")
#: RFC 4954 §6: the client's message is not base64, or not a message of the mechanism.
_INVALID: Final = (501, "5.5.2")
#: The client has cancelled the exchange (RFC 4954 §4).
CANCEL: Final = b"*"
#: The challenges of LOGIN, as clients expect them.
USERNAME: Final = b"Username:"
PASSWORD: Final = b"Password:"


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH with the name of its mechanism in upper case. ``initial`` is decoded; None: the client sent none."""

    mechanism: str
    initial: bytes | None


class Credentials(NamedTuple):
    """A user name and a password."""

    user: str
    password: str


def parse_auth(argument: str) -> Auth:
    """Parses the argument of ``AUTH``: a mechanism, and perhaps an initial response, ``=`` being an empty one.

    Raises:
        CommandError: 501 for the syntax.
    """
    mechanism, _, initial = argument.partition(" ")
    mechanism = mechanism.upper()
    if _MECHANISM.match(mechanism) is None or " " in initial:
        raise CommandError(501, "5.5.4", "AUTH mechanism [initial-response] expected")
    if not initial:
        return Auth(mechanism, None)
    return Auth(mechanism, b"" if initial == "=" else decode(initial.encode()))


def decode(line: bytes) -> bytes:
    """A client's message without its base64.

    Raises:
        CommandError: 501; the line is not base64, or the client cancels.
    """
    if line == CANCEL:
        raise CommandError(501, "5.7.0", "Authentication cancelled")
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise CommandError(*_INVALID, "Cannot decode the response: it is not base64") from None


def encode(challenge: bytes) -> str:
    """The text of a 334 reply."""
    return base64.b64encode(challenge).decode("ascii")


def parse_plain(message: bytes) -> Credentials:
    """The credentials of PLAIN (RFC 4616 §2): authorization identity, user, password.

    Raises:
        CommandError: 501 for the syntax; 535 if the client wants to act as another user.
    """
    try:
        acting_as, user, password = message.decode("utf-8").split("\0")
    except ValueError:  # UnicodeDecodeError is one
        raise CommandError(*_INVALID, "Invalid PLAIN response") from None
    if acting_as not in ("", user):
        raise CommandError(535, "5.7.8", "Authorization as another user is not allowed")
    return Credentials(user, password)


def text(message: bytes) -> str:
    """A user name or password of LOGIN. Raises CommandError (501) if it is not UTF-8."""
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError(*_INVALID, "Invalid LOGIN response") from None
