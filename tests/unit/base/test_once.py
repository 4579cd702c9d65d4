"""Results that are computed once."""

from __future__ import annotations

from inbox.base.once import Once


def test_the_second_time_is_not_the_first() -> None:
    once = Once()
    assert [once.first(key) for key in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]


def test_the_oldest_are_forgotten() -> None:
    once = Once(most=2)
    assert [once.first(key) for key in ("a", "b", "c", "b", "a")] == [True, True, True, False, True]
