"""The time by which jobs expire."""

from __future__ import annotations

from inbox.flow.outbound.leaps import GRACE_SECONDS, LEAP_SECONDS, ExpiryTime
from inbox.plugin.testing import FakeClock, MemoryLog
from tests.support.outbound import LATER, FakeQueue, OutboundWorld

DAY = 86_400.0


class Leaping(FakeClock):
    """Its wall clock can be set."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


def test_nothing_expires_for_a_while_after_a_leap_ahead() -> None:
    clock, log = Leaping(), MemoryLog()
    time = ExpiryTime(clock, log)
    clock.advance(10 * DAY)  # An idle process does not look; its clocks go on together.
    assert time.now() == clock.now()
    clock.ahead = DAY
    assert time.now() == 0
    clock.advance(GRACE_SECONDS - 1)
    assert time.now() == 0
    clock.advance(1)
    assert time.now() == clock.now()
    assert [event for _, event, _ in log.events] == ["outbound_clock_leaped"]


def test_small_corrections_and_leaps_back_are_no_leaps() -> None:
    clock, log = Leaping(), MemoryLog()
    time = ExpiryTime(clock, log)
    for ahead in (LEAP_SECONDS, 0.0, -DAY):
        clock.ahead = ahead
        assert time.now() == clock.now()
    assert log.events == []


async def test_a_job_does_not_expire_because_the_clock_leaped() -> None:
    clock = Leaping()
    world = OutboundWorld(lambda mail, way: [LATER], queue=FakeQueue(clock))
    world.job()
    clock.ahead = 2 * DAY
    await world.turn()
    assert world.statuses() == ["pending"]
    clock.advance(GRACE_SECONDS)
    await world.turn()
    assert world.statuses() == ["failed"]
