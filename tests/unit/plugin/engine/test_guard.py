"""Hooks that keep the event loop to themselves are interrupted."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from inbox.plugin import Defer, HookResult, Plugin, PluginSettings, Services, hookimpl
from inbox.plugin.engine.guard import SIGNAL, Guard
from inbox.plugin.engine.steps import Steps
from inbox.policy.outcome import Status
from tests.support.engine import Engine

FOREVER = 3600


@pytest.fixture
def guard() -> Iterator[Guard]:
    watching = Guard(limit=0.02, interval=0.01)
    if not watching.install():
        pytest.skip("this test runs in a thread that gets no signals")
    yield watching
    watching.remove()


class Blocks(Plugin):
    class Settings(PluginSettings):
        how: str = "sleep"

    def __init__(self, settings: Settings, services: Services) -> None:
        if settings.how == "init":
            time.sleep(FOREVER)
        self.how = settings.how

    def _block(self) -> None:
        if self.how == "loop":
            while True:
                pass
        if self.how == "swallow":
            try:
                time.sleep(FOREVER)
            except BaseException:
                time.sleep(FOREVER)
        try:
            time.sleep(FOREVER)
        except Exception:
            raise AssertionError("a hook must not be able to swallow it by accident") from None

    @hookimpl
    def data(self) -> HookResult:
        self._block()
        return None

    @hookimpl
    async def rcpt(self) -> HookResult:
        await asyncio.sleep(0)
        self._block()
        return None


@pytest.mark.parametrize("how", ["sleep", "loop", "swallow", "init"])
async def test_a_blocking_hook_is_interrupted(guard: Guard, how: str) -> None:
    engine = Engine({"b": Blocks}, f"plugins: {{b: {{how: {how}}}}}", guard=guard)
    for outcome in (await engine.data(), await engine.rcpt()):
        assert isinstance(outcome.verdict, Defer)
        assert outcome.traces[0].status is Status.LATE
        assert outcome.traces[0].why == "blocked the event loop for more than 0.02 s"


def test_under_uvloop(guard: Guard) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def run() -> Status:
        return (await Engine({"b": Blocks}, guard=guard).data()).traces[0].status

    assert uvloop.run(run()) is Status.LATE


def test_only_one_and_the_same_step_can_overrun() -> None:
    guard = Guard(limit=0.3, interval=0.1)
    guard.enter()
    assert [guard.look() for _ in range(5)] == [False, False, False, True, False]
    guard.enter()
    assert [guard.look() for _ in range(3)] == [False, False, False], "another step has another limit"
    guard.leave()
    assert not any(guard.look() for _ in range(10)), "between steps nothing is interrupted"


def test_a_signal_that_comes_late_does_nothing(guard: Guard) -> None:
    guard.enter()
    guard.leave()
    signal.raise_signal(SIGNAL)
    guard.enter()
    signal.raise_signal(SIGNAL)
    guard.leave()


def test_outside_of_the_main_thread_nothing_is_interrupted() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(Guard().install()))
    thread.start()
    thread.join()
    assert found == [False]


async def test_a_hook_that_ignores_its_cancellation_is_cut_off() -> None:
    seen: list[str] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                seen.append("cancelled")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Steps(stubborn(), Guard(), grace=0.01)
    assert seen == ["cancelled"], "the second time it was closed"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


# The interpreter complains about such a coroutine when it is collected; so it should.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_hook_that_ignores_even_that_is_left_behind() -> None:
    async def worst() -> None:
        while True:
            try:
                await asyncio.sleep(FOREVER)
            except BaseException:
                continue

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Steps(worst(), Guard(), grace=0.01)


async def test_cleaning_up_after_a_cancellation_is_waited_for() -> None:
    seen: list[str] = []

    async def tidy() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            seen.append("tidied")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Steps(tidy(), Guard())
    assert seen == ["tidied"]


async def test_steps_hand_on_results_and_errors() -> None:
    async def answers() -> int:
        await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ValueError("x"))
        try:
            await future
        except ValueError:
            return 7
        return 0

    assert await Steps(answers(), Guard()) == 7
    at_once = Steps(asyncio.sleep(0, 5), Guard())
    assert at_once.begin() is False
    assert await at_once == 5
