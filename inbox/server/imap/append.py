"""APPEND: refuses the message before the client sends it, or streams it into the spool and files it."""

from __future__ import annotations

import asyncio

from inbox.flow.mailboxes import Access, Rights
from inbox.mail.content import Content
from inbox.server.imap.mailboxes import target
from inbox.server.imap.outcome import Done, No
from inbox.server.imap.session import ImapSession
from inbox.server.spool import Spool
from inbox.wire.imap.commands import Append
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Broken


async def destination(s: ImapSession, wanted: Append) -> Access:
    """The target mailbox of the message.

    Raises:
        No: the mailbox does not exist (TRYCREATE), or the message is too large (TOOBIG, RFC 7889 §4) or empty.
        NotPermitted: the user may not put messages there.
    """
    if wanted.size > s.config.max_message_octets:
        raise No(f"Message exceeds the limit of {s.config.max_message_octets} octets", "TOOBIG")
    if not wanted.size:
        raise No("Message is empty")
    access = await target(s, wanted.name)
    access.need(Rights.INSERT)
    return access


async def receive(s: ImapSession, wanted: Append, access: Access) -> Done:
    """Receives the announced literal and files it. Raises No, InboxError, BadCommand."""
    content = await _content(s)
    rest = await s.rest_of_command()
    if isinstance(rest, Broken):
        raise rest.reason
    if not rest.text.endswith(b"}\r\n"):
        raise BadCommand("Unexpected data after the message")
    placed = await s.backend.messages.append(
        s.session, access, content, wanted.flags, wanted.keywords, wanted.internal_date
    )
    s.changed(placed.mailbox)
    return Done("Appended", f"APPENDUID {access.mailbox.uid_validity} {placed.uid}")  # RFC 4315 §3


async def _content(s: ImapSession) -> Content:
    spool = Spool(s.config.spool_dir, asyncio.to_thread)
    while True:
        octets = await s.octets()
        if spool.take(octets.data):
            await spool.flush()
        if not octets.left:
            return await spool.finish()
