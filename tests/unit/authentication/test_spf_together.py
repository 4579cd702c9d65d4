"""Several coroutines at once: results, errors, time-outs, cancellation, and how many tasks they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from inbox.authentication.spf_together import together


class Tasks:
    """Counts the tasks that are made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        self.made += 1
        return asyncio.Task(work, loop=loop, **more)


async def known(value: int) -> int:
    return value


async def awaited(value: int) -> int:
    for _ in range(3):
        await asyncio.sleep(0)
    return value


async def fails(error: Exception, *, late: bool = False) -> int:
    if late:
        await asyncio.sleep(0)
    raise error


def each(pattern: str) -> Iterator[Coroutine[Any, Any, int]]:
    """One coroutine for each letter: k knows, w has to wait."""
    return (known(number) if letter == "k" else awaited(number) for number, letter in enumerate(pattern))


@pytest.mark.parametrize(
    ("pattern", "made"), [("", 0), ("k", 0), ("kkkk", 0), ("w", 0), ("kw", 0), ("wk", 1), ("kwkw", 2), ("www", 2)]
)
async def test_a_check_that_does_not_wait_needs_no_task(pattern: str, made: int) -> None:
    tasks = Tasks()
    asyncio.get_running_loop().set_task_factory(tasks)
    assert await together(each(pattern)) == list(range(len(pattern)))
    assert tasks.made == made


async def test_all_wait_at_the_same_time() -> None:
    barrier = asyncio.Barrier(3)
    async with asyncio.timeout(10):
        assert sorted(await together(barrier.wait() for _ in range(3))) == [0, 1, 2]


@pytest.mark.parametrize("late", [(False, False), (True, False), (False, True), (True, True)])
async def test_the_first_error_is_raised_once_all_have_ended(late: tuple[bool, bool]) -> None:
    ended = asyncio.Event()

    async def last() -> int:
        await awaited(1)
        ended.set()
        return 1

    first, second = late
    with pytest.raises(ValueError, match="first"):
        await together([fails(ValueError("first"), late=first), fails(KeyError("second"), late=second), last()])
    assert ended.is_set()


async def test_a_time_out_inside_ends_its_own_coroutine_alone() -> None:
    async def limited(seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "never"

    async with asyncio.timeout(10):
        assert await together(limited(0.001) for _ in range(3)) == ["late"] * 3


async def test_cancellation_ends_all() -> None:
    ended: list[int] = []

    async def forever(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    task = asyncio.create_task(together(forever(number) for number in range(3)))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [0, 1, 2]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_exception_that_is_thrown_in_may_be_caught() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "went on"
        return "never"

    task = asyncio.create_task(together([stubborn()]))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == ["went on"]
