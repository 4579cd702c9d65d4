"""Commands about mailboxes as such: CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, NAMESPACE."""

from __future__ import annotations

from typing import Final

from inbox.mail.mailbox_name import complaint, is_too_long
from inbox.mail.tenancy import Mailbox
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.outcome import Done, No
from inbox.server.imap.session import ImapSession
from inbox.store.ports import Mailboxes
from inbox.wire.imap import render
from inbox.wire.imap.commands import Create, Nothing, OneMailbox, Rename, Status

#: RFC 6154 §2, by lower-case name. \\All and \\Flagged are views of other mailboxes, which we do not have.
SPECIAL_USES: Final = {use.lower(): use for use in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")}


async def find(s: ImapSession, name: str) -> Mailbox:
    """The client's mailbox of that name. Raises No."""
    mailbox = await s.backend.database.mailboxes.by_name(s.identity.tenant, s.identity.account, name)
    if mailbox is None:
        raise No("No such mailbox", "NONEXISTENT")
    return mailbox


async def counters(
    mailboxes: Mailboxes, config: ImapConfig, tenant: str, mailbox: Mailbox, items: tuple[str, ...]
) -> dict[str, int]:
    """What STATUS asks for, by item. Raises NotFound."""
    status = await mailboxes.status(tenant, mailbox.id)
    known = {
        "MESSAGES": status.messages,
        "RECENT": status.recent,
        "UIDNEXT": status.next_uid,
        "UIDVALIDITY": status.uid_validity,
        "UNSEEN": status.unseen,
        "HIGHESTMODSEQ": status.modseq,
        "SIZE": status.size,
        "APPENDLIMIT": config.max_message_octets,
    }
    return {item: known[item] for item in items}


async def status(s: ImapSession, wanted: Status) -> Done:
    mailbox = await find(s, wanted.name)
    found = await counters(s.backend.database.mailboxes, s.config, s.identity.tenant, mailbox, wanted.items)
    s.send(render.status_response(wanted.name, found))
    return Done()


async def create(s: ImapSession, wanted: Create) -> Done:
    _check_name(wanted.name)
    use = None
    if wanted.special_use:
        use = SPECIAL_USES.get(wanted.special_use[0].lower())
        if use is None or len(wanted.special_use) > 1:
            raise No("A mailbox has one of " + " ".join(SPECIAL_USES.values()), "USEATTR")  # RFC 6154 §3
    mailboxes, who = s.backend.database.mailboxes, s.identity
    if use is not None and any(other.special_use == use for other in await mailboxes.all(who.tenant, who.account)):
        raise No(f"Another mailbox is {use} already", "USEATTR")
    for name, its_use in [*((above, None) for above in await _missing(s, wanted.name)), (wanted.name, use)]:
        # The client itself decides what it is subscribed to (RFC 3501 §6.3.6).
        await mailboxes.create(who.tenant, who.account, name, its_use)
    return Done("Created")


async def _missing(s: ImapSession, name: str) -> list[str]:
    """The levels above ``name`` that do not exist, from the top."""
    who = s.identity
    there = {mailbox.name for mailbox in await s.backend.database.mailboxes.all(who.tenant, who.account)}
    parts = name.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    return [level for level in above if level not in there]


async def delete(s: ImapSession, wanted: OneMailbox) -> Done:
    if wanted.name == "INBOX":
        raise No("INBOX cannot be deleted", "CANNOT")
    mailbox = await find(s, wanted.name)
    await s.backend.database.mailboxes.delete(s.identity.tenant, mailbox.id)
    if s.selected is not None and s.selected.view.mailbox.id == mailbox.id:
        await s.deselect()
        s.send(render.status("*", "OK", "The selected mailbox was deleted", "CLOSED"))
    return Done("Deleted")


async def rename(s: ImapSession, wanted: Rename) -> Done:
    _check_name(wanted.target)
    # RFC 3501 §6.3.5: what is below INBOX stays when INBOX is renamed, so its messages may go there.
    if wanted.source != "INBOX" and wanted.target.startswith(wanted.source + "/"):
        raise No("A mailbox cannot go into itself", "CANNOT")
    mailbox = await find(s, wanted.source)
    # What lies below goes along (but for INBOX), and by renaming what is above it a name could grow without end.
    for name in await _below(s, wanted.source) if wanted.source != "INBOX" else ():
        _check_name(wanted.target + name[len(wanted.source) :])
    await s.backend.database.mailboxes.rename(s.identity.tenant, mailbox.id, wanted.target)
    return Done("Renamed")


async def _below(s: ImapSession, name: str) -> list[str]:
    who = s.identity
    mailboxes = await s.backend.database.mailboxes.all(who.tenant, who.account)
    return [mailbox.name for mailbox in mailboxes if mailbox.name.startswith(name + "/")]


def _check_name(name: str) -> None:
    trouble = complaint(name)
    if trouble is not None:
        raise No(trouble, "LIMIT" if is_too_long(name) else "CANNOT")


async def subscribe(s: ImapSession, wanted: OneMailbox) -> Done:
    """RFC 3501 §6.3.6; the server checks that the mailbox exists now, not that it stays."""
    await find(s, wanted.name)
    await _subscribe(s, wanted.name, subscribed=True)
    return Done("Subscribed")


async def unsubscribe(s: ImapSession, wanted: OneMailbox) -> Done:
    """RFC 3501 §6.3.7: the mailbox may be gone."""
    await _subscribe(s, wanted.name, subscribed=False)
    return Done("Unsubscribed")


async def _subscribe(s: ImapSession, name: str, *, subscribed: bool) -> None:
    await s.backend.database.mailboxes.subscribe(s.identity.tenant, s.identity.account, name, subscribed)


async def namespace(s: ImapSession, _: Nothing) -> Done:
    """RFC 2342: everything is personal."""
    s.send(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return Done()
