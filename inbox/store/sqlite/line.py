"""Fair queue of work for the writer of a process: tenants take turns.

Short work of all tenants shares a batch, because a batch costs one sync of the disk. A step of a long job has its own
batch, and all waiting short work runs between two steps: so short work waits for at most one step, however many long
jobs are running.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Generic, TypeVar

Work = TypeVar("Work")

#: The maximum number of short functions in one batch; it limits how long the first caller waits for the last.
BATCH: Final = 256


class _Turns(Generic[Work]):
    """A queue for each tenant, served in turn."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Work]] = {}
        #: Waiting tenants, the next one first.
        self._order: deque[str] = deque()

    def __bool__(self) -> bool:
        return bool(self._order)

    def put(self, tenant: str, work: Work) -> None:
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = deque()
            self._order.append(tenant)
        queue.append(work)

    def next(self) -> Work:
        tenant = self._order.popleft()
        queue = self._queues[tenant]
        work = queue.popleft()
        if queue:
            self._order.append(tenant)
        else:
            del self._queues[tenant]
        return work


class Line(Generic[Work]):
    """A queue into which many threads put work and from which one thread takes it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._short: _Turns[Work] = _Turns()
        self._steps: _Turns[Work] = _Turns()
        self._stepped = False
        self._closed = False

    def put(self, work: Work, *, tenant: str = "", step: bool = False) -> None:
        """Adds work.

        Args:
            tenant: the tenant whose turn it uses; empty for work of the installation itself.
            step: True for one step of a long job.
        """
        with self._changed:
            (self._steps if step else self._short).put(tenant, work)
            self._changed.notify()

    def close(self) -> None:
        """Closes the queue. Queued work is still taken; then :meth:`take` returns nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> list[Work]:
        """Waits for work and returns the next batch; empty once the queue is closed and drained."""
        with self._changed:
            while not self._short and not self._steps:
                if self._closed:
                    return []
                self._changed.wait()
            # The two kinds alternate, so that steps do not starve either.
            if self._steps and (not self._short or not self._stepped):
                self._stepped = True
                return [self._steps.next()]
            self._stepped = False
            batch: list[Work] = []
            while self._short and len(batch) < BATCH:
                batch.append(self._short.next())
            return batch
