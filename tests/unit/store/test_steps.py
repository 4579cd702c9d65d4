"""Division of long jobs into steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from inbox.store.steps import FIRST_ROWS, LEAST_ROWS, LONGEST_PAUSE, MOST_ROWS, Pace, in_slices, until_done


@pytest.mark.parametrize(
    ("rows", "seconds", "following"),
    [
        (100, 0.010, 100),  # as it should be
        (100, 0.020, 50),
        (100, 0.001, 200),  # never more than twice as many
        (100, 0.0, 200),
        (100, 10.0, LEAST_ROWS),
    ],
)
def test_the_next_step_takes_what_fits_into_its_time(rows: int, seconds: float, following: int) -> None:
    pace = Pace(0.010)
    assert pace.rows == FIRST_ROWS
    pace.took(rows, seconds)
    assert pace.rows == following


def test_no_step_takes_more_than_the_most() -> None:
    pace = Pace(0.010)
    for _ in range(10):
        pace.took(pace.rows, 0.0)
    assert pace.rows == MOST_ROWS


def test_work_is_timed_where_it_runs() -> None:
    clock: Iterator[float] = iter([1.0, 1.5])
    pace = Pace(0.25, clock.__next__)
    assert pace.timed(100, lambda connection: f"{connection} done")("x") == "x done"
    assert pace.rows == 50


async def test_slices_are_all_items_in_order_each_once() -> None:
    pace = Pace(0.010)
    sizes: list[int] = []

    async def step(some: Sequence[int]) -> Sequence[int]:
        sizes.append(len(some))
        pace.took(len(some), 0.010 * len(some) / 150)
        return some

    items = range(1000)
    assert [item async for some in in_slices(items, pace, step) for item in some] == list(items)
    assert sizes == [100, 150, 150, 150, 150, 150, 150]
    assert [some async for some in in_slices([], pace, step)] == []


async def test_a_step_that_fails_ends_the_job_and_the_earlier_ones_stay() -> None:
    done: list[int] = []

    async def step(some: Sequence[int]) -> None:
        if 250 in some:
            raise LookupError
        done.extend(some)

    with pytest.raises(LookupError):
        async for _ in in_slices(range(1000), Pace(0.010), step):
            pass
    assert done == list(range(200))


async def test_until_done_stops_when_a_step_finds_less_than_it_may_take() -> None:
    left = [250]
    asked: list[int] = []

    async def step(rows: int) -> int:
        asked.append(rows)
        count = min(rows, left[0])
        left[0] -= count
        return count

    assert await until_done(Pace(0.010), step) == 250
    assert asked == [100, 100, 100]


def test_a_pause_is_as_long_as_the_step_and_bounded() -> None:
    pace = Pace()
    assert pace.pause == 0
    pace.took(100, 0.004)
    assert pace.pause == 0.004
    pace.took(100, 10.0)
    assert pace.pause == LONGEST_PAUSE


async def test_a_job_pauses_between_two_steps_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str | float] = []

    async def sleep(seconds: float) -> None:
        events.append(seconds)

    monkeypatch.setattr("inbox.store.steps.asyncio.sleep", sleep)
    pace = Pace()

    async def step(some: Sequence[int]) -> None:
        pace.took(len(some), 0.005)
        events.append("step")

    async for _ in in_slices(range(250), pace, step):
        pass
    assert events == ["step", 0.005, "step", 0.005, "step"]
    events.clear()

    async def remove(rows: int) -> int:
        pace.took(rows, 0.004)
        events.append("step")
        return rows if len(events) < 2 else 0

    await until_done(pace, remove)
    assert events == ["step", 0.004, "step"]
