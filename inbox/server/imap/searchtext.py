"""The text of a message that SEARCH looks at: decoded, case-folded, bounded by what was read of it."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from inbox.mail.bodies import body_text, walk
from inbox.mail.charset import decode_8bit
from inbox.mail.headers import Headers
from inbox.mail.mime import scan
from inbox.wire.imap.dates import MONTHS

_DAY: Final = re.compile(r"\b([0-9]{1,2})[ \t\r\n-]+([A-Za-z]{3})[a-z]*[ \t\r\n-]+([0-9]{2,4})\b")


def written_day(value: str | None) -> date | None:
    """The day of a Date: field as it is written (RFC 5322 §3.3, two-digit years by §4.3); None if there is none."""
    found = _DAY.search(value or "")
    if found is None:
        return None
    day, month, digits = found.groups()
    year = int(digits)
    if len(digits) < 4:
        year += 2000 if year < 50 else 1900
    try:
        return date(year, MONTHS.index(month.capitalize()) + 1, int(day))
    except ValueError:
        return None


def folded(text: str) -> str:
    """Text as it is compared: without regard to case and to how its blanks were folded (RFC 3501 §6.4.4)."""
    return " ".join(text.casefold().split()) if text.strip() else ""


def header_words(block: bytes) -> str:
    """A header section's fields with their names, encoded words decoded."""
    headers = Headers(block)
    names = dict.fromkeys(name.lower() for name in headers.names())
    return "\n".join(folded(f"{name}: {value}") for name in names for value in headers.get_all(name))


def body_words(message: bytes) -> str:
    """The decoded text parts of a message, and the headers of all parts below the first level."""
    pieces: list[str] = []
    for path, part in walk(scan(message)):
        if path and part.start > 0:
            pieces.append(folded(decode_8bit(message[part.start : part.body])))
        if part.lower == b"text":
            pieces.append(folded(body_text(part, message, len(message))))
    return "\n".join(pieces)
