"""APPEND: the message is refused before it comes, or streamed to where it waits until it is filed."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from inbox.base.errors import StorageFull
from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import Content, FileContent, MemoryContent
from inbox.mail.tenancy import Mailbox
from inbox.server.imap.outcome import Done, No
from inbox.server.imap.session import ImapSession
from inbox.store.room import FULL, Room
from inbox.wire.imap.commands import Append
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Broken

#: Octets gathered for one write to the spool file.
_GATHER: Final = 256 * 1024


async def destination(s: ImapSession, wanted: Append) -> Mailbox:
    """The mailbox that the message goes into.

    Raises:
        No: there is none (TRYCREATE), or the message is too large (TOOBIG, RFC 7889 §4) or empty.
    """
    if wanted.size > s.config.max_message_octets:
        raise No(f"Messages may have up to {s.config.max_message_octets} octets", "TOOBIG")
    if not wanted.size:
        raise No("An empty message is none")
    mailbox = await s.backend.database.mailboxes.by_name(s.identity.tenant, s.identity.account, wanted.name)
    if mailbox is None:
        raise No("No such mailbox", "TRYCREATE")
    return mailbox


async def receive(s: ImapSession, wanted: Append, mailbox: Mailbox) -> Done:
    """Takes the announced literal and files it. Raises No, InboxError, BadCommand."""
    content = await _content(s, wanted.size)
    rest = await s.rest_of_command()
    if isinstance(rest, Broken):
        raise rest.reason
    if not rest.text.endswith(b"}\r\n"):
        raise BadCommand("Nothing may follow the message")
    placed = await s.backend.appending.append(
        s.session, mailbox, content, wanted.flags, wanted.keywords, wanted.internal_date
    )
    s.changed(placed.mailbox)
    return Done("Appended", f"APPENDUID {mailbox.uid_validity} {placed.uid}")  # RFC 4315 §3


async def _content(s: ImapSession, size: int) -> Content:
    if size <= SPOOL_OCTETS:
        return MemoryContent(b"".join([piece async for piece in _pieces(s)]))
    return await _spooled(s)


async def _pieces(s: ImapSession) -> AsyncIterator[bytes]:
    while True:
        octets = await s.octets()
        yield octets.data
        if not octets.left:
            return


async def _spooled(s: ImapSession) -> Content:
    room = Room(s.config.spool_dir)
    room.check()
    fd, name = await asyncio.to_thread(tempfile.mkstemp, ".eml", "append-", s.config.spool_dir)
    path = Path(name)
    try:
        try:
            gathered = bytearray()
            async for piece in _pieces(s):
                gathered += piece
                if len(gathered) >= _GATHER:
                    room.check(len(gathered))
                    await asyncio.to_thread(_write, fd, gathered)
                    gathered = bytearray()
            await asyncio.to_thread(_write, fd, gathered)
        finally:
            os.close(fd)
        return FileContent(path, unlink=True)
    except BaseException as error:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL:
            raise StorageFull(f"spool {s.config.spool_dir}: {error}") from error
        raise


def _write(fd: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
