"""The message on an SMTP connection: DATA, BDAT, and the replies to the message (RFC 5321 §4.1.1.4, RFC 3030)."""

from __future__ import annotations

from typing import Final

from inbox.mail.reply import Reply
from inbox.server.limits import CROWDED_SECONDS
from inbox.server.smtp.commands import no_argument
from inbox.server.smtp.intake import Intake, too_big
from inbox.server.smtp.session import SmtpSession
from inbox.server.transport import Disconnected
from inbox.wire.smtp.command import parse_bdat
from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.receiver import EndOfText, Text
from inbox.wire.smtp.state import Verb

LOCAL_PROBLEM: Final = Reply(451, "4.3.0", "Local problem, try again later")
_GO_AHEAD: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
_BARE: Final = Reply(550, "5.6.0", "Bare CR or LF is not allowed in message data")
_NO_MORE: Final = Reply(421, "4.7.0", "Closing connection after bare CR or LF in message data")


async def data(s: SmtpSession, argument: str) -> None:
    no_argument(argument)
    s.receiver.expect_data()
    s.say(_GO_AHEAD)
    intake = s.new_intake()
    bare = await _read_text(s, intake)
    await _complete(s, intake, bare=bare)
    if bare and not s.service.trusted:
        # The relay that sent this may recognise another end of data than this server does. Then what follows is not a
        # command but the rest of the message, written by an attacker (SMTP smuggling).
        s.say(_NO_MORE)


async def bdat(s: SmtpSession, argument: str) -> None:
    """Reads the octets of the chunk even where BDAT is not legal: otherwise they would be interpreted as commands."""
    try:
        wanted = parse_bdat(argument)
    except CommandError:
        s.closing = True  # it is unknown where the next command begins
        raise
    if wanted.octets > s.config.max_message_octets * s.config.oversize_multiple:
        s.say(await s.refused("data", too_big(s.config.max_message_octets)))
        s.closing = True
        return
    try:
        s.dialogue.admit(Verb.BDAT)
    except CommandError:
        s.receiver.expect_chunk(wanted.octets, first=s.envelope is None or s.envelope.intake is None, last=wanted.last)
        await _read_text(s, None)
        raise
    envelope = s.transaction
    intake = envelope.intake or s.new_intake()
    s.receiver.expect_chunk(wanted.octets, first=envelope.intake is None, last=wanted.last)
    bare = await _read_text(s, intake)
    if wanted.last:
        await _complete(s, intake, bare=bare)
    elif intake.trouble is not None or bare:
        # RFC 3030 §2: the message has failed; further chunks get 503.
        s.say(await s.refused("data", intake.trouble or _BARE))
        s.reset()
    else:
        if not wanted.octets:
            s.budget.idle()
        envelope.intake = intake
        s.dialogue.succeeded(Verb.BDAT)
        s.say(Reply(250, "2.0.0", f"{wanted.octets} octets received"))


async def _read_text(s: SmtpSession, intake: Intake | None) -> bool:
    """Reads to the end of the text or chunk; without an intake it is discarded. True: it has a bare CR or LF."""
    receiver, clock, config = s.receiver, s.backend.clock, s.config
    started, octets = clock.monotonic(), 0
    if intake is not None:
        # All chunks share the time of the message: otherwise a client could keep its connection with a few octets.
        envelope = s.transaction
        if envelope.text_since is None:
            envelope.text_since = started
        started, octets = envelope.text_since, intake.octets
    s.in_text = True
    while True:
        await s.share.pause()
        event = receiver.next_event()
        if event is None:
            # Each read has a time limit, and so has the whole message; after a grace period a minimum rate applies.
            # While connections are short, the grace period is short, too.
            due = octets / config.data_octets_per_second
            whole = started + min(config.data_total_seconds, config.data_grace_seconds + due)
            read = clock.monotonic() + config.data_block_seconds
            await s.more(min(whole, read), started, started + CROWDED_SECONDS + due)
        elif isinstance(event, Text):
            octets += len(event.data)
            if intake is not None:
                await intake.add(event.data)
                if intake.overflow:
                    s.say(await s.refused("data", too_big(config.max_message_octets)))
                    raise Disconnected("the message is far too large")
        elif isinstance(event, EndOfText):
            s.in_text = False
            return event.bare


async def _complete(s: SmtpSession, intake: Intake, *, bare: bool) -> None:
    """All octets have arrived: has the message judged and sends the reply."""
    try:
        replies = await _judge(s, intake, bare=bare)
    finally:
        s.reset()
    for reply in replies:
        s.say(reply)
    if any(reply.positive for reply in replies):
        s.budget.restore()


async def _judge(s: SmtpSession, intake: Intake, *, bare: bool) -> list[Reply]:
    envelope, log = s.transaction, s.backend.log
    expected = len(envelope.rcpt_tos) if s.service.reply_per_recipient else 1
    content = None if bare else await intake.finish()
    if content is None:
        return [await s.refused("data", intake.trouble or _BARE)] * expected
    # Nothing cancels this: the connection's task continues after the client has disconnected.
    try:
        replies = await s.backend.receiving.data(envelope.transaction, content)
    # `Receiving` does not raise: a defect in it is logged, and the client tries again.
    except Exception:
        log.error("smtp_data_failed", session=s.session.id, peer=str(s.session.peer), exc_info=True)
        return [LOCAL_PROBLEM] * expected
    if len(replies) != expected:
        log.error("smtp_replies_missing", expected=expected, got=len(replies))
        return [LOCAL_PROBLEM] * expected
    return replies
