from __future__ import annotations

from inbox.plugin.api.testing import FakeClock
from inbox.plugin.engine.breaker import Breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(FakeClock(), failures=3)
    assert not breaker.failed("a")
    assert not breaker.failed("b")
    breaker.succeeded()
    assert [breaker.failed(why) for why in "cde"] == [False, False, True]
    assert breaker.refuses()
    assert breaker.reason == "e"


def test_one_trial_after_the_cool_down() -> None:
    clock = FakeClock()
    breaker = Breaker(clock, failures=1, cool_down=10)
    breaker.failed("x")
    clock.advance(9.9)
    assert breaker.refuses()
    clock.advance(0.1)
    assert not breaker.refuses()
    assert breaker.refuses(), "only one at a time"
    assert breaker.failed("again"), "the trial failed: open for another while"
    assert breaker.refuses()
    clock.advance(10)
    assert not breaker.refuses()
    breaker.succeeded()
    assert not breaker.is_open
    assert not breaker.refuses()


def test_a_trial_that_was_cancelled_lets_the_next_one_try() -> None:
    clock = FakeClock()
    breaker = Breaker(clock, failures=1, cool_down=10)
    breaker.failed("x")
    clock.advance(10)
    assert not breaker.refuses()
    breaker.abandoned()
    assert not breaker.refuses()
