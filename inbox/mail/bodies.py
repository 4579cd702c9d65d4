"""Decoding of body parts: transfer encoding (RFC 2045 §6) and text."""

from __future__ import annotations

import binascii
from typing import Final

from inbox.mail.charset import decode_text
from inbox.mail.content import Buffer
from inbox.mail.encoded import base64_octets
from inbox.mail.mime import Part
from inbox.mail.parameters import parameter

_WINDOW: Final = 256 * 1024
_CHARSET_CHARACTERS: Final = 64
_BASE64_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64: Final = bytes(sorted(set(range(256)) - set(_BASE64_ALPHABET)))


def encoding_of(part: Part) -> bytes:
    """Content-Transfer-Encoding in lower case; ``7bit`` if missing."""
    value = part.fields.get(b"content-transfer-encoding") if part.is_mime else None
    return b"7bit" if value is None else value.partition(b"(")[0].partition(b";")[0].strip().lower()


def decoded_body(part: Part, buffer: Buffer, limit: int) -> bytes:
    """At most ``limit`` octets of the decoded body; reads no more of the message than necessary."""
    encoding = encoding_of(part)
    if encoding == b"base64":
        return _base64(buffer, part.body, part.end, limit)
    if encoding == b"quoted-printable":
        data = buffer[part.body : min(part.end, part.body + 3 * limit + 3)]
        return binascii.a2b_qp(data)[:limit]
    return buffer[part.body : min(part.end, part.body + limit)]


def _base64(buffer: Buffer, start: int, end: int, limit: int) -> bytes:
    # Four characters are three octets, and lines of 76 have two for their end; shorter lines need another round.
    take = limit * 4 // 3 + limit // 18 + 8
    while True:
        stop = min(end, start + take)
        octets = base64_octets(buffer[start:stop])
        if len(octets) >= limit or stop == end:
            return octets[:limit]
        take *= 4


def decoded_size(part: Part, buffer: Buffer) -> int:
    """Octets of the decoded body, without decoding it as a whole."""
    encoding = encoding_of(part)
    if encoding == b"base64":
        return _base64_size(part, buffer)
    if encoding == b"quoted-printable":
        total, at = 0, part.body
        while at < part.end:
            stop = min(at + _WINDOW, part.end)
            data = buffer[at:stop]
            if stop < part.end:  # Cut after a line, so that no escape is split.
                line = data.rfind(b"\n") + 1
                data = data[:line] if line else data
            total += len(binascii.a2b_qp(data))
            at += len(data)
        return total
    return part.end - part.body


def _base64_size(part: Part, buffer: Buffer) -> int:
    """Exact if padding is only at the end; each earlier padding makes it at most two octets too large."""
    characters = 0
    for at in range(part.body, part.end, _WINDOW):
        characters += len(buffer[at : min(at + _WINDOW, part.end)].translate(None, _NOT_BASE64))
    return characters * 3 // 4


def charset_of(part: Part) -> str:
    """The charset parameter, in lower case; empty if there is none."""
    return (parameter(part.parameters, b"charset") or "").lower()[:_CHARSET_CHARACTERS]


def body_text(part: Part, buffer: Buffer, limit: int) -> str:
    """The decoded text of a text part, from at most ``limit`` octets."""
    data = decoded_body(part, buffer, limit)
    return decode_text(data, charset_of(part), complete=len(data) < limit)


def walk(root: Part) -> list[tuple[str, Part]]:
    """All parts but multiparts that hold parts themselves being shown, with their IMAP numbers (RFC 9051 §6.4.5.1)."""
    out: list[tuple[str, Part]] = []
    todo: list[tuple[str, Part, bool]] = [("", root, True)]
    while todo:
        prefix, part, is_root = todo.pop()
        if part.is_multipart:
            if not is_root:
                out.append((prefix, part))
            dot = prefix + "." if prefix else ""
            numbered = [(f"{dot}{number}", child, False) for number, child in enumerate(part.children, start=1)]
            todo.extend(reversed(numbered))
            continue
        path = (f"{prefix}.1" if prefix else "1") if is_root else prefix
        out.append((path, part))
        if part.is_message:
            todo.append((path, part.children[0], True))
    return out
