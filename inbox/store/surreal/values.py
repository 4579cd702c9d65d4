"""Wire format of SurrealDB's values: CBOR with the tags of its RPC protocol.

cbor2 encodes and decodes in C. Python's ``None`` is sent as NONE (tag 6), which drops a field; a plain CBOR null would
store NULL, which an ``option<…>`` rejects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import cbor2

_NONE, _RECORD, _UUID_TEXT, _UUID, _RANGE, _INCLUDED, _EXCLUDED = 6, 8, 9, 37, 49, 50, 51
#: Sorts after every number and string in an array id.
LAST: Final[dict[str, Any]] = {}
#: An expression for the database's time, in seconds since the epoch.
NOW: Final = "<float> time::micros(time::now()) / 1000000"


class RecordId(NamedTuple):
    """``table:key``; the key is a string, or a tuple of strings and integers."""

    table: str
    key: Any


def micros(seconds: float) -> int:
    """Converts a time for use in a record id: SurrealDB does not keep all bits of a floating-point number there."""
    return round(seconds * 1_000_000)


class Keys(NamedTuple):
    """The range of records of ``table`` with ``first <= key <= last``."""

    table: str
    first: Sequence[Any]
    last: Sequence[Any]


def _encode_record(encoder: cbor2.CBOREncoder, record: RecordId) -> None:
    encoder.encode(cbor2.CBORTag(_RECORD, [record.table, record.key]))


def _encode_keys(encoder: cbor2.CBOREncoder, keys: Keys) -> None:
    bounds = [cbor2.CBORTag(_INCLUDED, keys.first), cbor2.CBORTag(_INCLUDED, keys.last)]
    encoder.encode(cbor2.CBORTag(_RECORD, [keys.table, cbor2.CBORTag(_RANGE, bounds)]))


def _encode_none(encoder: cbor2.CBOREncoder, _: None) -> None:
    encoder.write(b"\xc6\xf6")


def _encode_uuid(encoder: cbor2.CBOREncoder, value: UUID) -> None:
    encoder.encode(cbor2.CBORTag(_UUID, value.bytes))


_ENCODERS: Final[Mapping[type, Callable[[cbor2.CBOREncoder, Any], Any]]] = {
    RecordId: _encode_record,
    Keys: _encode_keys,
    type(None): _encode_none,
    UUID: _encode_uuid,
}


def _decode_tag(tag: cbor2.CBORTag, _immutable: bool = False) -> Any:
    value = tag.value
    if tag.tag == _RECORD:
        key = value[1]
        return RecordId(value[0], tuple(key) if isinstance(key, list) else key)
    if tag.tag == _NONE:
        return None
    if tag.tag == _UUID:
        return UUID(bytes=value)
    return value


def encode(value: Any) -> bytes:
    """Raises cbor2.CBOREncodeError for what has no form on the wire."""
    return cbor2.dumps(value, encoders=_ENCODERS)


def decode(frame: bytes) -> Any:
    """Raises cbor2.CBORDecodeError."""
    return cbor2.loads(frame, tag_hook=_decode_tag)
