"""Bodies of decision records: small on disk, and readable whatever the disk gives back."""

from __future__ import annotations

import hashlib
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.base.errors import StoreError
from inbox.base.limits import DECISION_OCTETS
from inbox.policy.decision import Decision, PluginRecord, StageRecord, encode
from inbox.store import packing

RECORD = encode(
    Decision(
        "06h2vjvhww8e89ahdefq", 1796064637.4204156, "accept", tenant="acme", door="smtp", peer="192.0.2.7",
        helo="mx.elsewhere.test", sender="bob@elsewhere.test", recipients=["ann@acme.test"], size=2162, stage="data",
        code=250, enhanced="2.0.0", text="OK (id 06h2vjvhww8e89ahdefq)",
        stages=[
            StageRecord("connect", plugins=[PluginRecord("rate_limit", "1.0.0", "04e20b42bac1", us=26)]),
            StageRecord(
                "data",
                plugins=[
                    PluginRecord(
                        "dmarc", "1.0.0", "06366fa3bf3d", us=476,
                        facts=[{"kind": "DmarcFact", "result": "pass", "domain": "elsewhere.test", "policy": "none"}],
                    )
                ],
            ),
        ],
    )
)  # fmt: skip


def test_the_dictionary_never_changes() -> None:
    """Every record that was written with it would become unreadable: a better one gets another number."""
    digest = hashlib.sha256(packing.dictionary()).hexdigest()
    assert digest == "23dd3d8e2757508eec2191790ac3f0b3a194edf6a897e72b7630f0a76968d255"


def test_a_usual_record_becomes_a_fraction() -> None:
    packed = packing.pack(RECORD)
    assert packed[:1] == packing.DICTIONARY_1
    assert len(packed) * 3 < len(RECORD)
    assert packing.unpack(packed) == RECORD


@given(st.binary(max_size=300))
def test_whatever_is_packed_is_unpacked(body: bytes) -> None:
    packed = packing.pack(body)
    assert packing.unpack(packed) == body
    assert len(packed) <= len(body) + 1


@pytest.mark.parametrize("size", [8_000, 70_000, 1_000_000])
def test_a_large_record(size: int) -> None:
    body = json.dumps({"text": [f"number {n}" for n in range(size // 14)]}).encode()
    packed = packing.pack(body)
    assert len(packed) * 3 < len(body)
    assert packing.unpack(packed) == body


def test_a_record_that_is_too_large_to_be_inflated_is_kept_plain() -> None:
    body = b"{" + b" " * DECISION_OCTETS
    assert packing.pack(body) == body
    assert packing.unpack(packing.pack(b"[" + body)) == b"[" + body


def test_records_of_older_versions_stay_readable() -> None:
    assert packing.unpack(RECORD) == RECORD
    assert packing.unpack(b"") == b""


@pytest.mark.parametrize("stored", [b"\x02new", b"\x01", b"\x01\xff\xff\xff", b"[1]", b"\xff"])
def test_a_damaged_record_is_an_error_and_not_a_crash(stored: bytes) -> None:
    with pytest.raises(StoreError):
        packing.unpack(stored)
    assert packing.readable(stored) == stored


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_octet_never_raises_another_error(place: int, mask: int) -> None:
    packed = bytearray(packing.pack(RECORD))
    packed[place % len(packed)] ^= mask
    packing.readable(bytes(packed))
    packing.readable(bytes(packed[: place % len(packed)]))


def test_octets_after_the_end_are_an_error() -> None:
    with pytest.raises(StoreError, match="damaged"):
        packing.unpack(packing.pack(RECORD) + b"x")


def test_little_never_becomes_very_much() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -14, 9, zlib.Z_DEFAULT_STRATEGY, packing.dictionary())
    bomb = packing.DICTIONARY_1 + compressor.compress(bytes(4 * DECISION_OCTETS)) + compressor.flush()
    assert len(bomb) < DECISION_OCTETS // 100
    with pytest.raises(StoreError, match="it exceeds"):
        packing.unpack(bomb)
