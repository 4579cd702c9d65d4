"""Identifiers."""

from __future__ import annotations

from inbox.base.ids import RandomIds


def test_an_identifier_has_its_form_and_its_time_first() -> None:
    now = [1_700_000_000.0]
    ids = RandomIds(lambda: now[0])
    first = ids.new()
    now[0] += 0.002
    second = ids.new()
    assert len(first) == 20
    assert set(first) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    assert first < second


def test_identifiers_of_one_moment_differ() -> None:
    ids = RandomIds(lambda: 1_700_000_000.0)
    assert len({ids.new() for _ in range(10_000)}) == 10_000


def test_all_random_bits_are_used() -> None:
    low = RandomIds(lambda: 0.0, lambda count: b"\x00" * count).new()
    high = RandomIds(lambda: 0.0, lambda count: b"\xff" * count).new()
    assert low == "0" * 20
    assert high == "0" * 9 + "3" + "z" * 10


def test_a_clock_that_leaps_back_and_forth_repeats_no_id() -> None:
    moments = [1_800_000_000.0, 2_200_000_000.0, 0.0, 1_800_000_000.0, 1_799_999_999.999]
    made = [RandomIds(lambda moment=moment: moment).new() for moment in moments for _ in range(500)]  # type: ignore[misc]
    assert len(set(made)) == len(made)
    assert all(len(one) == 20 for one in made)
    # Ids of one moment sort together, and later ones after them.
    assert max(made[1000:1500]) < min(made[:500]) < min(made[500:1000])
