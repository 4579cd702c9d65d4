"""FETCH: from the view what it knows, from the database what is stored ready to send, from the blob the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.mail.flags import Flag
from inbox.server.imap.outcome import Done, No
from inbox.server.imap.parts import COPY, Copy, Found, Nil, Row, batches
from inbox.server.imap.select import selected
from inbox.server.imap.view import View
from inbox.store.records import Column
from inbox.wire.imap.commands import Fetch
from inbox.wire.imap.dates import render_date_time
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.fetch import Item, Section

if TYPE_CHECKING:
    from inbox.server.imap.session import ImapSession

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
#: Messages that the view answers for without a pause.
_AT_ONCE: Final = 500
#: RFC 3501 §6.4.5: the old names of sections. RFC822.HEADER does not set \\Seen.
_OLD_NAMES: Final = {
    "RFC822": Section(),
    "RFC822.HEADER": Section(text="HEADER", peek=True),
    "RFC822.TEXT": Section(text="TEXT"),
}


_Sections = list[tuple[bytes, Found | Nil]]
#: Finds what a word is answered with: in the view at a place, or in the row of the database.
_Reader = Callable[[View, int, Row], Any]


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
    def columns(self) -> tuple[Column, ...]:
        """What the database is asked for."""
        wanted = [_COLUMNS[word] for word in self.words if word not in _FROM_VIEW]
        return tuple(dict.fromkeys((*COPY, *wanted) if self.sections else wanted))

    def form(self, *more: str) -> bytes:
        """The response up to the sections; takes the message's number and what :meth:`readers` read."""
        return b"* %d FETCH (" + b" ".join([_FORMS[word] for word in (*self.words, *more)])

    def readers(self, *more: str) -> list[_Reader]:
        columns = self.columns
        return [_reader(word, columns) for word in (*self.words, *more)]


def _reader(word: str, columns: Sequence[Column]) -> _Reader:
    if word == "FLAGS":
        return lambda view, place, _: view.flags_of(place)
    if word == "UID":
        return lambda view, place, _: view.uids[place]
    at = 1 + columns.index(_COLUMNS[word])
    match word:
        case "MODSEQ":
            # The flags that the client is told are those at the view's modseq, even if the row's are newer.
            return lambda view, _, row: min(row[at], view.modseq)
        case "INTERNALDATE":
            return lambda _view, _place, row: render_date_time(row[at])
        case _:
            return lambda _view, _place, row: row[at]


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
    if plan.from_view:
        await _from_view(s, view, places, plan)
        return Done("Fetched")
    seen_now = await _see(s, places) if plan.sees and not view.read_only else set()
    uids = [uid for some in places for uid in view.uids[some.start : some.stop]]
    if plan.sections:
        found = await _with_sections(s, view, uids, plan, seen_now)
    else:
        found = await _from_rows(s, view, uids, plan)
    if found < len(uids) and not wanted.uid:
        raise No("Some of these messages were expunged by somebody else", "EXPUNGEISSUED")  # RFC 2180 §4.1.2
    return Done("Fetched")


async def _see(s: ImapSession, places: Sequence[range]) -> set[int]:
    """Marks what is fetched as ``\\Seen``, in one write; returns the uids whose flags the client must be told."""
    here = selected(s)
    view = here.view
    unseen = [view.uids[place] for some in places for place in some if not view.bits(place) & Flag.SEEN]
    if not unseen:
        return set()
    entries, _ = await s.backend.database.messages.store(here.tenant, view.mailbox.id, unseen, "add", Flag.SEEN)
    told = {entry.uid for entry in entries if view.update(entry)}
    for uid in told:
        here.know(uid)
    return told


async def _from_view(s: ImapSession, view: View, places: Sequence[range], plan: _Plan) -> None:
    form, readers = plan.form() + b")\r\n", plan.readers()
    for some in places:
        for start in range(some.start, some.stop, _AT_ONCE):
            batch = range(start, min(start + _AT_ONCE, some.stop))
            s.send(b"".join([form % (place + 1, *[read(view, place, ()) for read in readers]) for place in batch]))
            await s.pace()


async def _from_rows(s: ImapSession, view: View, uids: Sequence[int], plan: _Plan) -> int:
    """Answers with columns as they are stored; returns for how many messages."""
    form, readers = plan.form() + b")\r\n", plan.readers()
    found = 0
    async for page in s.backend.database.messages.columns(
        view.mailbox.organization, view.mailbox.id, uids, plan.columns
    ):
        found += len(page)
        places = [view.index(row[0]) for row in page]
        s.send(
            b"".join(
                [
                    form % (place + 1, *[read(view, place, row) for read in readers])
                    for place, row in zip(places, page, strict=True)
                    if place is not None
                ]
            )
        )
        await s.pace()
    return found


async def _with_sections(s: ImapSession, view: View, uids: Sequence[int], plan: _Plan, seen_now: set[int]) -> int:
    """Answers with parts of messages, too; returns for how many. Raises No if some could not be read."""
    pages = s.backend.database.messages.columns(view.mailbox.organization, view.mailbox.id, uids, plan.columns)
    plain = plan.form(), plan.readers()
    # RFC 3501 §6.4.5: who makes a message \Seen by reading it is told of its flags.
    seen = (plan.form("FLAGS"), plan.readers("FLAGS")) if "FLAGS" not in plan.words else plain
    found = unreadable = 0
    async for batch in batches(pages, len(plan.sections)):
        for row, sections in zip(batch, await _ready(s, view, batch, plan), strict=True):
            if sections is None:
                unreadable += 1
            elif (place := view.index(row[0])) is not None:
                form, readers = seen if row[0] in seen_now else plain
                s.send(form % (place + 1, *[read(view, place, row) for read in readers]))
                await _send_sections(s, sections, first=not readers)
                found += 1
            await s.pace()
    if unreadable:
        raise No("Some of these messages cannot be read", "SERVERBUG")
    return found


async def _ready(s: ImapSession, view: View, batch: Sequence[Row], plan: _Plan) -> Sequence[_Sections | None]:
    """The sections of each message, with their first octets: a blob that cannot be read spoils no response.

    None for such a message: one lost blob must not hide the messages behind it from a client that fetches them all.
    """
    if not plan.from_blob:
        return [await _sections(s, view, row, plan) for row in batch]
    return await asyncio.gather(*[_sections(s, view, row, plan) for row in batch])


async def _sections(s: ImapSession, view: View, row: Row, plan: _Plan) -> _Sections | None:
    copy = Copy(row, s.backend.blobs)
    try:
        return [(label, await copy.section(section)) for label, section in plan.sections]
    except StoreUnavailable:
        raise
    except StoreError as error:
        s.backend.log.error(  # noqa: TRY400  see Log
            "imap_message_unreadable", mailbox=view.mailbox.id, uid=row[0], error=str(error)
        )
        return None


async def _send_sections(s: ImapSession, sections: _Sections, *, first: bool) -> None:
    for label, found in sections:
        s.send(label + b" " if first else b" " + label + b" ")
        first = False
        await found.send(s)
    s.send(b")\r\n")
