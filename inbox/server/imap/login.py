"""Commands that do not need a mailbox: CAPABILITY, STARTTLS, LOGIN, AUTHENTICATE, ID, ENABLE, NOOP and LOGOUT."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Final

from inbox.base.errors import AuthenticationFailed
from inbox.base.limits import AUTH_LINE_OCTETS
from inbox.server.imap.capability import capabilities
from inbox.server.imap.outcome import Done, EndConnection, No
from inbox.server.imap.session import ImapSession
from inbox.server.transport import Disconnected
from inbox.wire.imap import render
from inbox.wire.imap.commands import Authenticate, ClientId, Enable, Login, Nothing
from inbox.wire.imap.errors import BadCommand

#: Extensions that ENABLE can switch on (RFC 5161 §3.1: others are ignored).
_SWITCHES: Final[frozenset[str]] = frozenset()
#: Fields of ID that are logged, and characters of each name and value (RFC 2971 §3.3: up to 30 fields of 1024 octets).
_ID_FIELDS: Final = 8
_ID_CHARACTERS: Final = 64


async def capability(s: ImapSession, _: Nothing) -> Done:
    s.send(b"* CAPABILITY " + capabilities(s).encode("ascii") + b"\r\n")
    return Done()


async def noop(_s: ImapSession, _: Nothing) -> Done:
    return Done()


async def client_id(s: ImapSession, client: ClientId) -> Done:
    """RFC 2971. The server logs the client's identification once, shortened, and does not use it otherwise."""
    if not s.identified:
        s.identified = True
        s.backend.log.info(
            "imap_client", session=s.session.id, peer=str(s.session.peer), fields=_shortened(client.fields)
        )
    s.send(render.id_response({"name": "inbox"}))
    return Done()


def _shortened(fields: Mapping[str, str | None] | None) -> dict[str, str]:
    """The first few fields, without characters that could disturb a terminal or a log reader."""
    some = islice((fields or {}).items(), _ID_FIELDS)
    return {_clean(name): _clean(value or "") for name, value in some}


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_ID_CHARACTERS])


async def enable(s: ImapSession, wanted: Enable) -> Done:
    switched = [word for word in wanted.extensions if word in _SWITCHES]
    s.enabled.update(switched)
    s.send(" ".join(["* ENABLED", *switched]).encode("ascii") + b"\r\n")
    return Done()


async def logout(s: ImapSession, _: Nothing) -> Done:
    s.send(render.status("*", "BYE", "Goodbye"))
    return Done("Logged out", then=partial(_leave, s))


async def _leave(s: ImapSession) -> None:
    await s.flush()  # before the mailbox is closed, which may have to wait for the database
    raise Disconnected("logged out")


async def starttls(s: ImapSession, _: Nothing) -> Done:
    """RFC 3501 §6.2.1. Input that follows the command in plain text is discarded: anyone could have injected it."""
    if s.session.tls is not None:
        raise BadCommand("TLS is already active")
    if not s.may_start_tls:
        raise BadCommand("TLS is not available")
    s.channel.hold()
    s.framer.clear()
    return Done("Begin TLS negotiation now", then=s.start_tls)


async def login(s: ImapSession, wanted: Login) -> Done:
    if s.session.tls is None:
        raise No("Login requires TLS", "PRIVACYREQUIRED")  # RFC 5530
    return await _check(s, wanted.user, wanted.password)


async def authenticate(s: ImapSession, wanted: Authenticate) -> Done:
    """SASL PLAIN (RFC 4616), with or without an initial response (RFC 4959)."""
    if wanted.mechanism != "PLAIN":
        raise No("Unsupported authentication mechanism", "CANNOT")
    if s.session.tls is None:
        raise No("Login requires TLS", "PRIVACYREQUIRED")
    response = wanted.initial
    if response is None:
        s.go_ahead(b"")
        response = await s.line(AUTH_LINE_OCTETS)
        if response == b"*":  # RFC 3501 §6.2.2: the client cancels
            raise BadCommand("Authentication cancelled")
    try:
        message = base64.b64decode(b"" if response == b"=" else response, validate=True).decode("utf-8")
        acting_as, user, password = message.split("\0")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise BadCommand("Invalid SASL PLAIN response") from None
    if acting_as not in ("", user):
        raise No("Authorization as another user is not allowed", "AUTHORIZATIONFAILED")
    return await _check(s, user, password)


async def _check(s: ImapSession, user: str, password: str) -> Done:
    try:
        s.logged_in(await s.backend.login.login(s.session, user, password))
    except AuthenticationFailed as error:
        s.failures += 1
        if s.failures >= s.config.login_failures:
            raise EndConnection("Too many failed logins") from error
        raise No(error.text, "AUTHENTICATIONFAILED") from error
    return Done("Logged in", f"CAPABILITY {capabilities(s)}")
