"""Commands on the selected mailbox as a whole: SELECT, EXAMINE, CLOSE, UNSELECT, IDLE."""

from __future__ import annotations

import asyncio
from typing import Final

from inbox.flow.mailboxes import Rights
from inbox.server.imap.mailboxes import find
from inbox.server.imap.outcome import Done, EndConnection, No
from inbox.server.imap.selected import Selected
from inbox.server.imap.session import ImapSession
from inbox.wire.imap import render
from inbox.wire.imap.commands import Append, Nothing, OneMailbox
from inbox.wire.imap.errors import BadCommand

#: DONE and its line end; a little more for clients that add spaces.
_DONE_OCTETS: Final = 64


def selected(s: ImapSession) -> Selected:
    """The selected mailbox. Raises RuntimeError without one: the command table must prevent that."""
    if s.selected is None:
        raise RuntimeError("no mailbox is selected")
    return s.selected


def writable(s: ImapSession) -> Selected:
    """The selected mailbox. Raises No after EXAMINE, or if the user may change nothing."""
    here = selected(s)
    if here.read_only:
        raise No("Mailbox is read-only", "READ-ONLY")
    return here


async def select(s: ImapSession, wanted: OneMailbox) -> Done:
    return await _open(s, wanted.name, read_only=False)


async def examine(s: ImapSession, wanted: OneMailbox) -> Done:
    return await _open(s, wanted.name, read_only=True)


async def _open(s: ImapSession, name: str, *, read_only: bool) -> Done:
    # RFC 3501 §6.3.1: the previously selected mailbox is deselected even if this one cannot be opened.
    await s.deselect()
    access = await find(s, name)
    opened, next_uid = await Selected.open(
        s.backend.messages, access, s.backend.log, s.channel.nudge, read_only=read_only
    )
    s.selected = opened
    view = opened.view
    opened.list_flags(s.send)
    s.send(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view), view.recent_count()))
    unseen = view.first_unseen()
    if unseen is not None:
        s.send(render.status("*", "OK", "First unseen message", f"UNSEEN {unseen + 1}"))
    s.send(render.status("*", "OK", "UIDs valid", f"UIDVALIDITY {access.mailbox.uid_validity}"))
    s.send(render.status("*", "OK", "Predicted next UID", f"UIDNEXT {next_uid}"))
    s.send(render.status("*", "OK", "Highest mod-sequence", f"HIGHESTMODSEQ {view.modseq}"))
    return Done("Selected", "READ-ONLY" if opened.read_only else "READ-WRITE")


async def append_without_message(_s: ImapSession, _: Append) -> Done:
    """Raises RuntimeError: APPEND runs when its literal is announced, and the parser refuses any other APPEND."""
    raise RuntimeError("APPEND without its message")


async def close(s: ImapSession, _: Nothing) -> Done:
    """RFC 3501 §6.4.2: removes messages with ``\\Deleted``, without EXPUNGE responses. For a user who may not expunge,
    it only closes the mailbox (RFC 4314 §4)."""
    here = selected(s)
    if not here.read_only and Rights.EXPUNGE in here.access.rights:
        await s.backend.messages.expunge(here.access)
    await s.deselect()
    return Done("Closed")


async def unselect(s: ImapSession, _: Nothing) -> Done:
    """RFC 3691: like CLOSE, but removes nothing."""
    await s.deselect()
    return Done("Closed")


async def idle(s: ImapSession, _: Nothing) -> Done:
    """RFC 2177: sends changes as they happen, until the client sends DONE."""
    s.go_ahead(b"Idling")
    loop = asyncio.get_running_loop()
    end = loop.time() + s.config.idle_timeout
    while True:
        if s.selected is not None:
            await s.selected.refresh()
            await s.selected.announce(s.send, s.pace, expunges=True)
        line = s.framer.next_line(_DONE_OCTETS)
        if line is not None:
            break
        try:
            async with asyncio.timeout_at(min(end, loop.time() + s.config.idle_keepalive)):
                await s.more_or_news()
        except TimeoutError:
            if loop.time() >= end:
                raise EndConnection("Disconnected for inactivity") from None
            s.send(render.status("*", "OK", "Still here"))
    if line.strip().upper() != b"DONE":
        raise BadCommand("Expected DONE")
    return Done("IDLE terminated")
