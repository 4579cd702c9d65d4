"""Database look-ups whose results are cached for a moment and shared by concurrent callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from inbox.base.clock import Clock
from inbox.base.kept import Kept

V = TypeVar("V")


class SharedLookups(Kept[V]):
    """Found values by key. A miss is never kept.

    Args:
        seconds, most: see :class:`inbox.base.kept.Kept`.
    """

    def __init__(self, clock: Clock, seconds: float, most: int) -> None:
        super().__init__(clock, seconds, most)
        self._underway: dict[tuple[str, ...], asyncio.Future[None]] = {}

    async def find(self, key: tuple[str, ...], look: Callable[[], Awaitable[V | None]]) -> V | None:
        """Returns the kept value of ``key``, or what ``look`` finds.

        Callers during a look-up share what it finds: otherwise each message of a burst would query the database. They
        do not share a miss or an error: what they look for may have been created after that look-up began.
        """
        kept = self.get(key)
        if kept is not None:
            return kept
        underway = self._underway.get(key)
        if underway is not None:
            await asyncio.wait([underway])
            kept = self.get(key)
            return await look() if kept is None else kept
        done = self._underway[key] = asyncio.get_running_loop().create_future()
        try:
            found = await look()
            # After clear() another look-up may be in progress: this one may have read the state before a change.
            if found is not None and self._underway.get(key) is done:
                self.put(key, found)
            return found
        finally:
            if self._underway.get(key) is done:
                del self._underway[key]
            done.set_result(None)

    def clear(self) -> None:
        super().clear()
        self._underway.clear()
