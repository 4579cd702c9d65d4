"""Await several coroutines at once, without a task for what need not wait.

Most look-ups of a busy server are answered by a cache, and then a task costs ten times as much as the answer. Each
coroutine begins in the caller's task. The first one that has to wait continues there, and the ones after it get tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from functools import partial
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results, in order. Raises the first error once all have ended.

    Args:
        coroutines: not yet begun; an iterator makes them one after the other, so that none is left over.
    """
    remaining = iter(coroutines)
    found: list[T | BaseException] = []
    for each in remaining:
        try:
            first = each.send(None)
        except StopIteration as end:
            found.append(end.value)
        except Exception as error:  # noqa: BLE001  raised below
            found.append(error)
        else:
            found += await _with_tasks(each, first, remaining)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return [one for one in found if not isinstance(one, BaseException)]


async def _with_tasks(
    begun: Coroutine[Any, Any, T], first: object, remaining: Iterator[Coroutine[Any, Any, T]]
) -> list[T | BaseException]:
    tasks = [asyncio.ensure_future(each) for each in remaining]
    try:
        try:
            mine: T | BaseException = await _rest(begun, first)
        except Exception as error:  # noqa: BLE001  the caller raises it
            mine = error
        return [mine, *await asyncio.gather(*tasks, return_exceptions=True)]
    finally:
        unfinished = [task for task in tasks if task.cancel()]
        if unfinished:
            await asyncio.wait(unfinished)


@coroutine
def _rest(begun: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Continues a coroutine that has begun and waits for ``waits_for``."""
    step: Callable[[], Any]
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001  belongs to the coroutine
            step = partial(begun.throw, error)
        else:
            step = partial(begun.send, sent)
        try:
            waits_for = step()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the coroutine returned
