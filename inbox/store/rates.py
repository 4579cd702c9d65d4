"""Rate counters in the database that fall back to memory while it cannot be written.

A failing counter must not lock anyone out. While the database cannot be written each process counts for itself, so a
limit is reached later than with shared counts; the counts are added to the database when it is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from inbox.base.errors import StoreError
from inbox.store.ports.rates import Counted, RateCounters

#: The maximum number of counters that one process keeps in memory, of about 200 octets each; a new one replaces the
#: oldest.
MOST: Final = 20_000
#: Seconds that a counter in the database may take, and seconds until the database is retried after a failure.
TIMEOUT_SECONDS: Final = 1.5
PAUSE: Final = 5.0
#: The number of counters written to the database at once when it is back.
_TOGETHER: Final = 100


@dataclass(frozen=True, slots=True)
class _Counter:
    count: int
    window: float
    ends: float


class MemoryCounters:
    """Window counters of one process."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._counters: dict[str, _Counter] = {}

    def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        """Adds ``amount`` to the counter of ``key`` in the window that contains ``now``."""
        known = self._counters.pop(key, None)
        if known is None or known.ends <= now:
            known = _Counter(0, window, (now // window + 1) * window)
        known = replace(known, count=known.count + amount)
        if known.count:
            while len(self._counters) >= self._most:
                del self._counters[next(iter(self._counters))]
            self._counters[key] = known
        return Counted(known.count, known.ends, local=True)

    def prune(self, now: float) -> int:
        """Removes counters whose window has ended; returns how many."""
        ended = [key for key, counter in self._counters.items() if counter.ends <= now]
        for key in ended:
            del self._counters[key]
        return len(ended)

    def take(self, now: float) -> list[tuple[str, float, int]]:
        """Removes and returns key, window and count of the counters whose window has not ended."""
        taken, self._counters = self._counters, {}
        return [(key, counter.window, counter.count) for key, counter in taken.items() if counter.ends > now]


class LastingCounters:
    """:class:`LastingRates` over the counters of a database.

    Args:
        shared: the counters in the database.
        again: called before the database is retried after a failure, for example to create a missing file. May raise
            StoreError.
        monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        shared: RateCounters,
        again: Callable[[], Awaitable[None]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._again = again
        self._monotonic = monotonic
        self._memory = MemoryCounters()
        self._why = ""
        self._hangs = False
        self._preparing: asyncio.Future[None] | None = None
        self._asks_at = 0.0
        self._asking = False
        self._returning: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("inbox.store")

    @property
    def trouble(self) -> str:
        """Reason why the counters are in memory; empty while they are in the database."""
        return self._why

    def failed(self, why: str) -> None:
        """Records that the database cannot be used at the moment."""
        if not self._why:
            self._log.error("rate_counters_in_memory", error=why)
        self._why = why
        self._asks_at = self._monotonic() + PAUSE

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        if self._why and (self._asking or self._monotonic() < self._asks_at):
            return self._memory.hit(key, window, now, amount)
        self._asking = True
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                if self._why:
                    await self._prepare()
                counted = await self._shared.hit(key, window, now, amount)
        except TimeoutError:
            self._hangs = True
            self.failed(f"the database did not answer within {TIMEOUT_SECONDS} s")
        except StoreError as error:
            self._hangs = False
            self.failed(str(error))
        else:
            if self._why:
                self._why = ""
                self._returning = asyncio.ensure_future(self._give_back(now))
            return counted
        finally:
            self._asking = False
        return self._memory.hit(key, window, now, amount)

    async def prune(self, now: float) -> int:
        count = self._memory.prune(now)
        if self._why:
            return count
        try:
            return count + await self._shared.prune(now)
        except StoreError as error:
            self.failed(str(error))
            return count

    async def close(self) -> None:
        """Waits for counters that are being written to the database, but not for a hanging disk."""
        under_way = [task for task in (self._returning, self._preparing) if task is not None and not task.done()]
        if under_way:
            await asyncio.wait(under_way, timeout=TIMEOUT_SECONDS)

    async def _prepare(self) -> None:
        # A hanging file is not opened again: each attempt would block one more thread.
        if self._again is None or (self._hangs and self._preparing is None):
            return
        if self._preparing is None:
            self._preparing = asyncio.ensure_future(self._again())
            self._preparing.add_done_callback(self._prepared)
        await asyncio.shield(self._preparing)

    def _prepared(self, attempt: asyncio.Future[None]) -> None:
        self._preparing = None
        if not attempt.cancelled():
            attempt.exception()  # Each caller that still waits raises it.

    async def _give_back(self, now: float) -> None:
        counters = self._memory.take(now)
        self._log.info("rate_counters_back", counters=len(counters))
        for start in range(0, len(counters), _TOGETHER):
            some = counters[start : start + _TOGETHER]
            results = await asyncio.gather(
                *(self._shared.hit(key, window, now, count) for key, window, count in some), return_exceptions=True
            )
            for (key, window, count), result in zip(some, results, strict=True):
                if isinstance(result, BaseException):
                    self._memory.hit(key, window, now, count)
                    self.failed(str(result))
