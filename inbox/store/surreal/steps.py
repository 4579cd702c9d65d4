"""Long jobs on SurrealDB, in steps (:mod:`inbox.store.steps`)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from inbox.store.steps import Pace, in_slices

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Seconds of one step of a change of many entries: there is no single writer that it keeps, but a transaction that
#: takes long keeps others of its mailbox waiting, and is more likely to lose against them.
STEP_SECONDS: Final = 0.05


def paced(items: Sequence[Item], step: Callable[[Sequence[Item]], Awaitable[Result]]) -> AsyncIterator[Result]:
    """Runs ``step`` on slices of ``items``, each a transaction of its own, and yields each result."""
    pace = Pace(STEP_SECONDS)

    async def run(some: Sequence[Item]) -> Result:
        began = time.monotonic()
        result = await step(some)
        pace.took(len(some), time.monotonic() - began)
        return result

    return in_slices(items, pace, run)
