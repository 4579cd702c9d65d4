"""The text of a message that SEARCH looks at: decoded, case-folded, bounded by what was read of it."""

from __future__ import annotations

from inbox.mail.bodies import body_text, walk
from inbox.mail.charset import decode_8bit
from inbox.mail.headers import Headers
from inbox.mail.mime import scan


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
