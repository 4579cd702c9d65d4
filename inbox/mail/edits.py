"""Edits of a header section as octets; fields that an edit does not name stay unchanged, to the octet."""

from __future__ import annotations

import re
from typing import Final

from inbox.base.limits import TEXT_LINE_OCTETS
from inbox.mail.encoded import encode_words
from inbox.mail.fields import FIELD, name_of

#: RFC 5322 §2.1.1: lines should have no more than 78 characters.
_LINE: Final = 78
#: RFC 5322 §2.2: printable ASCII without colon and space; the bound on its length leaves room in the line.
_NAME = re.compile(r"[!-9;-~]{1,76}\Z")
_FORBIDDEN = re.compile("[\r\n\0]")


def render_field(name: str, value: str) -> bytes:
    """One field, folded (RFC 5322 §2.2.3), with CRLF at its end; text that is not ASCII as encoded-words.

    Raises:
        ValueError: not a field name, or CR, LF or NUL in name or value.
    """
    if _NAME.match(name) is None:
        raise ValueError(f"not a header field name: {name[:80]!r}")
    if _FORBIDDEN.search(value) is not None:
        raise ValueError(f"CR, LF or NUL in the value of {name}")
    if not value.isascii():
        value = encode_words(value.strip(" \t"), len(name) + 2)
    return _fold(f"{name}: {value}").encode("ascii")


def _fold(line: str) -> str:
    lines: list[str] = []
    start, first = 0, line.index(":") + 2  # A fold right after the name would leave a first line without text.
    end = len(line.rstrip(" \t"))
    while end - start > _LINE:
        cut = _space(line, start, start + first, end)
        lines.append(line[start:cut])
        start, first = cut, 1
        if line[cut] not in " \t":
            # A word longer than the hard limit is cut, because no line may be longer.
            lines[-1] += "\r\n "
            continue
        lines[-1] += "\r\n"
    return "".join([*lines, line[start:end]]) + "\r\n"


def _space(line: str, start: int, first: int, end: int) -> int:
    """The position of the fold: the last white space before column 78, otherwise the next one, otherwise the hard limit
    (§2.1.1)."""
    for at in range(min(start + _LINE, end - 1), first, -1):
        if line[at] in " \t" and line[at + 1] not in " \t":
            return at
    for at in range(start + _LINE, min(start + TEXT_LINE_OCTETS - 1, end)):
        if line[at] in " \t" and line[at + 1] not in " \t":
            return at
    return min(start + TEXT_LINE_OCTETS - 1, end)


def _spans(block: bytes, name: str | None) -> list[tuple[int, int]]:
    wanted = None if name is None else name.encode("latin-1", "replace").lower()
    return [found.span() for found in FIELD.finditer(block) if wanted is None or name_of(found[1]).lower() == wanted]


def _end(block: bytes) -> int:
    """The position of a field to append: before the empty line."""
    if block in {b"\r\n", b"\n"}:
        return 0
    for tail, width in ((b"\n\r\n", 2), (b"\n\n", 1)):
        if block.endswith(tail):
            return len(block) - width
    return len(block)


def _joined(before: bytes, field: bytes, after: bytes) -> bytes:
    # The last line of a truncated section may lack its line end: the new field would become part of it.
    if before and not before.endswith(b"\n"):
        before += b"\r\n"
    return before + field + after


def add_field(block: bytes, name: str, value: str) -> bytes:
    """``block`` with a field before all others, the place of trace fields.

    Raises:
        ValueError: see :func:`render_field`.
    """
    return render_field(name, value) + block


def insert_field(block: bytes, index: int, name: str, value: str) -> bytes:
    """``block`` with a field before the field with this index; 0 is the top, an index beyond the last is the end.

    Raises:
        ValueError: see :func:`render_field`.
    """
    field = render_field(name, value)
    if index <= 0:
        return field + block
    spans = _spans(block, None)
    at = spans[index][0] if index < len(spans) else _end(block)
    return _joined(block[:at], field, block[at:])


def change_field(block: bytes, name: str, value: str, occurrence: int = 1) -> bytes:
    """``block`` with a new value in the field of this name, or with the field appended if there is none.

    Args:
        occurrence: which of several: 1 is the uppermost, -1 the lowest.

    Raises:
        ValueError: see :func:`render_field`.
    """
    field = render_field(name, value)
    span = _chosen(block, name, occurrence)
    if span is None:
        end = _end(block)
        return _joined(block[:end], field, block[end:])
    return block[: span[0]] + field + block[span[1] :]


def delete_field(block: bytes, name: str, occurrence: int = 0) -> bytes:
    """``block`` without the field of this name; ``occurrence`` as in :func:`change_field`, 0 for all of them."""
    if occurrence:
        span = _chosen(block, name, occurrence)
        return block if span is None else block[: span[0]] + block[span[1] :]
    kept, last = [], 0
    for start, end in _spans(block, name):
        kept.append(block[last:start])
        last = end
    return b"".join([*kept, block[last:]])


def _chosen(block: bytes, name: str, occurrence: int) -> tuple[int, int] | None:
    spans = _spans(block, name)
    place = occurrence - 1 if occurrence > 0 else len(spans) + occurrence
    return spans[place] if 0 <= place < len(spans) else None
