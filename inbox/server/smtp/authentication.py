"""AUTH: a user logs in to the submission server (RFC 4954).

The mechanisms are SCRAM-SHA-256 (RFC 7677), PLAIN (RFC 4616) and LOGIN; where the server accepts access tokens, also
OAUTHBEARER (RFC 7628) and XOAUTH2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from inbox.base.errors import AuthenticationFailed, StoreUnavailable
from inbox.flow.ports import SaslLogin
from inbox.identity.tokens import Bearer, TokenError, read_oauthbearer, read_xoauth2
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Identity
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
#: RFC 7628 §3.2: the client learns that its token is invalid, and answers before the exchange fails.
_INVALID_TOKEN: Final = b'{"status":"invalid_token"}'

#: One mechanism: receives the initial response, if there was one; returns who has logged in. Raises CommandError,
#: AuthenticationFailed, StoreUnavailable.
_Mechanism = Callable[[SmtpSession, SaslLogin, bytes | None], Awaitable[Identity]]


async def auth(s: SmtpSession, argument: str) -> None:
    wanted = sasl.parse_auth(argument)
    login = s.backend.login
    if login is None or wanted.mechanism not in s.mechanisms:
        raise CommandError(504, "5.5.4", "Unrecognized authentication mechanism")
    try:
        identity = await _MECHANISMS[wanted.mechanism](s, login, wanted.initial)
    except AuthenticationFailed:
        s.login_failures += 1
        s.say(_TOO_MANY if s.login_failures >= s.config.login_failures else _FAILED)
    except StoreUnavailable:
        s.say(_UNAVAILABLE)
    else:
        s.logged_in(identity)
        s.dialogue.succeeded(Verb.AUTH)
        s.say(_SUCCEEDED)


async def _plain(s: SmtpSession, login: SaslLogin, initial: bytes | None) -> Identity:
    user, password = sasl.parse_plain(await _ask(s, b"") if initial is None else initial)
    return await login.login(s.session, user, password)


async def _login(s: SmtpSession, login: SaslLogin, initial: bytes | None) -> Identity:
    user = sasl.text(await _ask(s, sasl.USERNAME) if initial is None else initial)
    return await login.login(s.session, user, sasl.text(await _ask(s, sasl.PASSWORD)))


async def _scram(s: SmtpSession, login: SaslLogin, initial: bytes | None) -> Identity:
    exchange = login.scram(s.session)
    challenge = await exchange.challenge(await _ask(s, b"") if initial is None else initial)
    identity, final = await exchange.finish(await _ask(s, challenge))
    # RFC 4954 §4: a success has no room for the server's last message, so it is a challenge with an empty response.
    if await _ask(s, final):
        raise CommandError(501, "5.5.2", "An empty response is expected")
    return identity


async def _oauthbearer(s: SmtpSession, login: SaslLogin, initial: bytes | None) -> Identity:
    return await _with_token(s, login, initial, read_oauthbearer)


async def _xoauth2(s: SmtpSession, login: SaslLogin, initial: bytes | None) -> Identity:
    return await _with_token(s, login, initial, read_xoauth2)


async def _with_token(
    s: SmtpSession, login: SaslLogin, initial: bytes | None, read: Callable[[bytes], Bearer]
) -> Identity:
    try:
        bearer = read(await _ask(s, b"") if initial is None else initial)
    except TokenError as error:
        raise CommandError(501, "5.5.2", f"Invalid response: {error}") from None
    try:
        return await login.bearer(s.session, bearer.address, bearer.token)
    except AuthenticationFailed:
        await _ask(s, _INVALID_TOKEN)
        raise


_MECHANISMS: Final[Mapping[str, _Mechanism]] = {
    "SCRAM-SHA-256": _scram,
    "PLAIN": _plain,
    "LOGIN": _login,
    "OAUTHBEARER": _oauthbearer,
    "XOAUTH2": _xoauth2,
}


async def _ask(s: SmtpSession, challenge: bytes) -> bytes:
    """Sends a challenge; returns the client's response, decoded.

    Raises:
        CommandError: the client cancels, or its line is too long or not base64; 421: the server stops.
    """
    s.receiver.expect_response()
    s.say(Reply(334, "", sasl.encode(challenge)))
    since = s.backend.clock.monotonic()
    while (event := s.receiver.next_event()) is None:
        if s.leaving:
            raise CommandError(s.last_reply.code, s.last_reply.enhanced, s.last_reply.text)
        await s.more(since + s.config.command_seconds, since)
    if isinstance(event, Response):
        return sasl.decode(event.line)
    if isinstance(event, Malformed) and event.error.text == "Line too long":
        raise CommandError(500, "5.5.6", "Authentication exchange line is too long")
    raise CommandError(501, "5.5.2", "Lines must end with CRLF")
