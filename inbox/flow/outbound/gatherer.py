"""Group commit: calls of concurrent attempts are written in one transaction.

While one transaction runs, the next calls are collected; the next transaction writes all of them. A lone call is
written at once. If a batch fails for another reason than a database that is away, its items are written one by one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from inbox.base.errors import StoreUnavailable

T = TypeVar("T")


class Backlog:
    """Outcomes that are known and not recorded yet.

    After a kill, each of their messages is sent again. So no further final dot is sent while there are too many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __enter__(self) -> None:
        """Counts an outcome that is known."""
        self._count += 1
        if self._count >= self._most:
            self._has_room.clear()

    def __exit__(self, *_: object) -> None:
        """Ends the count of an outcome: it is recorded, or given up."""
        self._count -= 1
        if self._count < self._most:
            self._has_room.set()

    @property
    def is_full(self) -> bool:
        return not self._has_room.is_set()

    async def room(self) -> None:
        """Waits until fewer than ``most`` outcomes are not recorded."""
        await self._has_room.wait()


class Gatherer(Generic[T]):
    """Writes items in batches.

    Args:
        write: writes a batch in one transaction, and returns the ids of the jobs that were still held.
        most: the maximum number of items in one batch.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[set[str]]], most: int) -> None:
        self._write = write
        self._most = most
        self._waiting: deque[tuple[str, T, asyncio.Future[bool]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def put(self, job: str, item: T) -> bool:
        """Writes the item. Returns whether its job was still held.

        Raises:
            StoreUnavailable: the batch may have been written or not.
            StoreError: the item was not written.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, item, done))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                count = min(self._most, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                await self._write_batch([each for each in batch if not each[2].cancelled()])
        finally:
            self._task = None

    async def _write_batch(self, batch: list[tuple[str, T, asyncio.Future[bool]]]) -> None:
        if not batch:
            return
        try:
            held = await self._write([item for _, item, _ in batch])
        except asyncio.CancelledError:
            for _, _, done in (*batch, *self._waiting):
                done.cancel()
            self._waiting.clear()
            raise
        except Exception as error:  # noqa: BLE001  Every caller gets it.
            if len(batch) > 1 and not isinstance(error, StoreUnavailable):
                # One item may be at fault: then the others must not fail with it.
                for each in batch:
                    await self._write_batch([each])
                return
            for _, _, done in batch:
                if not done.done():
                    done.set_exception(error)
            return
        for job, _, done in batch:
            if not done.done():
                done.set_result(job in held)
