"""Commands that change messages: STORE, COPY, MOVE, EXPUNGE."""

from __future__ import annotations

from typing import cast

from inbox.flow.mailboxes import Access, Entry, StoreMode, StoreStep
from inbox.flow.mailboxes.slices import expunge_in_slices
from inbox.mail.flags import changed_flags, changed_keywords
from inbox.server.imap.mailboxes import target
from inbox.server.imap.outcome import Done, No
from inbox.server.imap.select import selected, writable
from inbox.server.imap.selected import Selected
from inbox.server.imap.session import ImapSession
from inbox.server.imap.view import View
from inbox.wire.imap.commands import Expunge, Store, Transfer
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.sequence import SequenceSet, compact

_GONE = "Another session expunged some of these messages"


def uids_of(view: View, numbers: SequenceSet, *, uid: bool) -> list[int]:
    """The uids of a set, ascending. Raises BadCommand if a sequence number exceeds the number of messages."""
    places = view.places(numbers, uid=uid)
    if places is None:
        raise BadCommand("Invalid message sequence number")
    found: list[int] = []
    for some in places:
        found += view.uids[some.start : some.stop].tolist()
    return found


async def store(s: ImapSession, wanted: Store) -> Done:
    here = writable(s)
    view = here.view
    uids = uids_of(view, wanted.numbers, uid=wanted.uid)
    if not uids:
        return Done()
    stored = 0
    storing = s.backend.messages.store(here.access, uids, cast(StoreMode, wanted.mode), wanted.flags, wanted.keywords)
    async for step in storing:
        stored += len(step.entries)
        await _send_stored(s, here, step, wanted)
    if stored < len(uids) and not wanted.uid:
        raise No(_GONE, "EXPUNGEISSUED")  # RFC 2180 §4.2
    return Done("Stored")


async def _send_stored(s: ImapSession, here: Selected, step: StoreStep, wanted: Store) -> None:
    """Applies the result of one step to the view, and queues the responses for it."""
    view = here.view
    for entry in step.entries:
        place = view.index(entry.uid)
        if wanted.silent and place is not None and not _expected(view, place, entry, wanted):
            here.unknown(entry.uid)
        view.update(entry)
    view.follow(step.modseq)
    here.announce_flags(s.send)
    for entry in () if wanted.silent else step.entries:
        here.know(entry.uid)
        place = view.index(entry.uid)
        if place is not None:
            name = b"UID %d " % entry.uid if wanted.uid else b""
            s.send(b"* %d FETCH (%bFLAGS %b)\r\n" % (place + 1, name, view.flags_of(place)))
            await s.pace()


def _expected(view: View, place: int, entry: Entry, wanted: Store) -> bool:
    """False if the message has other flags than the client has to assume after a silent STORE: another session changed
    them, and RFC 3501 §6.4.6 asks the server to report that."""
    mode = cast(StoreMode, wanted.mode)
    flags = changed_flags(view.bits(place), mode, wanted.flags)
    words = changed_keywords(view.keywords(place), mode, wanted.keywords)
    return flags == entry.flags and set(map(str.lower, words)) == set(map(str.lower, entry.keywords))


async def copy(s: ImapSession, wanted: Transfer) -> Done:
    """RFC 3501 §6.4.7: all or nothing; RFC 4315 §3: COPYUID maps old to new uids."""
    here = selected(s)
    into = await target(s, wanted.name)
    uids = uids_of(here.view, wanted.numbers, uid=wanted.uid)
    if not uids:
        return Done("Nothing to copy")
    pairs = await s.backend.messages.copy(here.access, uids, into)
    if not pairs:
        raise No(_GONE, "EXPUNGEISSUED")
    s.changed(into.mailbox.id)
    return Done("Copied", _copyuid(into, pairs))


async def move(s: ImapSession, wanted: Transfer) -> Done:
    """RFC 6851: each message is copied and removed atomically; COPYUID is untagged and precedes the expunges (§4.3)."""
    here = writable(s)
    view = here.view
    into = await target(s, wanted.name)
    uids = uids_of(view, wanted.numbers, uid=wanted.uid)
    if not uids:
        return Done("Nothing to move")
    pairs = await s.backend.messages.move(here.access, uids, into)
    if not pairs:
        raise No(_GONE, "EXPUNGEISSUED")
    s.send(b"* OK [" + _copyuid(into, pairs).encode("ascii") + b"] Moved\r\n")
    await expunge_in_slices(view, [old for old, _ in pairs])
    s.changed(into.mailbox.id)  # if the target is the selected mailbox, the messages are also new at its end
    return Done("Moved")


def _copyuid(into: Access, pairs: list[tuple[int, int]]) -> str:
    old, new = compact(old for old, _ in pairs), compact(new for _, new in pairs)
    return f"COPYUID {into.mailbox.uid_validity} {old.decode('ascii')} {new.decode('ascii')}"


async def expunge(s: ImapSession, wanted: Expunge) -> Done:
    """RFC 3501 §6.4.3; with uids, only these (RFC 4315 §2.1)."""
    here = writable(s)
    view = here.view
    uids = None if wanted.numbers is None else uids_of(view, wanted.numbers, uid=True)
    gone = await s.backend.messages.expunge(here.access, uids)
    await expunge_in_slices(view, gone)
    return Done("Expunged")
