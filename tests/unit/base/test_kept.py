from __future__ import annotations

from inbox.base.kept import Kept
from inbox.plugin.api.testing import FakeClock


def test_an_entry_lives_for_its_time() -> None:
    clock = FakeClock()
    kept: Kept[str] = Kept(clock, 2.0, 10)
    kept.put(("a", "b"), "value")
    clock.advance(2.0)
    assert kept.get(("a", "b")) == "value"
    clock.advance(0.1)
    assert kept.get(("a", "b")) is None
    assert kept.get(("a",)) is None


def test_the_oldest_makes_room() -> None:
    kept: Kept[int] = Kept(FakeClock(), 2.0, 2)
    for name, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        kept.put((name,), value)
    assert [kept.get((name,)) for name in "abc"] == [3, None, 4]


def test_nothing_is_left_after_clear() -> None:
    kept: Kept[int] = Kept(FakeClock(), 2.0, 2)
    kept.put(("a",), 1)
    kept.clear()
    assert kept.get(("a",)) is None
