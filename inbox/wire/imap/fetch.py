"""Parser of the items of FETCH (RFC 3501 §6.4.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from inbox.base.limits import IMAP_FETCH_ITEMS, MIME_DEPTH
from inbox.wire.imap.cursor import Cursor
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.render import astring

#: Items that consist of one word.
WORDS: Final = frozenset(
    {"FLAGS", "UID", "INTERNALDATE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "MODSEQ"}
    | {"RFC822", "RFC822.SIZE", "RFC822.HEADER", "RFC822.TEXT"}
)
_MACROS: Final = {
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
_WORD: Final = re.compile(rb"[A-Za-z0-9.]+")
_PART: Final = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*")
_TEXT: Final = re.compile(rb"(?:HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME)(?=[\] ])", re.IGNORECASE)
_PARTIAL: Final = re.compile(rb"<([0-9]{1,10})\.([1-9][0-9]{0,9})>")


@dataclass(frozen=True, slots=True)
class Word:
    """One of :data:`WORDS`."""

    name: str


@dataclass(frozen=True, slots=True)
class Section:
    """``BODY[part.text (fields)]<offset.length>``.

    Attributes:
        part: numbers of the part; empty for the message itself.
        text: ``""`` (the whole part), HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME.
        fields: field names as the client spelled them.
        peek: do not set ``\\Seen``.
        partial: offset and length in octets, or None.
    """

    part: tuple[int, ...] = ()
    text: str = ""
    fields: tuple[bytes, ...] = ()
    peek: bool = False
    partial: tuple[int, int] | None = None

    def label(self) -> bytes:
        """The section's name in the response: without PEEK, and with the offset only."""
        spec = ".".join([*map(str, self.part), *([self.text] if self.text else [])]).encode("ascii")
        if self.fields:
            spec += b" (" + b" ".join(map(astring, self.fields)) + b")"
        origin = b"" if self.partial is None else b"<%d>" % self.partial[0]
        return b"BODY[" + spec + b"]" + origin


Item = Word | Section


def read_items(cursor: Cursor) -> tuple[Item, ...]:
    """The items of one FETCH with macros expanded, without duplicates.

    Raises:
        BadCommand: syntax error, or more than ``IMAP_FETCH_ITEMS``.
    """
    if cursor.peek() == b"(":
        items = cursor.items(lambda: _item(cursor), "Fetch item")
        if not items:
            raise cursor.bad("Fetch item")
    else:
        start = cursor.pos
        word = cursor.match(_WORD, "Fetch item").decode("ascii").upper()
        if word in _MACROS:
            return tuple(map(Word, _MACROS[word]))
        cursor.pos = start
        items = [_item(cursor)]
    if len(items) > IMAP_FETCH_ITEMS:
        raise BadCommand(f"More than {IMAP_FETCH_ITEMS} fetch items", word="NO", response_code="LIMIT")
    return tuple(dict.fromkeys(items))


def _item(cursor: Cursor) -> Item:
    name = cursor.match(_WORD, "Fetch item").decode("ascii").upper()
    if name in ("BODY", "BODY.PEEK") and cursor.skip(b"["):
        return _section(cursor, name == "BODY.PEEK")
    if name not in WORDS:
        raise BadCommand(f"Unknown FETCH item: {name[:40]}")
    return Word(name)


def _section(cursor: Cursor, peek: bool) -> Section:
    part: tuple[int, ...] = ()
    text = ""
    fields: tuple[bytes, ...] = ()
    if cursor.peek().isdigit():
        part = tuple(map(int, cursor.match(_PART, "Part number").split(b".")))
        if len(part) > 2 * MIME_DEPTH:
            raise BadCommand("Section is nested too deeply", word="NO", response_code="LIMIT")
        if cursor.peek() == b".":
            cursor.pos += 1
            text = cursor.match(_TEXT, "Section text").decode("ascii").upper()
    elif cursor.peek() != b"]":
        text = cursor.match(_TEXT, "Section text").decode("ascii").upper()
    if text == "MIME" and not part:  # RFC 3501 §6.4.5: MIME requires a part number
        raise BadCommand("MIME requires a part number")
    if text.startswith("HEADER.FIELDS"):
        cursor.space()
        fields = tuple(cursor.items(lambda: cursor.astring("Field name"), "List of field names"))
        if not fields:
            raise cursor.bad("Field name")
    cursor.expect(b"]", "]")
    return Section(part, text, fields, peek, _partial(cursor))


def _partial(cursor: Cursor) -> tuple[int, int] | None:
    if cursor.peek() != b"<":
        return None
    found = _PARTIAL.match(cursor.text, cursor.pos)
    if found is None:
        raise cursor.bad("<offset.length>")
    cursor.pos = found.end()
    return int(found[1]), int(found[2])
