"""Conversion of octets to text, with fallbacks for missing, unknown and wrong charsets."""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases
from typing import Final

#: Python codecs that are not charsets, or take more than linear time (punycode, idna).
_NOT_CHARSETS: Final = frozenset(
    {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "mbcs", "tactis"}
)
#: Names in use that the standard library does not know, and charsets that are read as their superset
#: (https://encoding.spec.whatwg.org/#names-and-labels).
_EXTRA: Final = {
    "gb2312": "gb18030",
    "gb_2312_80": "gb18030",
    "gbk": "gb18030",
    "iso_8859_1": "cp1252",
    "iso_8859_8_i": "iso8859_8",
    "iso8859_1": "cp1252",
    "iso8859_1_ms": "cp1252",
    "ks_c_5601": "cp949",
    "ks_c_5601_1987": "cp949",
    "l1": "cp1252",
    "latin1": "cp1252",
    "latin_1": "cp1252",
    "shift_jis": "cp932",
    "unicode_1_1_utf_7": "utf_7",
    "utf_8_mac": "utf_8",
    "windows_874": "cp874",
    "x_gbk": "gb18030",
    "x_mac_roman": "mac_roman",
    "x_sjis": "cp932",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,39}\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Octets that the detector reads; more cost more, but hardly improve the result.
_SAMPLE: Final = 2048


def _codecs() -> dict[str, str]:
    known = {codec: codec for codec in aliases.values()} | dict(aliases)
    return {name: codec for name, codec in known.items() if codec not in _NOT_CHARSETS} | _EXTRA


#: All supported names with their codecs. Unknown names never reach ``codecs.lookup``, which would try to import a
#: module of that name.
_CODECS: Final = _codecs()


def codec_of(charset: str) -> str | None:
    """The Python codec for a MIME charset name, or None if it is not supported."""
    name = charset.strip(" \t\r\n\"'").lower().replace("-", "_").replace(":", "_").replace(" ", "_")
    return _CODECS.get(name) if _NAME.match(name) else None


def _strict(data: bytes, codec: str, complete: bool) -> str | None:
    try:
        # A truncated text may end within a character, which does not mean a wrong charset.
        text = codecs.getincrementaldecoder(codec)("strict").decode(data, complete)
    except (UnicodeError, ValueError):
        return None
    return _SURROGATE.sub("\ufffd", text) if codec == "utf_7" else text


def decode_8bit(data: bytes) -> str:
    """Octets without a declared charset: UTF-8, else Windows-1252 (never fails)."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def decode_declared(data: bytes, charset: str) -> str:
    """Octets of a header field with the charset that an encoded-word or parameter names (never fails)."""
    codec = codec_of(charset)
    if codec is not None and codec != "ascii":
        text = _strict(data, codec, True)
        if text is not None:
            return text
    return decode_8bit(data)


def decode_text(data: bytes, charset: str, *, complete: bool = True) -> str:
    """The text of a body part: declared charset, UTF-8, detected, Windows-1252; the first that decodes (never fails).

    Args:
        complete: False if ``data`` was cut and may end in the middle of a character.
    """
    if data.isascii() and b"\x1b" not in data and b"~{" not in data and b"+" not in data and b"\0" not in data:
        return data.decode("ascii")  # The same in every mail charset except ISO-2022, HZ, UTF-7 and UTF-16.
    codec = codec_of(charset) if charset else None
    if codec is not None:
        text = _strict(data, codec, complete)
        if text is not None:
            return text
    text = _strict(data, "utf_8", complete)
    if text is not None:
        return text
    detected = _detect(data)
    if detected is not None:
        text = _strict(data, detected, complete)
        if text is not None:
            return text
    return data.decode("cp1252", "replace")


def _detect(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    first = re.search(rb"[\x80-\xff]", data)
    start = max(0, first.start() - _SAMPLE // 2) if first else 0
    best = from_bytes(data[start : start + _SAMPLE], steps=2, chunk_size=512, enable_fallback=False).best()
    return codec_of(best.encoding) if best is not None else None
