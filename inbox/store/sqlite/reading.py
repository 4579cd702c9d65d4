"""Bulk reads of entries, with as little work as possible for each entry outside of SQLite.

A row that Python fetches costs about half a microsecond and a switch of the interpreter lock; a string that SQLite
builds from all rows arrives in one step, during which other threads run.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from inbox.store.listing import Listing, packed
from inbox.store.ports.messages import Column, MailboxChanges
from inbox.store.sqlite import rows
from inbox.store.sqlite.entries import uids_json

#: Messages in one page: with long columns a few hundred KB at most, unless messages are unusual.
PAGE: Final = 200
NARROW_PAGE: Final = 2000
#: Changes read at once; those that share the last one's modseq are added.
CHANGES_PAGE: Final = 2000

_OF_ENTRY: Final[frozenset[Column]] = frozenset({"modseq", "size", "received_at", "prepended"})
_NARROW: Final[frozenset[Column]] = frozenset({"modseq", "size", "received_at"})

#: All entries as JSON in no particular order, as ``uid * 256 + flags``; entries with keywords are listed separately.
_LISTING: Final = (
    "SELECT json_group_array(uid << 8 | flags),"
    " json_group_array(json_array(uid, json(keywords))) FILTER (WHERE keywords <> '[]')"
    ' FROM has_email_delivery WHERE "out" = ?'
)
_decode_numbers: Final = msgspec.json.Decoder(list[int]).decode
_decode_keywords: Final = msgspec.json.Decoder(list[tuple[int, tuple[str, ...]]]).decode


def listing(db: sqlite3.Connection, mailbox: str, modseq: int) -> Listing:
    """Returns all entries of a mailbox whose current modseq is ``modseq``."""
    numbers_text, keywords_text = db.execute(_LISTING, (mailbox,)).fetchone()
    numbers = _decode_numbers(numbers_text)
    numbers.sort()
    uids = array("I", [number >> 8 for number in numbers])
    flags = bytes([number & 255 for number in numbers])
    # Equal lists of keywords share one object: a client may have set the same keyword on all messages.
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    keywords = [(uid, known.setdefault(words, words)) for uid, words in _decode_keywords(keywords_text)]
    return packed(modseq, uids, flags, keywords)


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """A page of changes up to ``changes.modseq``; ``complete`` is True if there are no later ones."""

    changes: MailboxChanges
    complete: bool


def changes(db: sqlite3.Connection, mailbox: str, modseq: int, since: int, most: int = CHANGES_PAGE) -> ChangesPage:
    """Returns the first changes after ``since`` of a mailbox whose current modseq is ``modseq``."""
    # While Python builds objects from rows the event loop's thread cannot run, so not all rows are read at once.
    upto = modseq
    for table, box in (("has_email_delivery", '"out"'), ("expunged", "mailbox")):
        beyond = db.execute(
            f"SELECT modseq FROM {table} WHERE {box} = ? AND modseq > ? ORDER BY modseq LIMIT 1 OFFSET ?",
            (mailbox, since, most),
        ).fetchone()
        if beyond is not None:
            upto = min(upto, beyond[0])
    changed = db.execute(
        'SELECT uid, modseq, flags, keywords FROM has_email_delivery WHERE "out" = ? AND modseq > ? AND modseq <= ? '
        # "+" keeps SQLite from reading the whole mailbox in the order of uids.
        "ORDER BY +uid",
        (mailbox, since, upto),
    ).fetchall()
    gone = db.execute(
        "SELECT uid FROM expunged WHERE mailbox = ? AND modseq > ? AND modseq <= ? ORDER BY uid",
        (mailbox, since, upto),
    ).fetchall()
    found = MailboxChanges(upto, tuple(rows.entry(row) for row in changed), tuple(uid for (uid,) in gone))
    return ChangesPage(found, upto == modseq)


def page_size(names: Sequence[Column]) -> int:
    return NARROW_PAGE if _NARROW.issuperset(names) else PAGE


def columns(
    db: sqlite3.Connection, tenant: str, mailbox: str, uids: Sequence[int], names: Sequence[Column]
) -> list[tuple[Any, ...]]:
    """Returns one page of ``Messages.columns``; ``uids`` are ascending and distinct."""
    if not uids:
        return []
    chosen = ", ".join(["d.uid", *[f"{'d' if name in _OF_ENTRY else 'e'}.{name}" for name in names]])
    if _OF_ENTRY.issuperset(names):
        sql = f'SELECT {chosen} FROM has_email_delivery d WHERE d."out" = ?'
        values: list[Any] = [mailbox]
    else:
        sql = (
            f'SELECT {chosen} FROM has_email_delivery d JOIN email e ON e.id = d."in" '
            'WHERE d."out" = ? AND e.organization = ?'
        )
        values = [mailbox, tenant]
    first, last = uids[0], uids[-1]
    if last - first < 2 * len(uids):
        # Most clients ask for adjacent uids: a range scan costs a quarter of individual lookups.
        found = db.execute(f"{sql} AND d.uid BETWEEN ? AND ? ORDER BY d.uid", (*values, first, last)).fetchall()
        if last - first + 1 == len(uids):
            return found
        wanted = set(uids)
        return [row for row in found if row[0] in wanted]
    return db.execute(
        f"{sql} AND d.uid IN (SELECT value FROM json_each(?)) ORDER BY d.uid", (*values, uids_json(uids))
    ).fetchall()
