"""Commands on mailboxes: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS, NAMESPACE."""

from __future__ import annotations

from inbox.flow.mailboxes import Access, NoSuchMailbox
from inbox.server.imap.outcome import Done, No
from inbox.server.imap.session import ImapSession
from inbox.wire.imap import render
from inbox.wire.imap.commands import Create, Nothing, OneMailbox, Rename, Status


async def find(s: ImapSession, name: str) -> Access:
    """The mailbox with this name. Raises NoSuchMailbox."""
    return await s.backend.names.named(s.identity, name)


async def target(s: ImapSession, name: str) -> Access:
    """The target mailbox of messages. Raises No with TRYCREATE if it does not exist, so that the client can create it
    (RFC 3501 §6.3.11)."""
    try:
        return await find(s, name)
    except NoSuchMailbox as error:
        raise No(error.text, "TRYCREATE") from error


async def counters(s: ImapSession, access: Access, items: tuple[str, ...]) -> dict[str, int]:
    """The values of STATUS by item. Raises NotFound, NotPermitted."""
    status = await s.backend.names.status(access)
    known = {
        "MESSAGES": status.messages,
        "RECENT": status.recent,
        "UIDNEXT": status.next_uid,
        "UIDVALIDITY": status.uid_validity,
        "UNSEEN": status.unseen,
        "HIGHESTMODSEQ": status.modseq,
        "SIZE": status.size,
        "APPENDLIMIT": s.config.max_message_octets,
    }
    return {item: known[item] for item in items}


async def status(s: ImapSession, wanted: Status) -> Done:
    found = await counters(s, await find(s, wanted.name), wanted.items)
    s.send(render.status_response(wanted.name, found))
    return Done()


async def create(s: ImapSession, wanted: Create) -> Done:
    if len(wanted.special_use) > 1:
        raise No("A mailbox can have only one special use", "USEATTR")  # RFC 6154 §3
    await s.backend.names.create(s.identity, wanted.name, wanted.special_use[0] if wanted.special_use else None)
    return Done("Created")


async def delete(s: ImapSession, wanted: OneMailbox) -> Done:
    deleted = await s.backend.names.delete(s.identity, wanted.name)
    if s.selected is not None and s.selected.access.mailbox.id == deleted.mailbox.id:
        await s.deselect()
        s.send(render.status("*", "OK", "The selected mailbox was deleted", "CLOSED"))
    return Done("Deleted")


async def rename(s: ImapSession, wanted: Rename) -> Done:
    await s.backend.names.rename(s.identity, wanted.source, wanted.target)
    return Done("Renamed")


async def subscribe(s: ImapSession, wanted: OneMailbox) -> Done:
    await s.backend.names.subscribe(s.identity, wanted.name)
    return Done("Subscribed")


async def unsubscribe(s: ImapSession, wanted: OneMailbox) -> Done:
    await s.backend.names.unsubscribe(s.identity, wanted.name)
    return Done("Unsubscribed")


async def namespace(s: ImapSession, _: Nothing) -> Done:
    """RFC 2342: the personal namespace is the only one."""
    s.send(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return Done()
