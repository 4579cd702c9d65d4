"""Storage format of the bodies of decision records: one octet for the format, then the compressed body.

Records are similar, so deflate (RFC 1951) starts with a dictionary of typical ones. Decompression needs exactly the
same dictionary, so its file never changes. A better dictionary gets the next number, and the program reads both.

Formats by their first octet: ``{`` is plain JSON, as older versions wrote it; 0 is followed by a plain body; 1 is
followed by a deflate stream with the dictionary ``decision-1.txt``.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from inbox.base.errors import StoreError
from inbox.base.limits import DECISION_OCTETS

PLAIN: Final = b"\x00"
DICTIONARY_1: Final = b"\x01"
_JSON: Final = ord("{")
_DICTIONARIES: Final = Path(__file__).parent / "dictionaries"

#: The window holds the dictionary and a body of 8 KiB. Preparing a larger window costs more than compressing a body.
_WINDOW_BITS: Final = -14
#: Higher levels do not make typical bodies smaller, and their hash tables have to be copied for each body.
_MEMORY_LEVEL: Final = 5
_LEVEL: Final = 6
#: Octets above which a body is compressed with the lowest level: it may be a hundred times as large as usual.
_LARGE: Final = 64 * 1024
_LEAST_LEVEL: Final = 1


@lru_cache(maxsize=1)
def dictionary() -> bytes:
    """The dictionary of format 1."""
    return (_DICTIONARIES / "decision-1.txt").read_bytes()


@lru_cache(maxsize=2)
def _primed(level: int) -> Any:
    """Returns a compressor that has read the dictionary: copying it costs a third of creating one."""
    return zlib.compressobj(level, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, dictionary())


def pack(body: bytes) -> bytes:
    """Returns the stored form of a body. Takes 20 to 30 µs for a typical one (2 KB)."""
    if not body:
        return body
    if len(body) <= DECISION_OCTETS:
        compressor = _primed(_LEVEL if len(body) <= _LARGE else _LEAST_LEVEL).copy()
        packed: bytes = DICTIONARY_1 + compressor.compress(body) + compressor.flush()
        if len(packed) <= len(body):
            return packed
    return body if body[0] == _JSON else PLAIN + body


def unpack(stored: bytes) -> bytes:
    """Returns the body that was given to :func:`pack`.

    Raises:
        StoreError: the stored octets are damaged, or a newer version of this program wrote them.
    """
    if not stored or stored[0] == _JSON:
        return stored
    kind = stored[:1]
    if kind == PLAIN:
        return stored[1:]
    if kind != DICTIONARY_1:
        raise StoreError(f"unknown format {stored[0]} of a decision record: it is damaged, or a newer version wrote it")
    inflater = zlib.decompressobj(_WINDOW_BITS, zdict=dictionary())
    try:
        body = inflater.decompress(stored[1:], DECISION_OCTETS)
    except zlib.error as error:
        raise StoreError(f"damaged decision record: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise StoreError(f"damaged decision record: it exceeds {DECISION_OCTETS} octets, or has trailing data")
    return body


def readable(stored: bytes) -> bytes:
    """Returns the body, or the stored octets if they are damaged: one damaged record must not hide the others. Those
    octets are not JSON, so decoding them reports the damage."""
    try:
        return unpack(stored)
    except StoreError:
        return stored
