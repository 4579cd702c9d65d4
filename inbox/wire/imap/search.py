"""Parser of the keys and return options of SEARCH (RFC 3501 §6.4.4, RFC 4731)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from inbox.base.limits import SEARCH_DEPTH, SEARCH_KEYS
from inbox.mail.flags import Flag, FlagError, parse_flags
from inbox.wire.imap.cursor import Cursor
from inbox.wire.imap.dates import read_date
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.sequence import SequenceSet

RETURN_OPTIONS: Final = ("MIN", "MAX", "ALL", "COUNT")
CHARSETS: Final = ("US-ASCII", "UTF-8")


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class And:
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of these. A chain of ORs is one ``Or``, so its length does not count as depth."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Not:
    key: Key


@dataclass(frozen=True, slots=True)
class Numbers:
    """Messages with these sequence numbers, or (``uid``) with these UIDs."""

    numbers: SequenceSet
    uid: bool


@dataclass(frozen=True, slots=True)
class Flagged:
    """Messages that have the system flag."""

    flag: Flag


@dataclass(frozen=True, slots=True)
class Keyword:
    word: str


@dataclass(frozen=True, slots=True)
class Recent:
    """Messages that are recent in this session."""


@dataclass(frozen=True, slots=True)
class Dated:
    """Matches INTERNALDATE, or (``sent``) the Date: field. Times and zones are ignored (RFC 3501 §6.4.4)."""

    sent: bool
    when: Literal["BEFORE", "ON", "SINCE"]
    day: date


@dataclass(frozen=True, slots=True)
class Size:
    larger: bool
    octets: int


@dataclass(frozen=True, slots=True)
class Header:
    """Messages with a field ``name`` that contains ``value``; the empty value matches any."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Text:
    """Messages whose body, or (``header``) whose header or body, contains ``value``."""

    header: bool
    value: str


Key = All | And | Or | Not | Numbers | Flagged | Keyword | Recent | Dated | Size | Header | Text

_SIMPLE: Final[dict[str, Key]] = {
    "ALL": All(),
    "ANSWERED": Flagged(Flag.ANSWERED),
    "DELETED": Flagged(Flag.DELETED),
    "DRAFT": Flagged(Flag.DRAFT),
    "FLAGGED": Flagged(Flag.FLAGGED),
    "NEW": And((Recent(), Not(Flagged(Flag.SEEN)))),
    "OLD": Not(Recent()),
    "RECENT": Recent(),
    "SEEN": Flagged(Flag.SEEN),
    "UNANSWERED": Not(Flagged(Flag.ANSWERED)),
    "UNDELETED": Not(Flagged(Flag.DELETED)),
    "UNDRAFT": Not(Flagged(Flag.DRAFT)),
    "UNFLAGGED": Not(Flagged(Flag.FLAGGED)),
    "UNSEEN": Not(Flagged(Flag.SEEN)),
}
_DATES: Final[dict[str, tuple[bool, Literal["BEFORE", "ON", "SINCE"]]]] = {
    "BEFORE": (False, "BEFORE"),
    "ON": (False, "ON"),
    "SINCE": (False, "SINCE"),
    "SENTBEFORE": (True, "BEFORE"),
    "SENTON": (True, "ON"),
    "SENTSINCE": (True, "SINCE"),
}
_FIELDS: Final = ("BCC", "CC", "FROM", "SUBJECT", "TO")


@dataclass(frozen=True, slots=True)
class Search:
    """``returning`` is None for a plain SEARCH, and the options of RETURN otherwise (``ALL`` if there were none)."""

    key: Key
    returning: tuple[str, ...] | None = None


