"""Long jobs in steps: each step is a small transaction, and other work gets the writer between two of them.

A database has one writer. A transaction that changes 500,000 rows keeps every delivery of every tenant waiting until it
ends, and makes the write-ahead log as large as everything that it changed. So whatever may touch many rows is cut into
steps that take about :data:`STEP_SECONDS` each, and after a step a job pauses for as long as the step took: half of the
writer's time, and of the process's, is left to others. A process that ends between two steps leaves a consistent
database in which a part of the job is done.
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
#: Seconds that no pause exceeds.
LONGEST_PAUSE: Final = 0.05
#: Seconds that the note of a step may be ahead of the clock. One that is further ahead was made by a clock that was set
#: back since: its job is taken for abandoned.
AHEAD_SECONDS: Final = 86_400.0
#: Seconds that a waiting row's beginning may be ahead of the clock before that clock is taken for set back.
CLOCK_SET_BACK_SECONDS: Final = 300.0
#: Rows of a job's first step, before it is known what a row costs.
FIRST_ROWS: Final = 100
#: Rows that every step takes, however slow they are: a job must end.
LEAST_ROWS: Final = 10
#: Rows that no step exceeds, however fast they are: they share a modseq, and are in memory together.
MOST_ROWS: Final = 1000


class Pace:
    """How many rows the next step of a job takes, from what the last one cost.

    Args:
        seconds: how long a step should take.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float = STEP_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.rows = FIRST_ROWS
        #: Seconds until the next step.
        self.pause = 0.0

    def took(self, rows: int, seconds: float) -> None:
        """Notes that a step of ``rows`` rows took ``seconds``."""
        self.pause = min(seconds, LONGEST_PAUSE)
        # At most twice as many: the next rows may be dearer than the last ones.
        fitting = int(rows * self._seconds / seconds) if seconds > 0 else MOST_ROWS
        self.rows = max(LEAST_ROWS, min(fitting, 2 * self.rows, MOST_ROWS))

    def timed(self, rows: int, work: Callable[[Connection], Result]) -> Callable[[Connection], Result]:
        """``work``, which changes about ``rows`` rows, and notes how long it takes."""

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

    Whoever stops iterating leaves the rest undone. What ``step`` raises ends the job; the steps before it stay.
    """
    place = 0
    while place < len(items):
        if place:
            await asyncio.sleep(pace.pause)
        some = items[place : place + pace.rows]
        place += len(some)
        yield await step(some)


async def until_done(pace: Pace, step: Callable[[int], Awaitable[int]]) -> int:
    """Runs ``step``, which changes at most as many rows as it is given and returns how many, until nothing is left.

    Returns the sum. What ``step`` raises ends the job; the steps before it stay.
    """
    total = 0
    while True:
        wanted = pace.rows
        count = await step(wanted)
        total += count
        if count < wanted:
            return total
        await asyncio.sleep(pace.pause)
