"""Content-Type, Content-Disposition and their parameters (RFC 2045 §5.1, RFC 2183, RFC 2231 §3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from inbox.base.limits import MIME_PARAMETERS
from inbox.mail.encoded import decode_extended, decode_value

Parameters = Sequence[tuple[bytes, bytes]]

_TOKEN: Final = rb"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~\x80-\xff]+"
_TYPE = re.compile(rb"[ \t\r\n]*(" + _TOKEN + rb")[ \t\r\n]*/[ \t\r\n]*(" + _TOKEN + rb")")
_WORD = re.compile(rb"[ \t\r\n]*(" + _TOKEN + rb")[ \t\r\n]*")
#: attribute, and its value as quoted string (possibly unterminated) or as everything up to the next ";".
_PARAMETER = re.compile(
    rb";[ \t\r\n]*(" + _TOKEN + rb')[ \t\r\n]*=[ \t\r\n]*(?:"((?>(?:[^"\\]++|\\.)*))"?|([^;" \t\r\n]*))', re.DOTALL
)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_LINE_END = re.compile(rb"\r?\n")
_SECTION = re.compile(rb"([^*]+)\*(?:(\d{1,4})(\*)?)?\Z")
#: A run without specials, a quoted string, a quoted pair, or one special character.
_PIECE = re.compile(rb'[^()"\\]+|"(?>(?:[^"\\]++|\\.)*)"?|\\.|[()"\\]', re.DOTALL)


def without_comments(value: bytes) -> bytes:
    """``value`` with each comment (RFC 5322 §3.2.2) replaced by a space; parentheses in quoted strings stay."""
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    depth = 0
    end = 0
    while end < len(value):
        found = _PIECE.match(value, end)
        if found is None:  # Cannot happen: one of the alternatives matches any octet.
            break
        piece = found[0]
        if depth and piece[:1] == b'"':
            piece = piece[:1]  # Quotes have no meaning within a comment.
        end += len(piece)
        if piece == b"(":
            depth += 1
        elif piece == b")" and depth:
            depth -= 1
            if not depth:
                kept.append(b" ")
        elif not depth:
            kept.append(piece)
    return b"".join(kept)


def parse_content_type(value: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]] | None:
    """Type, subtype (as written) and parameters, or None if the value is not a media type.

    RFC 2045 §5.2: the caller has to treat an invalid value as text/plain.
    """
    value = without_comments(value)
    found = _TYPE.match(value)
    if found is None:
        return None
    return found[1], found[2], parse_parameters(value, found.end())


def parse_word(value: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
    """One token and its parameters: Content-Disposition, Content-Transfer-Encoding; None if there is no token."""
    value = without_comments(value)
    found = _WORD.match(value)
    return None if found is None else (found[1], parse_parameters(value, found.end()))


def parse_parameters(value: bytes, start: int) -> list[tuple[bytes, bytes]]:
    """The parameters from ``start`` on, continuations joined (RFC 2231 §3), charsets left alone.

    At most MIME_PARAMETERS are read. A joined parameter is named ``name*`` if it is extended, and follows the unsplit
    ones.
    """
    plain: list[tuple[bytes, bytes]] = []
    torn: dict[bytes, list[tuple[int, bool, bytes]]] = {}
    if start == len(value):
        return plain
    for count, found in enumerate(_PARAMETER.finditer(value, start)):
        if count == MIME_PARAMETERS:
            break
        name, quoted, bare = found.groups()
        text = bare if quoted is None else _unquoted(quoted)
        section = _SECTION.match(name) if b"*" in name else None
        if section is None:
            plain.append((name, text))
        else:
            key, number, star = section.groups()
            torn.setdefault(key, []).append((int(number or 0), number is None or star is not None, text))
    for key in sorted(torn):
        plain.extend(_joined(key, sorted(torn[key], key=lambda piece: piece[0])))
    return plain


def _unquoted(quoted: bytes) -> bytes:
    if b"\n" in quoted:
        quoted = _LINE_END.sub(b"", quoted)
    return _QUOTED_PAIR.sub(rb"\1", quoted) if b"\\" in quoted else quoted


def _joined(key: bytes, pieces: list[tuple[int, bool, bytes]]) -> list[tuple[bytes, bytes]]:
    if [number for number, _, _ in pieces] != list(range(len(pieces))):
        # A piece is missing: these count as parameters that merely look like continuations.
        return [(b"%s*%d%s" % (key, number, b"*" if star else b""), text) for number, star, text in pieces]
    if not any(star for _, star, _ in pieces):
        return [(key, b"".join(text for _, _, text in pieces))]
    head = b"" if pieces[0][1] else b"''"
    return [(key + b"*", head + b"".join(text if star else text.replace(b"%", b"%25") for _, star, text in pieces))]


def parameter(parameters: Parameters, name: bytes) -> str | None:
    """The text of a parameter, the extended form first (RFC 2231 §4, RFC 6266 §4.3); None if there is none.

    ``name`` is in lower case.
    """
    plain: str | None = None
    for key, value in parameters:
        lowered = key.lower()
        if lowered == name + b"*":
            return decode_extended(value)
        if lowered == name and plain is None:
            plain = decode_value(value)
    return plain
