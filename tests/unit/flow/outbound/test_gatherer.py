"""Group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from inbox.base.errors import AlreadyExists, StoreUnavailable
from inbox.flow.outbound.gatherer import Gatherer


class _Store:
    """Writes when it is allowed to; ``batches`` has what each transaction wrote."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = asyncio.Event()
        self.lost: set[str] = set()
        self.fails = False

    async def write(self, items: Sequence[str]) -> set[str]:
        self.batches.append(list(items))
        await self.open.wait()
        if self.fails:
            raise StoreUnavailable("away")
        return set(items) - self.lost


async def _started(gatherer: Gatherer[str], names: Sequence[str]) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.create_task(gatherer.put(name, name)) for name in names]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_an_item_that_cannot_be_written_fails_alone() -> None:
    written: list[str] = []

    async def write(items: Sequence[str]) -> set[str]:
        if "bad" in items:
            raise AlreadyExists("there is such a record")
        written.extend(items)
        return set(items)

    gatherer = Gatherer(write, 1000)
    tasks = await _started(gatherer, ["a", "bad", "b"])
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [results[0], results[2]] == [True, True]
    assert isinstance(results[1], AlreadyExists)
    assert written == ["a", "b"]


async def test_calls_during_a_transaction_are_written_by_the_next() -> None:
    store = _Store()
    gatherer = Gatherer(store.write, 1000)
    first = await _started(gatherer, ["a"])
    rest = await _started(gatherer, [f"b{number}" for number in range(50)])

    store.open.set()

    assert await asyncio.gather(*first, *rest) == [True] * 51
    assert [len(batch) for batch in store.batches] == [1, 50]


async def test_each_caller_learns_about_its_own_job() -> None:
    store = _Store()
    store.lost = {"b"}
    store.open.set()
    gatherer = Gatherer(store.write, 1000)

    assert await asyncio.gather(*(gatherer.put(name, name) for name in "abc")) == [True, False, True]


async def test_a_batch_is_bounded() -> None:
    store = _Store()
    gatherer = Gatherer(store.write, 2)
    tasks = await _started(gatherer, ["a", "b", "c", "d", "e"])

    store.open.set()
    await asyncio.gather(*tasks)

    assert [len(batch) for batch in store.batches] == [2, 2, 1]


async def test_an_error_reaches_the_callers_of_its_batch_only() -> None:
    store = _Store()
    store.fails = True
    gatherer = Gatherer(store.write, 1000)
    (first,) = await _started(gatherer, ["a"])
    store.open.set()
    with pytest.raises(StoreUnavailable):
        await first

    store.fails = False

    assert await gatherer.put("b", "b") is True


async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    store = _Store()
    gatherer = Gatherer(store.write, 1000)
    first = await _started(gatherer, ["a"])
    rest = await _started(gatherer, ["b", "c"])
    rest[0].cancel()
    await asyncio.sleep(0)

    store.open.set()

    assert await asyncio.gather(*first, rest[1]) == [True, True]
    assert store.batches == [["a"], ["c"]]


async def test_nothing_runs_between_calls() -> None:
    store = _Store()
    store.open.set()
    gatherer = Gatherer(store.write, 1000)
    before = len(asyncio.all_tasks())

    await gatherer.put("a", "a")
    await asyncio.sleep(0)

    assert len(asyncio.all_tasks()) == before
