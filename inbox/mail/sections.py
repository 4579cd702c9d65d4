"""Offsets of a message's sections (RFC 9051 §6.4.5.1), from a small packed table.

The table is built once, at delivery; every later FETCH of a section is a range of the blob. It is the octet ``\\x01``
(version) and 16 octets for each part, in the order of the tree: flags and encoding, number of descendants, and the
offsets of header, body and end. A copy's own trace fields, before the blob, shift all offsets and belong to the
message's header.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from inbox.mail.fields import name_of
from inbox.mail.mime import Part

VERSION: Final = b"\x01"
#: Names that one expression may search: it tries them one after another.
_FEW: Final = 40
_RECORD: Final = struct.Struct("<BxHIII")
_MULTIPART: Final = 1
_MESSAGE: Final = 2
_MOST: Final = 0xFFFFFFFF
#: The place of a part that is shown but not in the table.
_NOWHERE: Final = -1
_ENCODINGS: Final = ("identity", "base64", "quoted-printable", "unknown")
_IDENTITY: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})
_SPEC = re.compile(r"(?:(\d{1,4}(?:\.\d{1,4}){0,63})(?:\.(HEADER|TEXT|MIME))?|(HEADER|TEXT))?\Z")
_FIELD = re.compile(rb"^(?:([^: \t\n][^:\n]*):)?[^\n]*(?:\n[ \t][^\n]*)*\n?", re.MULTILINE)
#: Names that :data:`_FIELD` matches.
_NAME: Final = re.compile(rb"[^:\n]+")
#: Characters around a name (:func:`inbox.mail.fields.name_of`); white space before it would fold.
_BEFORE: Final = rb"(?:[\x00-\x08\x0b-\x1f\x7f-\xff][\x00-\x09\x0b-\x20\x7f-\xff]*)?"
_BEHIND: Final = rb"[\x00-\x09\x0b-\x20\x7f-\xff]*"


class Section(NamedTuple):
    """A range of a copy (prefix and blob), in octets."""

    offset: int
    length: int


class _Node(NamedTuple):
    place: int
    flags: int
    descendants: int
    start: int
    body: int
    end: int


def pack(root: Part) -> bytes:
    """The table of a tree."""
    records: list[bytes] = []
    _pack(root, records)
    return VERSION + b"".join(records)


def _pack(part: Part, records: list[bytes]) -> int:
    place = len(records)
    records.append(b"")
    descendants = sum(_pack(child, records) for child in part.children)
    code = _encoding_code(part)
    flags = (_MULTIPART if part.is_multipart else 0) | (_MESSAGE if part.is_message else 0) | code << 2
    records[place] = _RECORD.pack(
        flags, descendants, min(part.start, _MOST), min(part.body, _MOST), min(part.end, _MOST)
    )
    return descendants + 1


def _encoding_code(part: Part) -> int:
    value = part.fields.get(b"content-transfer-encoding") if part.is_mime else None
    if value is None:
        return 0
    token = value.partition(b"(")[0].strip().lower()
    if token in _IDENTITY:
        return 0
    return {b"base64": 1, b"quoted-printable": 2}.get(token, 3)


def section(sections: bytes, spec: str, prepended: int = 0) -> Section | None:
    """The range of a section specification; None if the message has no such section.

    Args:
        sections: the packed table.
        spec: in upper case: ``""``, ``HEADER``, ``TEXT``, ``1.2``, ``1.2.MIME``, ``2.HEADER``, ``2.TEXT``. For
            ``HEADER.FIELDS`` use ``HEADER`` and pass its octets to :func:`fields_of`.
        prepended: octets before the blob.
    """
    found = _SPEC.match(spec)
    if found is None:
        return None
    path, text, of_root = found.groups()
    if path is None:
        root = _node(sections, 0)
        if of_root == "HEADER":
            return Section(0, prepended + root.body)
        if of_root == "TEXT":
            return Section(prepended + root.body, root.end - root.body)
        return Section(0, prepended + root.end)
    node = _resolve(sections, path)
    if node is None:
        return None
    if text is None:
        return Section(prepended + node.body, node.end - node.body)
    if text == "MIME":
        if node.place == 0:  # The only part of a message: its MIME header is the message header.
            return Section(0, prepended + node.body)
        return Section(prepended + node.start, node.body - node.start)
    if not node.flags & _MESSAGE:
        return None
    inner = _node(sections, node.place + 1)
    if text == "HEADER":
        return Section(prepended + inner.start, inner.body - inner.start)
    return Section(prepended + inner.body, inner.end - inner.body)


class Leaf(NamedTuple):
    """A part without subparts, or (``encoding`` None) the header section of one with subparts; offsets in the blob."""

    start: int
    body: int
    end: int
    encoding: str | None


def leaves(sections: bytes) -> Iterator[Leaf]:
    """Every part of the table, in the order of the message; the first is the message itself."""
    for flags, _, start, body, end in _RECORD.iter_unpack(memoryview(sections)[1:]):
        has_parts = flags & (_MULTIPART | _MESSAGE)
        yield Leaf(start, body, end, None if has_parts else _ENCODINGS[flags >> 2 & 3])


def _node(sections: bytes, index: int) -> _Node:
    return _Node(index, *_RECORD.unpack_from(sections, 1 + index * _RECORD.size))


def _resolve(sections: bytes, path: str) -> _Node | None:
    """The part ``1.2.3``: a message that is not a multipart has one part, 1 (RFC 9051 §6.4.5.1)."""
    node = _node(sections, 0)
    first = True
    for number in map(int, path.split(".")):
        if not first:
            if node.flags & _MESSAGE:
                node = _node(sections, node.place + 1)
            elif not node.flags & _MULTIPART:
                return None
        first = False
        if node.flags & _MULTIPART:
            child = _nth_child(sections, node, number)
            if child is None:
                return None
            node = child
        elif number != 1:
            return None
    return node


def _nth_child(sections: bytes, node: _Node, number: int) -> _Node | None:
    if number < 1:
        return None
    if not node.descendants and number == 1:
        # BODYSTRUCTURE shows an empty text part in a multipart that has none (RFC 9051 §9: body-type-mpart has one).
        return _Node(_NOWHERE, 0, 0, node.end, node.end, node.end)
    at, last = node.place + 1, node.place + node.descendants
    while at <= last:
        child = _node(sections, at)
        number -= 1
        if number == 0:
            return child
        at += 1 + child.descendants
    return None


def fields_of(names: Sequence[str], *, negate: bool = False) -> Callable[[bytes], bytes]:
    """Finds the fields with these names (or all others) in a block of header fields: HEADER.FIELDS, HEADER.FIELDS.NOT.

    What depends on the names alone is done once, for many blocks. The fields come in their order, and end with an empty
    line. A line that belongs to no field counts as one without a name. With ``negate`` the empty line is missing where
    the block has none.
    """
    wanted = {name.lower().encode("utf-8", "replace") for name in names}
    named = [re.escape(name) for name in sorted(wanted) if _NAME.fullmatch(name) and name_of(name) == name]
    if negate or b"" in wanted or not 0 < len(named) <= _FEW:
        return partial(_chosen_fields, wanted, negate)
    # Searching from line end to line end is the fastest way to skip other fields.
    any_of = rb"(?:" + b"|".join(named) + rb")"
    found = re.compile(rb"\n" + _BEFORE + any_of + _BEHIND + rb":[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE)
    return partial(_few_fields, found)


def _few_fields(found: re.Pattern[bytes], block: bytes) -> bytes:
    lines = b"".join(found.findall(b"\n" + block if block.endswith(b"\n") else b"\n" + block + b"\r\n"))
    return lines[1:] + b"\n\r\n" if lines else b"\r\n"


def _chosen_fields(named: set[bytes], negate: bool, block: bytes) -> bytes:
    kept: list[bytes] = []
    for found in _FIELD.finditer(block):
        field = found[0]
        if field in {b"", b"\r\n", b"\n"}:
            continue
        if (name_of(found[1] or b"").lower() in named) is not negate:
            kept.append(field if field.endswith(b"\n") else field + b"\r\n")
    if not negate or block.endswith((b"\n\r\n", b"\n\n")) or block in {b"\r\n", b"\n"}:
        kept.append(b"\r\n")
    return b"".join(kept)
