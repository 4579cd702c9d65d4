"""Text in header fields: encoded-words (RFC 2047) and parameter values (RFC 2231)."""

from __future__ import annotations

import binascii
import re
from typing import Final

from inbox.mail.charset import decode_8bit, decode_declared

#: RFC 2047 §2; the language of RFC 2231 §5 is dropped. Each piece stops at the next ``?``, so matching is linear.
_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
_SPECIAL_Q = re.compile(rb"[^A-Za-z0-9!*+/-]")
#: RFC 2047 §2: an encoded-word has at most 75 characters; =?UTF-8?B??= takes 12, base64 makes 45 octets 60.
_WORD_OCTETS: Final = 45
_NON_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


def base64_octets(data: bytes) -> bytes:
    """Decoded base64 ``data``; invalid characters and an incomplete end are skipped (RFC 2045 §6.8).

    It decodes concatenated base64 texts to the end, as mail programs do: text after padding must not escape inspection.
    """
    if 0 <= data.find(b"=") < len(data) - 6:  # Padding and two line ends are a normal end.
        return b"".join([_unpadded(piece) for piece in data.split(b"=") if piece])
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        return _unpadded(data)


def _unpadded(data: bytes) -> bytes:
    clean = _NON_BASE64.sub(b"", data)
    rest = len(clean) % 4
    return binascii.a2b_base64(clean[:-1] if rest == 1 else clean + b"=" * (-rest % 4))


def _word_octets(encoding: str, text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return base64_octets(data) if encoding in "bB" else binascii.a2b_qp(data, header=True)


def decode_words(text: str) -> str:
    """``text`` with its encoded-words decoded (RFC 2047 §6.2; white space between two of them vanishes).

    Adjacent words of one charset are decoded together: some senders split characters, against §5 (3).
    """
    if "=?" not in text:
        return text
    out: list[str] = []
    held: list[bytes] = []
    held_charset, end = "", 0
    for word in _WORD.finditer(text):
        charset, encoding, encoded = word.groups()
        between = text[end : word.start()]
        apart = bool(between.strip(" \t\r\n")) or end == 0
        if held and (apart or charset.lower() != held_charset):
            out.append(decode_declared(b"".join(held), held_charset))
            held.clear()
        if apart:
            out.append(between)
        held.append(_word_octets(encoding, encoded))
        held_charset, end = charset.lower(), word.end()
    if held:
        out.append(decode_declared(b"".join(held), held_charset))
    out.append(text[end:])
    return "".join(out)


def decode_value(raw: bytes) -> str:
    """A header field's value as readable text: unfolded, decoded, without control characters other than TAB.

    Octets that are not ASCII are decoded as UTF-8, otherwise as Windows-1252. Never fails; the result can be encoded
    as UTF-8.
    """
    if raw.isascii():
        text = raw.decode("ascii")
        if "=?" in text:
            text = decode_words(text)
        elif text.isprintable():
            return text.strip(" ")
    else:
        text = decode_words(decode_8bit(raw))
    return _CONTROLS.sub("", text).strip(" \t")


def decode_plain(raw: bytes) -> str:
    """Like :func:`decode_value`, for text without encoded-words: the parts of an address (RFC 2047 §5)."""
    return _CONTROLS.sub("", decode_8bit(raw))


def encode_words(text: str, column: int = 0) -> str:
    """``text`` as encoded-words in UTF-8, separated by spaces at which the field can be folded (RFC 2047 §2).

    Args:
        column: number of characters before it in the first line.
    """
    words: list[str] = []
    piece = b""
    room = max(_WORD_OCTETS - column * 3 // 4, 9)
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > room:  # §5 (3): a character must not be split.
            words.append(_encoded_word(piece))
            piece, room = b"", _WORD_OCTETS
        piece += octets
    words.append(_encoded_word(piece))
    return " ".join(words)


def _encoded_word(octets: bytes) -> str:
    base64 = binascii.b2a_base64(octets, newline=False)
    quoted = _SPECIAL_Q.sub(lambda found: b"_" if found[0] == b" " else b"=%02X" % found[0][0], octets)
    if len(quoted) <= len(base64):
        return f"=?UTF-8?Q?{quoted.decode('ascii')}?="
    return f"=?UTF-8?B?{base64.decode('ascii')}?="


def decode_extended(value: bytes) -> str:
    """An extended parameter value ``charset'language'text`` (RFC 2231 §4)."""
    charset, mark, rest = value.partition(b"'")
    if not mark:
        return decode_value(value)
    _, mark, text = rest.partition(b"'")
    if not mark:
        text = rest
    octets = _PERCENT.sub(lambda found: bytes((int(found[1], 16),)), text)
    return _CONTROLS.sub("", decode_declared(octets, charset.decode("latin-1"))).strip(" \t")