def read_search(cursor: Cursor) -> Search:
    """Parse the arguments of ``SEARCH``.

    Raises:
        BadCommand: syntax error, or too many or too deeply nested keys; BADCHARSET if the charset is not supported.
    """
    cursor.space()
    returning: tuple[str, ...] | None = None
    if cursor.text[cursor.pos : cursor.pos + 7].upper() == b"RETURN ":
        cursor.pos += 7
        returning = tuple(dict.fromkeys(cursor.items(lambda: _option(cursor), "Return option"))) or ("ALL",)
        cursor.space()
    if cursor.text[cursor.pos : cursor.pos + 8].upper() == b"CHARSET ":
        cursor.pos += 8
        charset = cursor.astring("Charset").decode("ascii", "replace").upper()
        if charset not in CHARSETS:
            raise BadCommand("Charset not supported", word="NO", response_code=f"BADCHARSET ({' '.join(CHARSETS)})")
        cursor.space()
    return Search(_Reader(cursor).keys(0, b""), returning)


def _option(cursor: Cursor) -> str:
    option = cursor.word("Return option")
    if option not in RETURN_OPTIONS:
        raise BadCommand(f"Unknown return option: {option[:40]}")
    return option


class _Reader:
    """Reads keys and counts them: keys may contain keys, so their depth and number must be bounded."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.count = 0

    def keys(self, depth: int, closing: bytes) -> Key:
        """Keys up to ``closing``, all of which must match."""
        keys = [self.key(depth)]
        while not (self.cursor.skip(closing) if closing else self.cursor.at_end):
            self.cursor.space()
            if not closing and self.cursor.at_end:
                break  # a space at the end is accepted
            keys.append(self.key(depth))
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def key(self, depth: int) -> Key:
        cursor = self.cursor
        self.count += 1
        if depth > SEARCH_DEPTH or self.count > SEARCH_KEYS:
            raise BadCommand("Search too complex", word="NO", response_code="LIMIT")
        here = cursor.peek()
        if here == b"(":
            cursor.pos += 1
            return self.keys(depth + 1, b")")
        if here.isdigit() or here == b"*":
            return Numbers(SequenceSet.read(cursor), uid=False)
        name = cursor.word("Search key")
        if name in _SIMPLE:
            return _SIMPLE[name]
        cursor.space()
        return self._with_argument(name, depth)

    def _with_argument(self, name: str, depth: int) -> Key:
        cursor = self.cursor
        if name in _DATES:
            return Dated(*_DATES[name], read_date(cursor))
        if name in _FIELDS:
            return Header(name, self._text())
        match name:
            case "NOT":
                return Not(self.key(depth + 1))
            case "OR":
                return self._alternatives(depth)
            case "HEADER":
                field = cursor.astring("Field name").decode("latin-1").upper()
                cursor.space()
                return Header(field, self._text())
            case "BODY" | "TEXT":
                return Text(name == "TEXT", self._text())
            case "KEYWORD" | "UNKEYWORD":
                word = self._keyword()
                return Keyword(word) if name == "KEYWORD" else Not(Keyword(word))
            case "LARGER" | "SMALLER":
                return Size(name == "LARGER", cursor.number())
            case "UID":
                return Numbers(SequenceSet.read(cursor), uid=True)
            case _:
                raise BadCommand(f"Unknown search key: {name[:40]}")

    def _alternatives(self, depth: int) -> Key:
        """Behind ``OR``: clients write a list of n alternatives as a chain of n - 1 ORs."""
        cursor = self.cursor
        found: list[Key] = []
        while True:
            found.append(self.key(depth + 1))
            cursor.space()
            if cursor.text[cursor.pos : cursor.pos + 3].upper() != b"OR ":
                return Or((*found, self.key(depth + 1)))
            cursor.pos += 3

    def _keyword(self) -> str:
        word = self.cursor.flag()
        try:
            parse_flags([word])
        except FlagError:
            raise BadCommand("Invalid keyword") from None
        if word[:1] == "\\":
            raise BadCommand("Invalid keyword")
        return word

    def _text(self) -> str:
        raw = self.cursor.astring("Search text")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise BadCommand(
                "Search text is not valid UTF-8",
                word="NO",
                response_code=f"BADCHARSET ({' '.join(CHARSETS)})",
            ) from None
