"""Counters that always count."""

from __future__ import annotations

import asyncio

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.store.ports.rates import Counted
from inbox.store.rates import PAUSE, LastingCounters, MemoryCounters


class Shared:
    """Counters that fail on request."""

    def __init__(self) -> None:
        self.memory = MemoryCounters()
        self.error: Exception | None = None
        self.hangs = False
        self.asked = 0

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        counted = self.memory.hit(key, window, now, amount)
        return Counted(counted.count, counted.expires_at)

    async def prune(self, now: float) -> int:
        if self.error is not None:
            raise self.error
        return self.memory.prune(now)


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def test_a_counter_counts_in_its_window() -> None:
    counters = MemoryCounters()
    assert counters.hit("k", 60, 100.0) == Counted(1, 120.0, local=True)
    assert counters.hit("k", 60, 119.0, 5) == Counted(6, 120.0, local=True)
    assert counters.hit("k", 60, 120.0) == Counted(1, 180.0, local=True)
    assert counters.hit("other", 60, 120.0, 0) == Counted(0, 180.0, local=True)
    assert counters.prune(179.0) == 0
    assert counters.prune(180.0) == 1


def test_memory_is_bounded() -> None:
    counters = MemoryCounters(3)
    for number in range(10):
        counters.hit(f"k{number}", 60, 1.0)
        counters.hit("often", 60, 1.0)
    assert sorted(key for key, _, _ in counters.take(1.0)) == ["k8", "k9", "often"]


async def test_counts_continue_in_memory_and_come_back(time: Time) -> None:
    shared = Shared()
    counters = LastingCounters(shared, monotonic=time)
    assert await counters.hit("k", 600, 1.0) == Counted(1, 600.0)
    assert counters.trouble == ""
    shared.error = StoreUnavailable("gone")
    assert await counters.hit("k", 600, 2.0) == Counted(1, 600.0, local=True)
    assert await counters.hit("k", 600, 2.0) == Counted(2, 600.0, local=True)
    assert await counters.hit("ended", 1, 2.0) == Counted(1, 3.0, local=True)
    assert counters.trouble == "gone"
    assert shared.asked == 2, "it is left alone for a while"
    shared.error = None
    time.now += PAUSE
    assert await counters.hit("k", 600, 5.0) == Counted(2, 600.0)
    assert counters.trouble == ""
    await counters.close()
    assert await counters.hit("k", 600, 6.0) == Counted(5, 600.0), "what was counted meanwhile is not lost"
    assert shared.memory.hit("ended", 1, 2.5, 0).count == 0


async def test_the_way_back_is_prepared_and_may_fail(time: Time) -> None:
    shared = Shared()
    prepared: list[bool] = []

    async def again() -> None:
        prepared.append(True)
        if len(prepared) == 1:
            raise StoreUnavailable("no folder")

    counters = LastingCounters(shared, again, time)
    counters.failed("gone")
    assert (await counters.hit("k", 600, 1.0)).local
    assert prepared == []
    time.now += PAUSE
    assert (await counters.hit("k", 600, 1.0)).local
    assert counters.trouble == "no folder"
    time.now += PAUSE
    assert not (await counters.hit("k", 600, 1.0)).local
    assert prepared == [True, True]
    await counters.close()


async def test_a_database_that_hangs_keeps_one_caller_waiting(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.store.rates.TIMEOUT_SECONDS", 0.01)
    shared = Shared()
    shared.hangs = True
    counters = LastingCounters(shared, monotonic=time)
    assert (await counters.hit("k", 600, 1.0)).local
    assert "did not answer within" in counters.trouble
    time.now += PAUSE
    results = await asyncio.gather(*(counters.hit("k", 600, 1.0) for _ in range(50)))
    assert all(counted.local for counted in results)
    assert shared.asked == 2


async def test_a_return_that_fails_keeps_what_was_counted(time: Time) -> None:
    shared = Shared()
    counters = LastingCounters(shared, monotonic=time)
    counters.failed("gone")
    for number in range(5):
        await counters.hit(f"k{number}", 600, 1.0)
    time.now += PAUSE
    assert not (await counters.hit("new", 600, 1.0)).local
    shared.error = StoreUnavailable("gone again")
    await counters.close()
    assert counters.trouble == "gone again"
    assert await counters.hit("k3", 600, 1.0) == Counted(2, 600.0, local=True)


async def test_pruning_never_fails(time: Time) -> None:
    shared = Shared()
    counters = LastingCounters(shared, monotonic=time)
    await counters.hit("k", 60, 1.0)
    shared.error = StoreUnavailable("gone")
    assert await counters.prune(100.0) == 0
    await counters.hit("m", 60, 1.0)
    assert await counters.prune(100.0) == 1
    shared.error = None
    time.now += PAUSE
    await counters.hit("k", 60, 100.0)
    await counters.close()
    assert await counters.prune(1000.0) == 1


async def test_a_hanging_file_is_not_opened_again(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.store.rates.TIMEOUT_SECONDS", 0.01)
    shared = Shared()
    opened = asyncio.Event()
    attempts: list[bool] = []

    async def again() -> None:
        attempts.append(True)
        await opened.wait()

    counters = LastingCounters(shared, again, time)
    shared.hangs = True
    for _ in range(3):
        assert (await counters.hit("k", 600, 1.0)).local
        time.now += PAUSE
    assert attempts == []
    shared.hangs, shared.error = False, StoreUnavailable("gone")
    for _ in range(4):
        assert (await counters.hit("k", 600, 1.0)).local
        time.now += PAUSE
    assert attempts == [True]
    await counters.close()
    shared.error = None
    opened.set()
    assert not (await counters.hit("k", 600, 1.0)).local
    await counters.close()
