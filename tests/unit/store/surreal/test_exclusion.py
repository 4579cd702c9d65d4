"""Operations that run alone, and those that run side by side."""

from __future__ import annotations

import asyncio

import pytest

from inbox.store.surreal.exclusion import Exclusion


class Steps:
    """Operations that run until they are ended, and the names of those that run."""

    def __init__(self) -> None:
        self.exclusion = Exclusion()
        self.running: set[str] = set()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, name: str, *, alone: bool = False) -> None:
        self._ends[name] = asyncio.Event()

        async def work() -> None:
            async with self.exclusion.alone() if alone else self.exclusion.together():
                self.running.add(name)
                await self._ends[name].wait()
                self.running.remove(name)

        self._tasks.append(asyncio.create_task(work()))
        await self.settle()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_one_runs_alone_and_the_others_side_by_side() -> None:
    steps = Steps()
    await steps.begin("a")
    await steps.begin("b")
    assert steps.running == {"a", "b"}
    await steps.begin("large", alone=True)
    await steps.begin("c")
    assert steps.running == {"a", "b"}, "the large one waits for both, and c for the large one"
    await steps.end("a")
    assert steps.running == {"b"}
    await steps.end("b")
    assert steps.running == {"large"}
    await steps.end("large")
    assert steps.running == {"c"}
    await steps.end("c")


async def test_a_failure_or_a_cancellation_leaves_nothing_locked() -> None:
    exclusion = Exclusion()
    for entered in (exclusion.together, exclusion.alone):
        with pytest.raises(RuntimeError):
            async with entered():
                raise RuntimeError

    async def never() -> None:
        async with exclusion.together():
            await asyncio.Event().wait()

    async def waiting() -> None:
        async with exclusion.alone():
            raise AssertionError("it must not run")

    running, waits = asyncio.create_task(never()), asyncio.create_task(waiting())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in (waits, running):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5), exclusion.alone():
        pass
