"""Long jobs in steps: each step is a small transaction, and other work can use the writer between two steps.

A database has one writer. A transaction that changes 500,000 rows makes every delivery of every tenant wait until it
ends, and makes the write-ahead log as large as all its changes. So work that may touch many rows is split into steps of
about :data:`STEP_SECONDS` each, and after a step a job pauses for as long as the step took: half of the time of the
writer and of the process is left to others. A process that ends between two steps leaves a consistent database in which
part of the job is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Connection = TypeVar("Connection")

#: Seconds of the writer's time that one step should take, without its commit: several steps of different jobs, and
#: their commits, must fit into the 100 ms that a delivery may wait.
STEP_SECONDS: Final = 0.005
#: The longest pause, in seconds.
LONGEST_PAUSE: Final = 0.05
#: Seconds by which the record of a step may be ahead of the clock. A record further ahead was made by a clock that was
#: set back since: its job is treated as abandoned.
AHEAD_SECONDS: Final = 86_400.0
#: Seconds by which the start of a waiting row may be ahead of the clock before the clock is assumed to be set back.
CLOCK_SET_BACK_SECONDS: Final = 300.0
#: Rows of a job's first step, before the cost of a row is known.
FIRST_ROWS: Final = 100
#: The minimum number of rows of a step, however slow they are: a job must end.
LEAST_ROWS: Final = 10
#: The maximum number of rows of a step, however fast they are: they share a modseq, and are in memory together.
MOST_ROWS: Final = 1000


class Pace:
    """Chooses the number of rows of a job's next step from the cost of the last one.

    Args:
        seconds: the target duration of a step.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, seconds: float = STEP_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.rows = FIRST_ROWS
        #: Seconds until the next step.
        self.pause = 0.0

    def took(self, rows: int, seconds: float) -> None:
        """Records that a step of ``rows`` rows took ``seconds``."""
        self.pause = min(seconds, LONGEST_PAUSE)
        # At most twice as many: the next rows may cost more than the last ones.
        fitting = int(rows * self._seconds / seconds) if seconds > 0 else MOST_ROWS
        self.rows = max(LEAST_ROWS, min(fitting, 2 * self.rows, MOST_ROWS))

    def timed(self, rows: int, work: Callable[[Connection], Result]) -> Callable[[Connection], Result]:
        """Wraps ``work``, which changes about ``rows`` rows, to record its duration."""

        def run(connection: Connection) -> Result:
            began = self._clock()
            result = work(connection)
            self.took(rows, self._clock() - began)
            return result

        return run


async def in_slices(
    items: Sequence[Item], pace: Pace, step: Callable[[Sequence[Item]], Awaitable[Result]]
) -> AsyncIterator[Result]:
    """Runs ``step`` on slices of ``items``, in their order, and yields each result once it is durable.

    If the caller stops iterating, the rest is not done. An exception of ``step`` ends the job; earlier steps stay.
    """
    place = 0
    while place < len(items):
        if place:
            await asyncio.sleep(pace.pause)
        some = items[place : place + pace.rows]
        place += len(some)
        yield await step(some)


async def until_done(pace: Pace, step: Callable[[int], Awaitable[int]]) -> int:
    """Runs ``step``, which changes at most the given number of rows and returns how many, until nothing is left.

    Returns the sum. An exception of ``step`` ends the job; earlier steps stay.
    """
    total = 0
    while True:
        wanted = pace.rows
        count = await step(wanted)
        total += count
        if count < wanted:
            return total
        await asyncio.sleep(pace.pause)
