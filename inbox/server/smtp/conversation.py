"""Serve one connection from the banner to the last reply: identify the client, read commands, run them in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inbox.base.peers import site_of
from inbox.mail.reply import Reply
from inbox.server.proxied import NotListed, read_proxy_header
from inbox.server.smtp.dispatch import Rule
from inbox.server.smtp.message import LOCAL_PROBLEM
from inbox.server.smtp.session import SmtpSession
from inbox.server.transport import Disconnected, Evicted, TimedOut
from inbox.wire import proxy
from inbox.wire.smtp.command import Command
from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.receiver import Malformed
from inbox.wire.smtp.state import FOREIGN, NOT_OFFERED, Verb

TOO_MANY: Final = Reply(421, "4.7.0", "Too many connections, try again later")
_TOO_MANY_OF_YOURS: Final = Reply(421, "4.7.0", "Too many connections from your network, try again later")
_TIMED_OUT: Final = Reply(421, "4.4.2", "Timeout, closing connection")
#: Replies that are gathered before they are written while more pipelined commands are available.
_GATHER: Final = 64


async def serve(s: SmtpSession, commands: Mapping[Verb, Rule]) -> None:
    """Serves the connection to its end; no error escapes."""
    log = s.backend.log
    try:
        if await _identify(s):
            try:
                await _greet(s)
                await _converse(s, commands)
            except TimedOut:
                await _say_last(s, _TIMED_OUT)
            except Evicted:
                log.info("smtp_evicted", peer=str(s.session.peer), in_message=s.in_text)
                await _say_last(s, TOO_MANY)
            finally:
                if not s.service.trusted:
                    s.backend.limits.leave_peer(s.session.peer)
    except Disconnected:
        log.debug("smtp_client_gone", session=s.session.id, in_message=s.in_text)
    # A defect of the server: it is logged and ends this connection only.
    except Exception:
        log.error("smtp_connection_failed", session=s.session.id, peer=str(s.session.peer), exc_info=True)
        s.say(Reply(421, "4.3.0", "Local problem, try again later"))
    finally:
        s.backend.limits.leave(s.channel)  # first: a client may reconnect as soon as it sees the end
        s.close()


async def _say_last(s: SmtpSession, reply: Reply) -> None:
    """Sends the last reply; if a message was being received, its refusal is recorded."""
    s.say(await s.refused("data", reply) if s.in_text else reply)


# -- before the banner


async def _identify(s: SmtpSession) -> bool:
    """Determines the client's address; False if it has too many connections already."""
    limits, session = s.backend.limits, s.session
    refusal: Reply | None = None
    if s.config.proxy_networks:
        await _read_proxy_header(s)
        s.share.network = site_of(session.peer)
        if not limits.identify(s.channel, session.peer):
            refusal = TOO_MANY
    if refusal is None and not s.service.trusted and not limits.enter_peer(session.peer):
        refusal = _TOO_MANY_OF_YOURS
    if refusal is None:
        return True
    s.backend.log.warning("smtp_too_many_connections", peer=str(session.peer))
    s.say(refusal)
    return False


async def _read_proxy_header(s: SmtpSession) -> None:
    """Takes the client's address from the PROXY header. Raises Disconnected, without a reply, if there is none."""
    config, log, session = s.config, s.backend.log, s.session
    try:
        proxied = await read_proxy_header(s.channel, config.proxy_networks, config.proxy_seconds, s.backend.clock)
    except NotListed as error:
        log.warning("smtp_proxy_not_listed", peer=str(session.peer))
        raise Disconnected(str(error)) from error
    except (proxy.ProxyError, TimedOut, Evicted) as error:
        log.warning("smtp_proxy_header_missing", peer=str(session.peer), error=str(error))
        raise Disconnected("no PROXY header") from error
    if proxied is not None:
        session.peer, session.peer_port = proxied.source, proxied.source_port
        session.local_port = proxied.destination_port


async def _greet(s: SmtpSession) -> None:
    session = s.session
    if s.config.greet_delay_seconds:
        await s.channel.pause(s.config.greet_delay_seconds)
    session.early_talker = s.channel.buffered > 0
    refusal = await s.backend.receiving.connect(session)
    session.early_talker = s.channel.buffered > 0
    if refusal is None:
        s.say(Reply(220, "", f"{s.config.hostname} {s.config.banner}"))
    else:
        s.say(refusal)
        s.closing = True


# -- commands


async def _converse(s: SmtpSession, commands: Mapping[Verb, Rule]) -> None:
    """Runs one command after the other until the client or the server ends the session."""
    receiver, clock, seconds = s.receiver, s.backend.clock, s.config.command_seconds
    since: float | None = None
    while not s.closing:
        await s.share.pause()
        event = receiver.next_event()
        if event is None:
            if s.leaving and s.envelope is None:
                s.say(s.last_reply)
                return
            # The deadline is for the whole command: sending it octet by octet gives the client no more time.
            since = clock.monotonic() if since is None else since
            await s.more(since + seconds, since)
            continue
        since = None
        if type(event) is Command:
            await _obey(s, commands, event)
        elif type(event) is Malformed:
            s.say(Reply.of(event.error))
        if s.gathered >= _GATHER:
            await s.flush()
        if s.budget.closing_reason:
            s.say(Reply(421, "4.7.0", s.budget.closing_reason))


async def _obey(s: SmtpSession, commands: Mapping[Verb, Rule], command: Command) -> None:
    verb = command.verb
    if verb is None or (rule := commands.get(verb)) is None:
        s.say(_unknown(command.word))
        return
    try:
        if not rule.reads:
            s.dialogue.admit(verb)
        if rule.idle:
            s.budget.idle()
        await rule.run(s, command.argument)
    except CommandError as error:
        s.say(Reply.of(error))
    except (Disconnected, TimedOut, Evicted):
        raise
    # `Receiving` does not raise: a defect in it is logged and fails this command only.
    except Exception:
        about = {"session": s.session.id, "peer": str(s.session.peer), "verb": verb.value}
        s.backend.log.error("smtp_command_failed", **about, exc_info=True)
        s.say(LOCAL_PROBLEM)


def _unknown(word: str) -> Reply:
    if word in FOREIGN:
        return Reply(421, "4.7.0", "This is a mail server")
    if word in NOT_OFFERED:
        return Reply(502, "5.5.1", "Command not implemented")
    return Reply(500, "5.5.2", "Command not recognized")
