"""The header section of a message (RFC 5322 §2.2): parsing into fields, reading and editing.

Edits never change other octets, so signatures over them stay valid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from inbox.base.limits import HEADER_BLOCK_OCTETS, HEADER_FIELDS
from inbox.mail.content import Buffer, Content
from inbox.mail.edits import add_field, change_field, delete_field, insert_field
from inbox.mail.encoded import decode_value
from inbox.mail.fields import FIELD, name_of, split_fields

__all__ = [
    "Field",
    "Headers",
    "add_field",
    "change_field",
    "delete_field",
    "end_of_headers",
    "header_block",
    "insert_field",
    "is_too_long",
]

_EMPTY_LINE = re.compile(rb"\n\r?\n")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: name as written, value between the colon and the last line end, offsets in the block.

    ``value`` keeps its folding; ``end`` is after the last line end.
    """

    name: str
    value: bytes
    start: int
    end: int


class Headers:
    """The fields of one header section, in their order; names compare without regard to case.

    It reads at most HEADER_FIELDS fields of the first HEADER_BLOCK_OCTETS octets.
    """

    __slots__ = ("_block", "_fields", "_texts", "_values")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._values: dict[bytes, list[bytes]] | None = None
        self._fields: list[Field] | None = None
        self._texts: dict[str, str] = {}

    @classmethod
    def parse(cls, block: bytes) -> Headers:
        """The fields of a header section, with or without its empty line. Never fails."""
        return cls(block)

    @property
    def block(self) -> bytes:
        """The unchanged section."""
        return self._block

    def _of(self, name: str) -> list[bytes]:
        if self._values is None:
            values: dict[bytes, list[bytes]] = {}
            for key, value in split_fields(self._block[:HEADER_BLOCK_OCTETS], HEADER_FIELDS):
                values.setdefault(key, []).append(value)
            self._values = values
        return self._values.get(name.encode("latin-1", "replace").lower(), [])

    def fields(self) -> list[Field]:
        """All fields, from top to bottom."""
        if self._fields is None:
            found: list[Field] = []
            block = self._block
            for match in FIELD.finditer(block, 0, min(len(block), HEADER_BLOCK_OCTETS)):
                if len(found) == HEADER_FIELDS:
                    break
                name, value = name_of(match[1]).decode("latin-1"), match[2].strip(b" \t\r\n")
                found.append(Field(name, value, match.start(), match.end()))
            self._fields = found
        return self._fields

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first field of this name as text (:func:`inbox.mail.encoded.decode_value`)."""
        text = self._texts.get(name)
        if text is None:
            values = self._of(name)
            if not values:
                return default
            text = self._texts[name] = decode_value(values[0])
        return text

    def get_all(self, name: str) -> list[str]:
        """All fields of this name as text, from top to bottom."""
        return [decode_value(value) for value in self._of(name)]

    def raw_all(self, name: str) -> list[bytes]:
        """All raw values of this name, still folded."""
        return list(self._of(name))

    def names(self) -> list[str]:
        """The names as written, in order, including repetitions."""
        return [field.name for field in self.fields()]

    def count(self, name: str) -> int:
        """The number of fields with this name."""
        return len(self._of(name))


def end_of_headers(buffer: Buffer, start: int, size: int) -> tuple[int, bool]:
    """The end of the header section that begins at ``start``, and whether an empty line ended it.

    The section ends after its first empty line. Without one it reaches to ``size``; one that is longer than
    HEADER_BLOCK_OCTETS ends there and the rest counts as body, so that header and body together are always
    the whole message.
    """
    head = buffer[start : start + 2]
    if head[:1] == b"\n":
        return start + 1, True
    if head == b"\r\n":
        return start + 2, True
    limit = start + HEADER_BLOCK_OCTETS
    # A large message is read in pieces, so only the section is read here.
    piece, base = (buffer, 0) if isinstance(buffer, bytes) else (buffer[start : min(limit, size)], start)
    found = _EMPTY_LINE.search(piece, start - base, min(limit, size) - base)
    if found is not None:
        return base + found.end(), True
    return min(limit, size), False


def is_too_long(block: bytes, size: int) -> bool:
    """Whether ``block``, the header section of a message of ``size`` octets, exceeds a limit: more than
    HEADER_BLOCK_OCTETS before its empty line, or more than HEADER_FIELDS fields.
    """
    if len(block) >= HEADER_BLOCK_OCTETS and size > len(block) and _EMPTY_LINE.search(block[-4:]) is None:
        return True
    # Counting lines is quick, and most messages have fewer lines than the limit of fields.
    return block.count(b"\n") > HEADER_FIELDS and sum(1 for _ in FIELD.finditer(block)) > HEADER_FIELDS


def header_block(content: Content) -> tuple[bytes, int]:
    """The header section with its empty line, and the offset at which the body begins (its length).

    A first line that is not a header field is part of the section, as in Dovecot: only an empty line ends it.
    """
    buffer = content.buffer()
    end, _ = end_of_headers(buffer, 0, len(buffer))
    return buffer[:end], end
