"""Packed entries of large mailboxes: reading 50,000 single rows takes ten times as long.

A chunk is a cache of some entries as they were at one modseq (``upto``); all chunks of a mailbox have the same. Later
changes are read from the rows, so a change need not update the chunks. They are rewritten when too much has changed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from inbox.store.ports.messages import Entry

#: Entries in one chunk.
CHUNK: Final = 1000
#: A mailbox with fewer entries is read from its rows.
LARGE: Final = 2000

_FIXED: Final = struct.Struct("<IQI")
_UID: Final = struct.Struct("<I")
_keywords_decoder: Final = msgspec.json.Decoder(dict[str, tuple[str, ...]])


def pack(entries: Iterable[Entry]) -> tuple[bytes, bytes]:
    """Packs uid, modseq and flags as numbers; keywords, which few entries have, by uid as JSON."""
    listed = list(entries)
    numbers = b"".join([_FIXED.pack(entry.uid, entry.modseq, entry.flags) for entry in listed])
    keywords = {str(entry.uid): entry.keywords for entry in listed if entry.keywords}
    return numbers, msgspec.json.encode(keywords) if keywords else b""


def unpack(numbers: bytes, keywords: bytes | None) -> dict[int, Entry]:
    """Returns the entries that :func:`pack` packed, by uid."""
    found = {uid: Entry(uid, modseq, flags) for uid, modseq, flags in _FIXED.iter_unpack(numbers)}
    if keywords:
        for text, words in _keywords_decoder.decode(keywords).items():
            entry = found[int(text)]
            found[entry.uid] = Entry(entry.uid, entry.modseq, entry.flags, words)
    return found


def chunk_rows(mailbox: str, upto: int, entries: Mapping[int, Entry]) -> list[dict[str, Any]]:
    """Returns rows of ``mailbox_chunk`` for all entries of a mailbox."""
    listed = list(entries.values())
    made = []
    for number, start in enumerate(range(0, len(listed), CHUNK)):
        numbers, keywords = pack(listed[start : start + CHUNK])
        made.append({"id": (mailbox, number), "upto": upto, "p": numbers, "keywords": keywords or None})
    return made


def pack_uids(uids: Iterable[int]) -> bytes:
    return b"".join([_UID.pack(uid) for uid in uids])


def unpack_uids(packed: bytes) -> list[int]:
    return [uid for (uid,) in _UID.iter_unpack(packed)]
