"""Values on the wire."""

from __future__ import annotations

from uuid import UUID

import cbor2
import pytest

from inbox.store.surreal.values import LAST, Keys, RecordId, decode, encode


def test_none_goes_out_as_none_and_not_as_null() -> None:
    assert encode(None) == b"\xc6\xf6"
    assert decode(b"\xc6\xf6") is None
    assert decode(b"\xf6") is None


@pytest.mark.parametrize("key", ["abc", "a⟩b'; DELETE x", "", ("box", 7), ("a", "b"), 5])
def test_record_ids(key: object) -> None:
    record = RecordId("mailbox", key)
    assert decode(encode(record)) == record
    assert decode(encode({"in": [record]})) == {"in": [record]}


def test_uuids() -> None:
    value = UUID("95c53436-9c9e-430d-bcb3-a746800fcb38")
    assert decode(encode(value)) == value


def test_a_range_of_keys() -> None:
    tag = cbor2.loads(encode(Keys("t", ["a", 1], ["a", LAST])))
    assert tag.tag == 8
    table, keys = tag.value
    assert (table, keys.tag) == ("t", 49)
    first, last = keys.value
    assert (first.tag, list(first.value), last.tag, list(last.value)) == (50, ["a", 1], 50, ["a", {}])
