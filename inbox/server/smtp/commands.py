"""The commands of SMTP and LMTP, except AUTH and those that carry the message (RFC 5321 §4.1.1).

A command is called when it is legal in the state of the connection. It raises CommandError for invalid
syntax; otherwise it sends its own reply, and notifies the dialogue when it has succeeded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from inbox.base.limits import SMTP_SURPLUS_RECIPIENTS
from inbox.mail.reply import Reply
from inbox.server.smtp.intake import too_big
from inbox.server.smtp.session import SmtpSession
from inbox.server.transport import Disconnected
from inbox.wire.smtp.command import check_helo, parse_mail, parse_rcpt
from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.parameters import OVER_TLS, check_release
from inbox.wire.smtp.reply import render_lines
from inbox.wire.smtp.state import Verb

_OK: Final = Reply(250, "2.0.0", "OK")


def no_argument(argument: str) -> None:
    """Raises CommandError if an argument is present."""
    if argument:
        raise CommandError(501, "5.5.4", "No argument expected")


# -- the greeting


async def ehlo(s: SmtpSession, argument: str) -> None:
    """EHLO, and LHLO of LMTP (RFC 2033 §4.1)."""
    if await _greeted(s, argument, esmtp=True):
        config, dialogue = s.config, s.dialogue
        words = _words(s)
        mechanisms = s.mechanisms if dialogue.offers_auth else ()
        s.say_lines(_extensions(config.hostname, config.max_message_octets, words, mechanisms, tls=dialogue.offers_tls))


async def helo(s: SmtpSession, argument: str) -> None:
    if await _greeted(s, argument, esmtp=False):
        s.say(Reply(250, "", s.config.hostname))


async def _greeted(s: SmtpSession, name: str, *, esmtp: bool) -> bool:
    session = s.session
    check_helo(name, strict=s.config.strict_helo)
    before = session.helo, session.esmtp
    session.helo, session.esmtp = name, esmtp
    refusal = await s.backend.receiving.helo(session)
    if refusal is not None:
        session.helo, session.esmtp = before
        s.say(refusal)
        return False
    s.reset()  # RFC 5321 §4.1.4
    s.dialogue.succeeded(Verb.EHLO)
    return True


@lru_cache(maxsize=16)
def _extensions(
    hostname: str, max_message_octets: int, words: tuple[str, ...], mechanisms: tuple[str, ...], *, tls: bool
) -> bytes:
    """The reply to EHLO; a server gives two or three of them, with and without STARTTLS and AUTH."""
    lines = [
        hostname.encode(),
        b"PIPELINING",
        b"SIZE %d" % max_message_octets,
        b"8BITMIME",
        b"SMTPUTF8",
        b"ENHANCEDSTATUSCODES",
        b"DSN",
        b"CHUNKING",
        *(word.encode() for word in words),
    ]
    if mechanisms:
        lines.append(b"AUTH " + " ".join(mechanisms).encode())
    return render_lines(250, [*lines, b"STARTTLS"] if tls else lines)


def _words(s: SmtpSession) -> tuple[str, ...]:
    """The extensions that not every server of this program offers."""
    words = []
    if release := _release_limits(s):
        words.append(f"FUTURERELEASE {release}")
    if "MT-PRIORITY" in s.service.mail_parameters:
        words.append("MT-PRIORITY")
    if s.offers_require_tls:
        words.append("REQUIRETLS")
    return tuple(words)


def _release_limits(s: SmtpSession) -> str:
    """RFC 4865 §3: the longest interval and the latest time of a release, to the hour; empty if none is offered."""
    seconds = s.config.hold_seconds
    if not seconds:
        return ""
    latest = (s.backend.clock.now() + seconds) // 3600 * 3600
    return f"{seconds} {datetime.fromtimestamp(latest, UTC):%Y-%m-%dT%H:%M:%SZ}"


async def starttls(s: SmtpSession, argument: str) -> None:
    """RFC 3207."""
    no_argument(argument)
    s.say(Reply(220, "2.0.0", "Go ahead"))
    session = s.session
    try:
        await s.start_tls()
    except Disconnected as error:
        s.backend.log.info("smtp_tls_failed", peer=str(session.peer), error=str(error))
        raise
    session.helo, session.esmtp, session.identity = None, False, None
    s.dialogue.succeeded(Verb.STARTTLS)


# -- the transaction


def _mail_parameters(s: SmtpSession) -> frozenset[str]:
    """The parameters of MAIL that this server recognises now, besides those that every server does."""
    known = s.service.mail_parameters
    return known | OVER_TLS if s.offers_require_tls else known


async def mail(s: SmtpSession, argument: str) -> None:
    try:
        wanted = parse_mail(argument, _mail_parameters(s))
        check_release(wanted.params, s.backend.clock.now(), s.config.hold_seconds)
    except CommandError as error:
        s.say(await s.refused("mail", Reply.of(error)))
        return
    limit = s.config.max_message_octets
    if wanted.size > limit:  # RFC 1870 §6.1
        s.say(await s.refused("mail", too_big(limit)))
        return
    reply, transaction = await s.backend.receiving.mail(s.session, wanted.sender, wanted.params)
    if reply.positive:
        if transaction is None:
            raise RuntimeError("the flow accepted MAIL without creating a transaction")
        s.begin(transaction, smtp_utf8=wanted.utf8)
        s.dialogue.succeeded(Verb.MAIL)
    s.say(reply)


async def rcpt(s: SmtpSession, argument: str) -> None:
    envelope = s.transaction
    if len(envelope.rcpt_tos) >= s.config.max_recipients:
        # Recorded once per message: all further recipients get the same reply.
        if envelope.surplus_reply is None:
            envelope.surplus_reply = await s.refused("rcpt", Reply(452, "4.5.3", "Too many recipients"))
        envelope.surplus += 1
        s.say(envelope.surplus_reply, counted=envelope.surplus > SMTP_SURPLUS_RECIPIENTS)
        return
    try:
        wanted = parse_rcpt(argument, s.config.hostname, utf8=envelope.smtp_utf8)
    except CommandError as error:
        s.dialogue.refused(Verb.RCPT)
        s.say(await s.refused("rcpt", Reply.of(error)))
        return
    reply = await s.backend.receiving.rcpt(envelope.transaction, wanted.address, wanted.notify, wanted.orcpt)
    if reply.positive:
        envelope.rcpt_tos.append(argument)
        s.dialogue.succeeded(Verb.RCPT)
    else:
        s.dialogue.refused(Verb.RCPT)
    s.say(reply)


async def rset(s: SmtpSession, argument: str) -> None:
    no_argument(argument)
    s.reset()
    s.say(_OK)


# -- the rest


async def noop(s: SmtpSession, _argument: str) -> None:
    s.say(_OK)


async def help_(s: SmtpSession, _argument: str) -> None:
    s.say(Reply(214, "2.0.0", "See RFC 5321"))


async def vrfy(s: SmtpSession, argument: str) -> None:
    if not argument:
        raise CommandError(501, "5.5.4", "An address is expected")
    # RFC 5321 §3.5.3, §7.3: only MAIL and RCPT reveal which addresses exist.
    s.say(Reply(252, "2.5.0", "Cannot VRFY user, try RCPT"))


async def expn(s: SmtpSession, _argument: str) -> None:
    s.say(Reply(502, "5.5.1", "Command not implemented"))


async def quit_(s: SmtpSession, argument: str) -> None:
    no_argument(argument)
    s.say(Reply(221, "2.0.0", "Bye"))
    s.closing = True
