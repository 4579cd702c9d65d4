"""File names of attachments: every name that any mail program may show for a part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from inbox.mail.encoded import decode_extended, decode_value
from inbox.mail.parameters import Parameters, parse_word

_NAME_CHARACTERS: Final = 255
#: Maximum of different names of one part, and octets of one field that are searched for them.
_NAMES: Final = 8
_FIELD_OCTETS: Final = 8 * 1024
#: Marks that change the order in which a text is shown (Unicode, UAX #9), so that ``exe.pdf`` may end in ``fdp.exe``.
REORDERING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
#: A name that violates RFC 2045 §5.1: no quotes around spaces and brackets, or text after the quotes.
_LOOSE = re.compile(
    rb"""(?:\A|[;\s])(?:file)?name[ \t\r\n]*=[ \t\r\n]*(?:"((?>(?:[^"\\]++|\\.)*))"?|(?!["\s;]))([^;\r\n]*)""",
    re.IGNORECASE | re.DOTALL,
)
_PIECE = re.compile(rb"((?:file)?name)\*(\d{1,4})(\*?)\Z", re.IGNORECASE)


def file_names(dispositions: Sequence[bytes], types: Sequence[bytes]) -> tuple[str, ...]:
    """The different names in a part's Content-Disposition and Content-Type fields, the one that most mail programs
    show first.

    ``filename`` of Content-Disposition goes before ``name`` of Content-Type (RFC 2183 §2.3). Folders and control
    characters are removed. If programs read a name differently, the result has all readings.
    """
    found: dict[str, None] = {}
    for values, key in ((dispositions, b"filename"), (types, b"name")):
        for value in values:
            if b"name" not in value[:_FIELD_OCTETS].lower():
                continue
            for raw in _readings(value[:_FIELD_OCTETS], key):
                name = safe_name(raw)
                if name:
                    found.setdefault(name)
    return tuple(found)[:_NAMES]


def safe_name(name: str) -> str:
    """RFC 2183 §2.3: a sender's file name must not select a folder."""
    return name.replace("\\", "/").rpartition("/")[2].strip(" \t")[-_NAME_CHARACTERS:]


def extensions_of(name: str) -> tuple[str, ...]:
    """The parts after each dot, in lower case, without invisible characters and the trailing ones that Windows
    drops."""
    shown = _INVISIBLE.sub("", name).rstrip(". \t\u00a0")
    return tuple(piece.strip().lower() for piece in shown.split(".")[1:][-_NAMES:])


def _readings(value: bytes, key: bytes) -> Iterator[str]:
    # To this parser a media type is a token: the part after its slash is skipped.
    parsed = parse_word(value.replace(b"/", b";", 1) if key == b"name" else value)
    parameters: Parameters = parsed[1] if parsed is not None else ()
    loose = list(_loose(value))
    for name, text in parameters:
        if name.lower() == key + b"*":
            yield decode_extended(text)
    yield from loose
    for name, text in parameters:
        if name.lower() in {key, b"name", b"filename"}:
            yield decode_value(text)
    yield from _torn(parameters)


def _loose(value: bytes) -> Iterator[str]:
    for found in _LOOSE.finditer(value):
        quoted, rest = found[1], found[2].rstrip(b" \t")
        if quoted is None:
            yield decode_value(rest)
        elif rest.strip():
            yield decode_value(quoted + rest)
            yield decode_value(quoted)


def _torn(parameters: Parameters) -> Iterator[str]:
    """Incomplete continuations (RFC 2231 §3): the existing pieces in order."""
    pieces: dict[bytes, list[tuple[int, bool, bytes]]] = {}
    for name, text in parameters:
        match = _PIECE.match(name)
        if match is not None:
            pieces.setdefault(match[1].lower(), []).append((int(match[2]), bool(match[3]), text))
    for found in pieces.values():
        found.sort(key=lambda piece: piece[0])
        joined = b"".join(text for _, _, text in found)
        yield decode_extended(joined) if any(star for _, star, _ in found) else decode_value(joined)
