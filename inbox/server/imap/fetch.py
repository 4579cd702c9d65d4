"""FETCH: flags and UIDs come from the view, prepared responses from the database, everything else from the blob."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.flow.mailboxes import Access, Column
from inbox.flow.mailboxes.reader import READER, Row, batches
from inbox.mail.flags import Flag
from inbox.server.imap.outcome import Done, No
from inbox.server.imap.parts import Found, Nil, Wanted
from inbox.server.imap.select import selected
from inbox.server.imap.session import ImapSession
from inbox.server.imap.view import View
from inbox.wire.imap.commands import Fetch
from inbox.wire.imap.dates import render_date_time
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.fetch import Item, Section

_FROM_VIEW: Final = frozenset({"FLAGS", "UID"})
_FORMS: Final = {
    "FLAGS": b"FLAGS %b",
    "UID": b"UID %d",
    "MODSEQ": b"MODSEQ (%d)",
    "RFC822.SIZE": b"RFC822.SIZE %d",
    "INTERNALDATE": b"INTERNALDATE %b",
    "ENVELOPE": b"ENVELOPE %b",
    "BODY": b"BODY %b",
    "BODYSTRUCTURE": b"BODYSTRUCTURE %b",
}
_COLUMNS: Final[Mapping[str, Column]] = {
    "MODSEQ": "modseq",
    "RFC822.SIZE": "size",
    "INTERNALDATE": "received_at",
    "ENVELOPE": "envelope",
    "BODY": "body",
    "BODYSTRUCTURE": "bodystructure",
}
#: Messages whose responses are sent without a pause.
_AT_ONCE: Final = 500
_END: Final = b")\r\n"
#: RFC 3501 §6.4.5: the old names of sections. RFC822.HEADER does not set \\Seen.
_OLD_NAMES: Final = {
    "RFC822": Section(),
    "RFC822.HEADER": Section(text="HEADER", peek=True),
    "RFC822.TEXT": Section(text="TEXT"),
}


_Sections = list[tuple[bytes, Found | Nil]]
#: Reads the value of an item for each of many messages: from the view at their places, or from their rows.
_Reader = Callable[[View, Sequence[int], Sequence[Row]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The work of one FETCH for each message. ``sections`` are in the client's order."""

    words: tuple[str, ...]
    sections: tuple[Wanted, ...]
    sees: bool

    @property
    def from_view(self) -> bool:
        return not self.sections and _FROM_VIEW.issuperset(self.words)

    @property
    def from_blob(self) -> bool:
        """False if the header sections in the database are enough."""
        return not all(section.in_header for section in self.sections)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns to read from the database."""
        wanted = [_COLUMNS[word] for word in self.words if word not in _FROM_VIEW]
        return tuple(dict.fromkeys((*READER, *wanted) if self.sections else wanted))


@dataclass(frozen=True, slots=True)
class _Form:
    """The format of a response without its sections and its end. ``text`` takes the sequence number and the values."""

    text: bytes
    readers: tuple[_Reader, ...]

    @classmethod
    def of(cls, words: Sequence[str], columns: Sequence[Column], end: bytes) -> _Form:
        text = b"* %d FETCH (" + b" ".join([_FORMS[word] for word in words]) + end
        return cls(text, tuple(_reader(word, columns) for word in words))

    def fill(self, view: View, places: Sequence[int], rows: Sequence[Row]) -> bytes:
        """The responses for these messages, built column by column, so that the work for each message runs in C."""
        numbers = [place + 1 for place in places]
        values = [read(view, places, rows) for read in self.readers]
        return b"".join(map(self.text.__mod__, zip(numbers, *values, strict=True)))


def _reader(word: str, columns: Sequence[Column]) -> _Reader:
    if word == "FLAGS":
        return lambda view, places, _: view.flags_at(places)
    if word == "UID":
        return lambda view, places, _: map(view.uids.__getitem__, places)
    at = 1 + columns.index(_COLUMNS[word])
    match word:
        case "MODSEQ":
            # The client receives the flags at the view's modseq, even if those of the row are newer.
            return lambda view, _, rows: [min(row[at], view.modseq) for row in rows]
        case "INTERNALDATE":
            return lambda _view, _places, rows: [render_date_time(row[at]) for row in rows]
        case _:
            return lambda _view, _places, rows: map(itemgetter(at), rows)


def _planned(items: Sequence[Item], *, uid: bool) -> _Plan:
    words: list[str] = ["UID"] if uid else []
    sections: list[Wanted] = []
    sees = False
    for item in items:
        if isinstance(item, Section):
            sections.append(Wanted.of(item))
            sees = sees or not item.peek
        elif item.name in _OLD_NAMES:
            old = _OLD_NAMES[item.name]
            sections.append(Wanted.of(old, item.name.encode("ascii")))
            sees = sees or not old.peek
        elif item.name not in words:
            words.append(item.name)
    return _Plan(tuple(words), tuple(sections), sees)


async def fetch(s: ImapSession, wanted: Fetch) -> Done:
    here = selected(s)
    access, view = here.access, here.view
    places = view.places(wanted.numbers, uid=wanted.uid)
    if places is None:
        raise BadCommand("Invalid message sequence number")
    plan = _planned(wanted.items, uid=wanted.uid)
    if plan.from_view:
        await _from_view(s, view, places, plan)
        return Done("Fetched")
    seen_now = await _see(s, places) if plan.sees and not here.read_only else set()
    uids = [uid for some in places for uid in view.uids[some.start : some.stop]]
    if plan.sections:
        found = await _with_sections(s, access, view, uids, plan, seen_now)
    else:
        found = await _from_rows(s, access, view, uids, plan)
    if found < len(uids) and not wanted.uid:
        raise No("Another session expunged some of these messages", "EXPUNGEISSUED")  # RFC 2180 §4.1.2
    return Done("Fetched")


async def _see(s: ImapSession, places: Sequence[range]) -> set[int]:
    """Sets ``\\Seen`` on the fetched messages in one write; returns the uids whose flags the client must receive."""
    here = selected(s)
    view = here.view
    unseen = [view.uids[place] for some in places for place in some if not view.bits(place) & Flag.SEEN]
    if not unseen:
        return set()
    entries = await s.backend.messages.mark_seen(here.access, unseen)
    changed = {entry.uid for entry in entries if view.update(entry)}
    for uid in changed:
        here.unknown(uid)  # until its response is sent: a message that cannot be read gets no response
    here.announce_flags(s.send)  # other sessions may have added keywords that the responses contain
    return changed


async def _from_view(s: ImapSession, view: View, places: Sequence[range], plan: _Plan) -> None:
    form = _Form.of(plan.words, (), _END)
    for some in places:
        for start in range(some.start, some.stop, _AT_ONCE):
            s.send(form.fill(view, range(start, min(start + _AT_ONCE, some.stop)), ()))
            await s.pace()


async def _from_rows(s: ImapSession, access: Access, view: View, uids: Sequence[int], plan: _Plan) -> int:
    """Responds with stored columns; returns the number of messages."""
    form = _Form.of(plan.words, plan.columns, _END)
    found = 0
    async for page in s.backend.messages.columns(access, uids, plan.columns):
        for start in range(0, len(page), _AT_ONCE):
            rows = page[start : start + _AT_ONCE]
            s.send(form.fill(view, view.indices([row[0] for row in rows]), rows))
            await s.pace()
        found += len(page)
    return found


async def _with_sections(
    s: ImapSession, access: Access, view: View, uids: Sequence[int], plan: _Plan, seen_now: set[int]
) -> int:
    """Responds with sections of messages, too; returns the number of messages. Raises No if some could not be read."""
    pages = s.backend.messages.columns(access, uids, plan.columns)
    plain = seen = _Form.of(plan.words, plan.columns, b"")
    # RFC 3501 §6.4.5: a client that sets \Seen by reading a message receives its flags.
    if "FLAGS" not in plan.words:
        seen = _Form.of((*plan.words, "FLAGS"), plan.columns, b"")
    found = unreadable = 0
    async for batch in batches(pages, len(plan.sections)):
        for row, sections in zip(batch, await _ready(s, access, batch, plan), strict=True):
            if sections is None:
                unreadable += 1
            else:
                form = seen if row[0] in seen_now else plain
                s.send(form.fill(view, view.indices([row[0]]), [row]))
                await _send_sections(s, sections, first=not form.readers)
                if row[0] in seen_now:
                    selected(s).know(row[0])
                found += 1
            await s.pace()
    if unreadable:
        raise No("Some of these messages cannot be read", "SERVERBUG")
    return found


async def _ready(s: ImapSession, access: Access, batch: Sequence[Row], plan: _Plan) -> Sequence[_Sections | None]:
    """The sections of each message with their first octets, so that an unreadable blob is noticed before its response
    begins.

    None for such a message: one lost blob must not hide the messages behind it from a client that fetches them all.
    """
    if not plan.from_blob:
        return [await _sections(s, access, row, plan) for row in batch]
    return await asyncio.gather(*[_sections(s, access, row, plan) for row in batch])


async def _sections(s: ImapSession, access: Access, row: Row, plan: _Plan) -> _Sections | None:
    message = s.backend.messages.reader(row)
    try:
        return [(section.label, await section.find(message)) for section in plan.sections]
    except StoreUnavailable:
        raise
    except StoreError as error:
        s.backend.log.error(  # noqa: TRY400  see Log
            "imap_message_unreadable", mailbox=access.mailbox.id, uid=row[0], error=str(error)
        )
        return None


async def _send_sections(s: ImapSession, sections: _Sections, *, first: bool) -> None:
    for label, found in sections:
        s.send(label + b" " if first else b" " + label + b" ")
        first = False
        await found.send(s)
    s.send(_END)
