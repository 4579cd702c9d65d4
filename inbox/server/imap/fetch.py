"""FETCH: from the view what it knows, from the database what is stored ready to send, from the blob the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.mail.flags import Flag
from inbox.server.imap.outcome import Done, No
from inbox.server.imap.parts import Copy, Found, Nil, batches
from inbox.server.imap.select import selected
from inbox.server.imap.session import ImapSession
from inbox.server.imap.view import View
from inbox.store.records import StoredMessage
from inbox.wire.imap.commands import Fetch
from inbox.wire.imap.dates import render_date_time
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.fetch import Item, Section

_FROM_VIEW: Final = frozenset({"FLAGS", "UID", "MODSEQ"})
_FORMS: Final = {"FLAGS": b"FLAGS %b", "UID": b"UID %d", "MODSEQ": b"MODSEQ (%d)"}
_READERS: Final[dict[str, Callable[[View, int], bytes | int]]] = {
    "FLAGS": View.flags_of,
    "UID": lambda view, place: view.uids[place],
    "MODSEQ": lambda view, place: view.modseqs[place],
}
#: Messages that the view answers for without a pause.
_AT_ONCE: Final = 500
_WITHOUT_TEXTS: Final = _FROM_VIEW | {"INTERNALDATE", "RFC822.SIZE"}
#: RFC 3501 §6.4.5: the old names of sections. RFC822.HEADER does not set \\Seen.
_OLD_NAMES: Final = {
    "RFC822": Section(),
    "RFC822.HEADER": Section(text="HEADER", peek=True),
    "RFC822.TEXT": Section(text="TEXT"),
}


_Sections = list[tuple[bytes, Found | Nil]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one FETCH does for each message. ``sections`` are pairs of label and section, in the client's order."""

    words: tuple[str, ...]
    sections: tuple[tuple[bytes, Section], ...]
    sees: bool

    @property
    def from_view(self) -> bool:
        return not self.sections and _FROM_VIEW.issuperset(self.words)

    @property
    def from_blob(self) -> bool:
        """False if the header sections in the database are enough."""
        return any(section.part or not section.text.startswith("HEADER") for _, section in self.sections)

    @property
    def texts(self) -> bool:
        return bool(self.sections) or not _WITHOUT_TEXTS.issuperset(self.words)


def _planned(items: Sequence[Item], *, uid: bool) -> _Plan:
    words: list[str] = ["UID"] if uid else []
    sections: list[tuple[bytes, Section]] = []
    for item in items:
        if isinstance(item, Section):
            sections.append((item.label(), item))
        elif item.name in _OLD_NAMES:
            sections.append((item.name.encode("ascii"), _OLD_NAMES[item.name]))
        elif item.name not in words:
            words.append(item.name)
    return _Plan(tuple(words), tuple(sections), any(not section.peek for _, section in sections))


async def fetch(s: ImapSession, wanted: Fetch) -> Done:
    here = selected(s)
    view = here.view
    places = view.places(wanted.numbers, uid=wanted.uid)
    if places is None:
        raise BadCommand("No message has such a number")
    plan = _planned(wanted.items, uid=wanted.uid)
    seen_now = await _see(s, places) if plan.sees and not view.read_only else set()
    if plan.from_view:
        await _from_view(s, view, places, plan.words)
        return Done("Fetched")
    uids = [uid for some in places for uid in view.uids[some.start : some.stop]]
    found = 0
    messages = s.backend.database.messages.fetch(here.tenant, view.mailbox.id, uids, texts=plan.texts)
    unreadable = 0
    async for batch in batches(messages, len(plan.sections)):
        for stored, sections in zip(batch, await _ready(s, batch, plan), strict=True):
            if sections is None:
                unreadable += 1
            else:
                found += await _one(s, view, stored, plan, sections, told=stored.entry.uid in seen_now)
            await s.pace()
    if unreadable:
        raise No("Some of these messages cannot be read", "SERVERBUG")
    if found < len(uids) and not wanted.uid:
        raise No("Some of these messages were expunged by somebody else", "EXPUNGEISSUED")  # RFC 2180 §4.1.2
    return Done("Fetched")


async def _see(s: ImapSession, places: Sequence[range]) -> set[int]:
    """Marks what is fetched as ``\\Seen``, in one write; returns the uids whose flags the client must be told."""
    here = selected(s)
    view = here.view
    unseen = [view.uids[place] for some in places for place in some if not view.flags[place] & Flag.SEEN]
    if not unseen:
        return set()
    entries, _ = await s.backend.database.messages.store(here.tenant, view.mailbox.id, unseen, "add", Flag.SEEN)
    told = {entry.uid for entry in entries if view.update(entry)}
    for uid in told:
        here.know(uid)
    return told


async def _from_view(s: ImapSession, view: View, places: Sequence[range], words: Sequence[str]) -> None:
    form = b"* %d FETCH (" + b" ".join([_FORMS[word] for word in words]) + b")\r\n"
    readers = [_READERS[word] for word in words]
    for some in places:
        for start in range(some.start, some.stop, _AT_ONCE):
            batch = range(start, min(start + _AT_ONCE, some.stop))
            s.send(b"".join([form % (place + 1, *[read(view, place) for read in readers]) for place in batch]))
            await s.pace()


def _known(view: View, place: int, word: str) -> bytes:
    return _FORMS[word] % _READERS[word](view, place)


async def _ready(s: ImapSession, batch: Sequence[StoredMessage], plan: _Plan) -> Sequence[_Sections | None]:
    """The sections of each message, with their first octets: a blob that cannot be read spoils no response.

    None for such a message: one lost blob must not hide the messages behind it from a client that fetches them all.
    """
    if not plan.from_blob:
        return [await _sections(s, stored, plan) for stored in batch]
    return await asyncio.gather(*[_sections(s, stored, plan) for stored in batch])


async def _sections(s: ImapSession, stored: StoredMessage, plan: _Plan) -> _Sections | None:
    copy = Copy(stored, s.backend.blobs)
    try:
        return [(label, await copy.section(section)) for label, section in plan.sections]
    except StoreUnavailable:
        raise
    except StoreError as error:
        s.backend.log.error("imap_message_unreadable", email=stored.email.id, error=str(error))  # noqa: TRY400  see Log
        return None


async def _one(
    s: ImapSession, view: View, stored: StoredMessage, plan: _Plan, sections: _Sections, *, told: bool
) -> bool:
    """Answers for one message; False if it turned out to be gone."""
    place = view.index(stored.entry.uid)
    if place is None:
        return False
    words = [_word(view, place, stored, word) for word in plan.words]
    if told and "FLAGS" not in plan.words:
        words.append(_known(view, place, "FLAGS"))
    s.send(b"* %d FETCH (" % (place + 1) + b" ".join(words))
    for number, (label, found) in enumerate(sections):
        s.send((b" " if number or words else b"") + label + b" ")
        await found.send(s)
    s.send(b")\r\n")
    return True


def _word(view: View, place: int, stored: StoredMessage, word: str) -> bytes:
    match word:
        case "ENVELOPE":
            return b"ENVELOPE " + stored.email.envelope
        case "BODYSTRUCTURE":
            return b"BODYSTRUCTURE " + stored.email.bodystructure
        case "BODY":
            return b"BODY " + stored.email.body
        case "RFC822.SIZE":
            return b"RFC822.SIZE %d" % stored.size
        case "INTERNALDATE":
            return b"INTERNALDATE " + render_date_time(stored.received_at)
        case _:
            return _known(view, place, word)
