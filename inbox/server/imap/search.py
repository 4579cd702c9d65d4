"""SEARCH: cheap keys first. Flags and numbers are tested on the view, headers on database rows, texts on blobs."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

from inbox.base.errors import NotFound
from inbox.flow.mailboxes import Access, Column
from inbox.flow.mailboxes.reader import READER, Row, batches
from inbox.flow.mailboxes.search_body import look_in_body
from inbox.flow.mailboxes.search_text import Needles, address_words, folded, header_words, written_day
from inbox.mail.headers import Headers
from inbox.mail.sections import fields_of
from inbox.server.imap.outcome import Done
from inbox.server.imap.select import selected
from inbox.server.imap.session import ImapSession
from inbox.server.imap.view import View
from inbox.wire.imap import search as key
from inbox.wire.imap.commands import Find
from inbox.wire.imap.search import Key
from inbox.wire.imap.sequence import SequenceSet, compact

#: The source that a key needs: the view, the database row, its header section, the blob.
_VIEW, _ROW, _TEXTS, _BLOB = range(4)
#: The columns of each source: the size first, the time last, between them the two parts of the header section.
_ASKED: Final[Mapping[int, tuple[Column, ...]]] = {
    _ROW: ("size", "received_at"),
    _TEXTS: ("size", "prepended", "header_block", "received_at"),
    _BLOB: (*READER, "received_at"),
}
#: Fields that hold addresses, as SEARCH names them.
_ADDRESS_FIELDS: Final = frozenset({"FROM", "TO", "CC", "BCC", "SENDER", "REPLY-TO"})
#: Messages tested on the view alone before other sessions get their turn.
_TURN: Final = 2000
#: Octets of a header section, times keys, above which it is searched in another thread.
_COSTLY: Final = 64 * 1024


@dataclass(slots=True)
class _Facts:
    """The data of one message that its keys need. ``place`` counts from 0; ``found`` are the search texts that its blob
    contains. ``fields`` has the texts of fields by name: there may be many keys, and reading a field of 64 KB takes 50
    ms."""

    place: int
    size: int = 0
    received_at: float = 0.0
    block: bytes = b""
    header: str = ""
    found: Needles | None = None
    fields: dict[str, list[str]] = field(default_factory=dict)


_Test = Callable[[_Facts], bool]


def _level(wanted: Key) -> int:
    match wanted:
        case key.And(keys) | key.Or(keys):
            return max(map(_level, keys))
        case key.Not(inner):
            return _level(inner)
        case key.Dated(sent=False) | key.Size():
            return _ROW
        case key.Dated() | key.Header():
            return _TEXTS
        case key.Text():
            return _BLOB
        case _:
            return _VIEW


def _weight(wanted: Key) -> int:
    """Number of keys that are tested for one message."""
    match wanted:
        case key.And(keys) | key.Or(keys):
            return sum(map(_weight, keys))
        case key.Not(inner):
            return _weight(inner)
        case _:
            return 1


class _Compiler:
    """Compiles keys to predicates on one message."""

    def __init__(self, view: View) -> None:
        self._view = view

    def test(self, wanted: Key) -> _Test:
        view = self._view
        match wanted:
            case key.All():
                return lambda _: True
            case key.And(keys):
                tests = [self.test(inner) for inner in sorted(keys, key=_level)]
                return lambda m: all(test(m) for test in tests)
            case key.Or(keys):
                tests = [self.test(inner) for inner in sorted(keys, key=_level)]
                return lambda m: any(test(m) for test in tests)
            case key.Not(inner):
                test = self.test(inner)
                return lambda m: not test(m)
            case key.Flagged(flag):
                bits = int(flag)
                return lambda m: bool(view.bits(m.place) & bits)
            case key.Keyword(word):
                lowered = word.lower()
                return lambda m: lowered in map(str.lower, view.keywords(m.place))
            case key.Recent():
                return lambda m: view.is_recent(view.uids[m.place])
            case key.Numbers(numbers, uid):
                return self._numbers(numbers, uid=uid)
            case _:
                return _stored_test(wanted)

    def _numbers(self, numbers: SequenceSet, *, uid: bool) -> _Test:
        # A number without a message matches none: unlike FETCH and STORE, SEARCH accepts numbers that do not exist.
        places = self._view.known_places(numbers, uid=uid)
        # Ascending ranges: found by bisection, however many there are.
        ends = array("Q", [some.stop for some in places])

        def test(m: _Facts) -> bool:
            found = bisect_left(ends, m.place + 1)
            return found < len(places) and m.place in places[found]

        return test


def _stored_test(wanted: Key) -> _Test:
    match wanted:
        case key.Size(larger, octets):
            return lambda m: m.size > octets if larger else m.size < octets
        case key.Dated():
            dates = fields_of(["Date"])
            return lambda m: _dated(wanted, m, dates)
        case key.Header(name, value):
            return _header_test(name, value)
        case key.Text(header, value):
            return _text_test(folded(value), header=header)
        case _:
            raise TypeError(f"no test for {type(wanted).__name__}")


def _header_test(name: str, value: str) -> _Test:
    sought, named = folded(value), fields_of([name])

    def texts_in(block: bytes) -> list[str]:
        fields = named(block)
        texts = [folded(text) for text in Headers(fields).get_all(name)]
        # RFC 3501 §6.4.4 refers to FROM of the envelope: a user searches for the displayed address, however the field
        # spells it.
        return [*texts, *address_words(fields)] if name in _ADDRESS_FIELDS else texts

    def test(m: _Facts) -> bool:
        texts = m.fields.get(name)
        if texts is None:
            texts = m.fields[name] = texts_in(m.block)
        return any(sought in text for text in texts)

    return test


def _text_test(words: str, *, header: bool) -> _Test:
    def test(m: _Facts) -> bool:
        assert m.found is not None, "read from the blob first"
        if not words or words in m.found.in_body:
            return True
        return header and (words in m.header or words in m.found.in_headers)

    return test


def _texts_of(wanted: Key) -> list[key.Text]:
    """All keys that search the body."""
    match wanted:
        case key.And(keys) | key.Or(keys):
            return [text for inner in keys for text in _texts_of(inner)]
        case key.Not(inner):
            return _texts_of(inner)
        case key.Text():
            return [wanted]
        case _:
            return []


def _dated(wanted: key.Dated, m: _Facts, dates: Callable[[bytes], bytes]) -> bool:
    if wanted.sent:
        # RFC 3501 §6.4.4: the day as the sender wrote it, regardless of the time zone.
        day = written_day(Headers(dates(m.block)).get("Date"))
    else:
        day = datetime.fromtimestamp(m.received_at, UTC).date()
    if day is None:
        return False
    match wanted.when:
        case "BEFORE":
            return day < wanted.day
        case "ON":
            return day == wanted.day
        case _:
            return day >= wanted.day


async def search(s: ImapSession, wanted: Find) -> Done:
    here = selected(s)
    view = here.view
    places = await _matching(s, here.access, view, wanted.search.key)
    numbers: Sequence[int] = [view.uids[place] for place in places] if wanted.uid else [place + 1 for place in places]
    returning = wanted.search.returning
    if returning is None:
        s.send(b" ".join([b"* SEARCH", *(b"%d" % number for number in numbers)]) + b"\r\n")
        return Done("Searched")
    # RFC 4731 §3.1: ESEARCH names the command that it answers; MIN, MAX and ALL are left out when nothing was found.
    answer = b'* ESEARCH (TAG "' + s.tag.encode("ascii") + b'")' + (b" UID" if wanted.uid else b"")
    if "COUNT" in returning:
        answer += b" COUNT %d" % len(numbers)
    if numbers:
        answer += b" MIN %d" % numbers[0] if "MIN" in returning else b""
        answer += b" MAX %d" % numbers[-1] if "MAX" in returning else b""
        answer += b" ALL " + compact(numbers) if "ALL" in returning else b""
    s.send(answer + b"\r\n")
    return Done("Searched")


async def _matching(s: ImapSession, access: Access, view: View, wanted: Key) -> list[int]:
    """The places of the messages that match ``wanted``, ascending."""
    keys = wanted.keys if isinstance(wanted, key.And) else (wanted,)
    compiler = _Compiler(view)
    cheap = [compiler.test(inner) for inner in keys if _level(inner) == _VIEW]
    costly = key.And(tuple(inner for inner in keys if _level(inner) > _VIEW))
    turn = max(1, _TURN // max(1, _weight(wanted)))
    candidates = await _by_view(s, view, cheap, turn) if cheap else list(range(len(view)))
    if not costly.keys or not candidates:
        return candidates
    return await _by_content(s, access, view, candidates, compiler.test(costly), costly)


async def _by_view(s: ImapSession, view: View, tests: Sequence[_Test], turn: int) -> list[int]:
    candidates: list[int] = []
    for start in range(0, len(view), turn):
        some = map(_Facts, range(start, min(start + turn, len(view))))
        candidates += [m.place for m in some if all(test(m) for test in tests)]
        await s.pace()
    return candidates


async def _by_content(
    s: ImapSession, access: Access, view: View, candidates: list[int], test: _Test, wanted: Key
) -> list[int]:
    level, texts, weight = _level(wanted), _texts_of(wanted), _weight(wanted)
    uids = [view.uids[place] for place in candidates]
    pages = s.backend.messages.columns(access, uids, _ASKED[level])
    found: list[int] = []
    async for rows in batches(pages, pieces=4) if level == _BLOB else pages:
        await s.pace()
        looked = await asyncio.gather(*(_look(s, row, texts) for row in rows)) if level == _BLOB else [None] * len(rows)
        for row, needles in zip(rows, looked, strict=True):
            await s.share.pause()
            place = view.index(row[0])
            if place is None or (level == _BLOB and needles is None):
                continue
            facts = _Facts(place, row[1], row[-1], found=needles)
            if level >= _TEXTS:
                facts.block = row[2] + row[3]
            work = partial(_holds, test, facts, words=level == _BLOB)
            costly = level >= _TEXTS and len(facts.block) * weight > _COSTLY
            if await asyncio.to_thread(work) if costly else work():
                found.append(place)
    return found


def _holds(test: _Test, facts: _Facts, *, words: bool) -> bool:
    if words:
        facts.header = header_words(facts.block)
    return test(facts)


async def _look(s: ImapSession, row: Row, texts: Sequence[key.Text]) -> Needles | None:
    """The search texts that the blob of a message contains; None if it was swept during the search."""
    needles = Needles(folded(text.value) for text in texts)
    try:
        await look_in_body(s.backend.messages.reader(row), needles, headers=any(text.header for text in texts))
    except NotFound:
        return None
    return needles
