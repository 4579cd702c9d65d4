"""Hooks that cancel themselves, and hooks that will not be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.steps import Steps


async def through_steps(work: Coroutine[Any, Any, Any], grace: float) -> Any:
    return await Steps(work, Guard(), grace)


async def moments(count: int) -> None:
    """Lets the loop turn: longer than a grace of zero."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_time_out_inside_a_hook_is_the_hooks_own() -> None:
    async def hook() -> str:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
        await moments(20)
        return "done"

    assert await through_steps(hook(), 0) == "done"


async def test_a_scope_that_cancels_again_and_again_is_the_hooks_own() -> None:
    async def hook() -> str:
        task = asyncio.current_task()
        assert task is not None
        for _ in range(4):
            # What anyio does to leave a scope: it cancels its own task until the scope is left, then takes it back.
            asyncio.get_running_loop().call_soon(task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
        for _ in range(4):
            task.uncancel()
        await moments(5)
        return "done"

    assert await through_steps(hook(), 30) == "done"


async def test_a_hook_that_ignores_cancellation_is_cut_off_after_the_grace() -> None:
    async def hook() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(through_steps(hook(), 0))
    await moments(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_hook_may_clean_up() -> None:
    cleaned: list[str] = []

    async def hook() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await moments(3)
            cleaned.append("up")

    task = asyncio.create_task(through_steps(hook(), 30))
    await moments(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["up"]
