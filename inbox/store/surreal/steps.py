"""Long jobs in steps on SurrealDB (:mod:`inbox.store.steps`)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from inbox.store.steps import Pace, in_slices

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Seconds of one step of a change of many entries: it does not occupy a single writer, but a long transaction makes
#: others of its mailbox wait, and is more likely to conflict with them.
STEP_SECONDS: Final = 0.05


def paced(items: Sequence[Item], step: Callable[[Sequence[Item]], Awaitable[Result]]) -> AsyncIterator[Result]:
    """Runs ``step`` on slices of ``items``, each in its own transaction, and yields each result."""
    pace = Pace(STEP_SECONDS)

    async def run(some: Sequence[Item]) -> Result:
        began = time.monotonic()
        result = await step(some)
        pace.took(len(some), time.monotonic() - began)
        return result

    return in_slices(items, pace, run)
