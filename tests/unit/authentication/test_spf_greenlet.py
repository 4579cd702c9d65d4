"""Synchronous code that waits for awaitables: results, exceptions, cancellation, and that nothing remains suspended."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
from collections.abc import Callable

import pytest
from greenlet import greenlet

from inbox.authentication.spf_greenlet import run, wait
from inbox.plugin.engine.guard import Guard, HookOverrun

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

USER: contextvars.ContextVar[str] = contextvars.ContextVar("USER", default="nobody")


def suspended() -> int:
    """Greenlets that began and have not ended, the running one excluded."""
    gc.collect()
    return sum(isinstance(each, greenlet) and not each.dead and each.parent is not None for each in gc.get_objects())


async def after_a_turn(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def failing() -> int:
    await asyncio.sleep(0)
    raise ValueError("no")


async def test_it_returns_what_the_work_returns() -> None:
    def work() -> int:
        return sum(wait(after_a_turn(number)) for number in range(4))

    assert await run(work) == 6
    assert suspended() == 0


async def test_an_awaitables_exception_is_raised_where_the_work_waits() -> None:
    def work() -> str:
        try:
            wait(failing())
        except ValueError as error:
            return f"caught {error}, then {wait(after_a_turn(1))}"
        return "nothing was raised"

    assert await run(work) == "caught no, then 1"


@pytest.mark.parametrize("error", [KeyError, RecursionError, HookOverrun])
async def test_the_works_exception_is_raised(error: type[BaseException]) -> None:
    def work() -> None:
        wait(after_a_turn(1))
        raise error

    with pytest.raises(error):
        await run(work)
    assert suspended() == 0


def test_work_that_keeps_the_event_loop_is_interrupted() -> None:
    """The guard of hooks raises its exception in whatever runs on the main thread."""
    guard = Guard(limit=0.02, interval=0.01)
    if not guard.install():
        pytest.skip("this test runs in a thread that gets no signals")

    def work() -> None:
        wait(after_a_turn(1))
        guard.enter()
        while True:
            pass

    try:
        with pytest.raises(HookOverrun):
            asyncio.run(run(work))
    finally:
        guard.remove()
    assert suspended() == 0


async def test_wait_refuses_to_be_called_elsewhere() -> None:
    pending = after_a_turn(1)
    with pytest.raises(RuntimeError, match="only in code"):
        wait(pending)
    pending.close()


async def test_work_sees_the_context_of_its_task() -> None:
    async def user() -> str:
        return USER.get()

    def work() -> tuple[str, str]:
        return USER.get(), wait(user())

    USER.set("ann")
    assert await run(work) == ("ann", "ann")


def once(seen: list[BaseException]) -> None:
    """Ends with the exception."""
    try:
        wait(asyncio.Event().wait())
    except BaseException as error:
        seen.append(error)
        raise


def swallowing(seen: list[BaseException]) -> None:
    """Continues as if nothing had happened."""
    try:
        wait(asyncio.Event().wait())
    except BaseException as error:
        seen.append(error)


def asking_again(seen: list[BaseException]) -> None:
    """Asks for something else."""
    try:
        wait(asyncio.Event().wait())
    except BaseException as error:
        seen.append(error)
        wait(after_a_turn(1))


@pytest.mark.parametrize("work", [once, swallowing, asking_again])
async def test_a_cancelled_task_leaves_nothing_suspended(work: Callable[[list[BaseException]], None]) -> None:
    seen: list[BaseException] = []
    task = asyncio.create_task(run(lambda: work(seen)))
    await asyncio.sleep(0)
    assert suspended() == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(error) for error in seen] == [asyncio.CancelledError]
    assert suspended() == 0


async def test_a_coroutine_that_is_dropped_leaves_nothing_suspended() -> None:
    seen: list[BaseException] = []
    coroutine = run(lambda: once(seen))
    coroutine.send(None)
    assert suspended() == 1
    coroutine.close()
    assert [type(error) for error in seen] == [GeneratorExit]
    assert suspended() == 0


async def test_a_thousand_at_once_take_their_turns() -> None:
    gate = asyncio.Event()

    def work(number: int) -> int:
        wait(gate.wait())
        return wait(after_a_turn(number))

    tasks = [asyncio.create_task(run(functools.partial(work, number))) for number in range(1000)]
    await asyncio.sleep(0)
    assert suspended() == 1000
    gate.set()
    assert await asyncio.gather(*tasks) == list(range(1000))
    assert suspended() == 0
