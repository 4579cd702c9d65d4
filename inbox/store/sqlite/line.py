"""The line in which work waits for the writer of a process: tenants take turns.

Short work of all tenants is taken together, because a batch costs one sync of the disk. A step of a long job has a
batch of its own, and between two steps everything short that waits comes first: so short work waits for one step at
most, however many long jobs are running.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Generic, TypeVar

Work = TypeVar("Work")

#: Pieces of short work in one batch; bounds the time that the first caller waits for the last.
BATCH: Final = 256


class _Turns(Generic[Work]):
    """Queues of tenants, served in turns."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Work]] = {}
        #: Tenants that wait, the next one first.
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
    """Many threads put work in, one takes it out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._short: _Turns[Work] = _Turns()
        self._steps: _Turns[Work] = _Turns()
        self._stepped = False
        self._closed = False

    def put(self, work: Work, *, tenant: str = "", step: bool = False) -> None:
        """Adds work.

        Args:
            tenant: whose it is; empty for the installation's own.
            step: one step of a long job.
        """
        with self._changed:
            (self._steps if step else self._short).put(tenant, work)
            self._changed.notify()

    def close(self) -> None:
        """What was put in is still taken; then :meth:`take` returns nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> list[Work]:
        """Waits for work and returns the next batch; empty once the line is closed and done."""
        with self._changed:
            while not self._short and not self._steps:
                if self._closed:
                    return []
                self._changed.wait()
            # The two kinds alternate: steps must not starve either.
            if self._steps and (not self._short or not self._stepped):
                self._stepped = True
                return [self._steps.next()]
            self._stepped = False
            batch: list[Work] = []
            while self._short and len(batch) < BATCH:
                batch.append(self._short.next())
            return batch
