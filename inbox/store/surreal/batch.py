"""Batching of concurrent writes into one transaction.

There is no timer: items queued while the last transaction ran go into the next one. A transaction costs about a
millisecond whatever its size, so twenty concurrent sessions are four times as fast as sequential ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from inbox.base.errors import StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items and commits them together.

    Args:
        commit: writes the items; returns a result or an exception for each. If it raises, all items fail with that
            exception.
        most: the maximum number of items in one transaction.
    """

    def __init__(
        self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result | BaseException]]], most: int
    ) -> None:
        self._commit = commit
        self._most = most
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Returns the item's result once it is committed. If the caller is cancelled, the item may still be
        committed."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._run())
        return await result

    async def close(self) -> None:
        """Waits for pending items."""
        if self._worker is not None:
            await asyncio.wait([self._worker])

    async def _run(self) -> None:
        try:
            while self._waiting:
                count = min(self._most, len(self._waiting))
                batch = [one for one in (self._waiting.popleft() for _ in range(count)) if not one[1].done()]
                if batch:
                    await self._settle(batch)
        finally:
            self._worker = None
            while self._waiting:  # Only when the loop is being torn down: nothing will write these items.
                _, result = self._waiting.popleft()
                result.cancel()

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        outcomes: Sequence[Result | BaseException]
        try:
            outcomes = await self._commit([item for item, _ in batch])
        except asyncio.CancelledError:
            outcomes = [StoreUnavailable("the database was closed")] * len(batch)
            raise
        except Exception as error:  # noqa: BLE001 - every caller gets the error, whatever it is
            outcomes = [error] * len(batch)
        finally:
            for (_, result), outcome in zip(batch, outcomes, strict=True):
                if result.done():
                    continue
                if isinstance(outcome, BaseException):
                    result.set_exception(outcome)
                else:
                    result.set_result(outcome)
