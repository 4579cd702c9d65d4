"""AUTH: a user logs in to the submission server (RFC 4954), with PLAIN (RFC 4616) or LOGIN."""

from __future__ import annotations

from typing import Final

from inbox.base.errors import AuthenticationFailed, StoreUnavailable
from inbox.mail.reply import Reply
from inbox.server.smtp.session import SmtpSession
from inbox.wire.smtp import sasl
from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.receiver import Malformed, Response
from inbox.wire.smtp.state import Verb

_SUCCEEDED: Final = Reply(235, "2.7.0", "Authentication succeeded")
#: The same whether the user exists, is disabled, or has another password (RFC 4954 §6).
_FAILED: Final = Reply(535, "5.7.8", "Authentication credentials invalid")
_UNAVAILABLE: Final = Reply(454, "4.7.0", "Temporary authentication failure, try again later")
_TOO_MANY: Final = Reply(421, "4.7.0", "Too many failed logins")


async def auth(s: SmtpSession, argument: str) -> None:
    wanted = sasl.parse_auth(argument)
    if wanted.mechanism not in s.mechanisms:
        raise CommandError(504, "5.5.4", "Unrecognized authentication mechanism")
    credentials = await (_plain if wanted.mechanism == "PLAIN" else _login)(s, wanted.initial)
    await _check(s, credentials)


async def _plain(s: SmtpSession, initial: bytes | None) -> sasl.Credentials:
    return sasl.parse_plain(await _ask(s, b"") if initial is None else initial)


async def _login(s: SmtpSession, initial: bytes | None) -> sasl.Credentials:
    user = sasl.text(await _ask(s, sasl.USERNAME) if initial is None else initial)
    return sasl.Credentials(user, sasl.text(await _ask(s, sasl.PASSWORD)))


async def _ask(s: SmtpSession, challenge: bytes) -> bytes:
    """Sends a challenge; returns the client's response, decoded.

    Raises:
        CommandError: the client cancels, or its line is too long or not base64.
    """
    s.receiver.expect_response()
    s.say(Reply(334, "", sasl.encode(challenge)))
    since = s.backend.clock.monotonic()
    while (event := s.receiver.next_event()) is None:
        if s.leaving:
            raise CommandError(s.farewell.code, s.farewell.enhanced, s.farewell.text)
        await s.more(since + s.config.command_seconds, since)
    if isinstance(event, Response):
        return sasl.decode(event.line)
    if isinstance(event, Malformed) and event.error.text == "Line too long":
        raise CommandError(500, "5.5.6", "Authentication exchange line is too long")
    raise CommandError(501, "5.5.2", "Lines must end with CRLF")


async def _check(s: SmtpSession, credentials: sasl.Credentials) -> None:
    login = s.backend.login
    if login is None:
        raise RuntimeError("AUTH was admitted by a server without logins")
    try:
        identity = await login.login(s.session, credentials.user, credentials.password)
    except AuthenticationFailed:
        s.login_failures += 1
        s.say(_TOO_MANY if s.login_failures >= s.config.login_failures else _FAILED)
    except StoreUnavailable:
        s.say(_UNAVAILABLE)
    else:
        s.logged_in(identity)
        s.dialogue.succeeded(Verb.AUTH)
        s.say(_SUCCEEDED)
