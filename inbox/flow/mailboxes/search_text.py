"""Text of a message for SEARCH: decoded, case-folded, and searched piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final

from inbox.base.limits import HEADER_FIELDS
from inbox.mail.addresslist import display, parse_addresses
from inbox.mail.bodies import body_text
from inbox.mail.dates import MONTHS
from inbox.mail.fields import split_fields
from inbox.mail.headers import Headers
from inbox.mail.mime import Part, scan

_DAY: Final = re.compile(r"\b([0-9]{1,2})[ \t\r\n-]+([A-Za-z]{3})[a-z]*[ \t\r\n-]+([0-9]{2,4})\b")
_BLANKS: Final = re.compile(r"\s+")


def written_day(value: str | None) -> date | None:
    """The day of a Date: field as it is written (RFC 5322 §3.3, two-digit years by §4.3); None if there is no date."""
    found = _DAY.search(value or "")
    if found is None:
        return None
    day, month, digits = found.groups()
    year = int(digits)
    if len(digits) < 4:
        year += 2000 if year < 50 else 1900
    try:
        return date(year, MONTHS.get(month.lower(), 0), int(day))
    except ValueError:
        return None


def folded(text: str) -> str:
    """Text in the form that is compared: regardless of case and of folding (RFC 3501 §6.4.4)."""
    return " ".join(text.casefold().split()) if text.strip() else ""


def header_words(block: bytes) -> str:
    """The fields of a header section with their names, encoded-words decoded."""
    headers = Headers(block)
    names = dict.fromkeys(name.lower() for name in headers.names())
    return "\n".join(folded(f"{name}: {value}") for name in names for value in headers.get_all(name))


def address_words(block: bytes) -> Iterator[str]:
    """Each address of address fields in its usual form, ``name <mailbox@host>``, even if the field has comments, quotes
    or spaces around the ``@`` (RFC 5322 §4.4)."""
    for _, value in split_fields(block, HEADER_FIELDS):
        for address in parse_addresses(value):
            text = display(address)
            if text is not None:
                yield folded(text)


class Needles:
    """Texts to be found in one message, which may arrive in any number of pieces.

    Attributes:
        in_body: those found in texts of the body.
        in_headers: those found in the headers of parts and of attached messages.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._wanted = frozenset(wanted)
        self._overlap = max(map(len, self._wanted), default=0)
        self.in_body: set[str] = set()
        self.in_headers: set[str] = set()

    def look_in_headers(self, block: bytes) -> None:
        """Searches the header section of one part."""
        words = header_words(block)
        self.in_headers.update(needle for needle in self._wanted if needle in words)

    def look_in_text(self, pieces: Iterable[str]) -> None:
        """Searches one text, and finds needles that span two pieces."""
        tail = ""
        for piece in pieces:
            tail = self.look_in_piece(tail, piece)

    def look_in_piece(self, tail: str, piece: str) -> str:
        """Searches one piece of a text; returns the ``tail`` for the next one."""
        words = _BLANKS.sub(" ", piece.casefold())
        # A run of spaces that spans two pieces counts as one space.
        text = tail + (words.removeprefix(" ") if tail.endswith(" ") else words)
        self.in_body.update(needle for needle in self._wanted - self.in_body if needle in text)
        return text[-self._overlap :] if self._overlap else ""


def look_in_message(message: bytes, needles: Needles, *, headers: bool) -> None:
    """Searches a whole message in memory, except its own header section.

    RFC 9051 §6.4.4: BODY searches texts only; TEXT (``headers``) also searches MIME header fields, and so the header
    fields of attached messages.
    """
    todo: list[Part] = [scan(message)]
    while todo:
        part = todo.pop()
        if headers and part.parent is not None:
            needles.look_in_headers(message[part.start : part.body])
        if part.lower == b"text" and not part.children:
            needles.look_in_text([body_text(part, message, len(message))])
        todo.extend(part.children)
