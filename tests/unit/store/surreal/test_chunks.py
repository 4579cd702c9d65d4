"""Packed entries: what was packed is unpacked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.store.ports.messages import Entry
from inbox.store.surreal.chunks import CHUNK, chunk_rows, pack, pack_uids, unpack, unpack_uids

UIDS = st.integers(1, 2**32 - 1)
WORDS = st.lists(st.text(min_size=1, max_size=20).filter(lambda word: max(word) < "\ud800"), max_size=3).map(tuple)
ENTRIES = st.dictionaries(
    UIDS, st.tuples(st.integers(1, 2**63), st.integers(0, 31), WORDS), max_size=50
).map(lambda found: [Entry(uid, *rest) for uid, rest in found.items()])  # fmt: skip


@pytest.mark.slow
@given(ENTRIES)
def test_unpack_is_the_inverse_of_pack(entries: list[Entry]) -> None:
    assert unpack(*pack(entries)) == {entry.uid: entry for entry in entries}


@given(st.lists(UIDS))
def test_uids(uids: list[int]) -> None:
    assert unpack_uids(pack_uids(uids)) == uids


def test_a_mailbox_is_cut_into_chunks() -> None:
    entries = {uid: Entry(uid, uid, 0) for uid in range(1, 2 * CHUNK + 2)}
    chunks = chunk_rows("box", 77, entries)
    assert [chunk["id"] for chunk in chunks] == [("box", 0), ("box", 1), ("box", 2)]
    assert {chunk["upto"] for chunk in chunks} == {77}
    together = [entry for chunk in chunks for entry in unpack(chunk["p"], chunk["keywords"]).values()]
    assert together == list(entries.values())
