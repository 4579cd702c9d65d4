"""Lines for the connections to a set of MX hosts."""

from __future__ import annotations

import asyncio

from inbox.flow.outbound.capacity import BUSY_SECONDS, Limits
from inbox.flow.outbound.lines import Lines, Places
from inbox.plugin.testing import FakeClock

ONE = Limits(1)


async def _wait(lines: Lines, name: str, turn: tuple[str, str], order: list[str]) -> None:
    if await lines.enter("mx", ONE, turn) == 0:
        order.append(name)
        await asyncio.sleep(0)
        lines.leave("mx", ONE)
    else:
        order.append(f"{name} deferred")


async def test_tenants_and_classes_take_turns() -> None:
    lines, order = Lines(FakeClock(), Places(200)), list[str]()
    assert await lines.enter("mx", ONE, ("a", "bulk")) == 0
    waiting = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("b2", "b")]
    tasks = [asyncio.create_task(_wait(lines, name, (tenant, "bulk"), order)) for name, tenant in waiting]
    tasks.append(asyncio.create_task(_wait(lines, "dsn", ("a", "dsn"), order)))
    await asyncio.sleep(0)

    lines.leave("mx", ONE)
    await asyncio.gather(*tasks)

    assert order == ["a1", "b1", "dsn", "a2", "b2", "a3"]


async def test_a_full_line_puts_off() -> None:
    lines, order = Lines(FakeClock(), Places(4)), list[str]()
    await lines.enter("mx", ONE, ("a", "bulk"))
    tasks = [asyncio.create_task(_wait(lines, str(number), ("a", "bulk"), order)) for number in range(2)]
    await asyncio.sleep(0)

    assert await lines.enter("mx", ONE, ("a", "bulk")) == BUSY_SECONDS
    assert await lines.enter("other", ONE, ("a", "bulk")) == 0
    lines.leave("mx", ONE)
    await asyncio.gather(*tasks)
    assert order == ["0", "1"]


async def test_a_line_takes_half_of_the_places_that_are_left() -> None:
    places = Places(100, taken=96)
    lines, order = Lines(FakeClock(), places), list[str]()
    await lines.enter("mx", ONE, ("a", "bulk"))
    tasks = [asyncio.create_task(_wait(lines, str(number), ("a", "bulk"), order)) for number in range(2)]
    await asyncio.sleep(0)

    assert await lines.enter("mx", ONE, ("a", "bulk")) == BUSY_SECONDS
    places.taken = 90
    tasks.append(asyncio.create_task(_wait(lines, "2", ("a", "bulk"), order)))
    await asyncio.sleep(0)
    lines.leave("mx", ONE)
    await asyncio.gather(*tasks)
    assert order == ["0", "1", "2"]


async def test_one_that_gave_up_waiting_is_passed_over() -> None:
    lines, order = Lines(FakeClock(), Places(20)), list[str]()
    await lines.enter("mx", ONE, ("a", "bulk"))
    tasks = [asyncio.create_task(_wait(lines, str(number), ("a", "bulk"), order)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)

    lines.leave("mx", ONE)
    await asyncio.gather(*tasks, return_exceptions=True)

    assert order == ["1", "2"]


async def test_a_connection_given_to_one_that_is_cancelled_at_that_moment_continues() -> None:
    lines, order = Lines(FakeClock(), Places(20)), list[str]()
    await lines.enter("mx", ONE, ("a", "bulk"))
    tasks = [asyncio.create_task(_wait(lines, str(number), ("a", "bulk"), order)) for number in range(2)]
    await asyncio.sleep(0)

    lines.leave("mx", ONE)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert order == ["1"]
    assert await lines.enter("mx", ONE, ("a", "bulk")) == 0


async def test_those_in_line_are_put_off_by_a_rate() -> None:
    clock = FakeClock()
    lines, limits = Lines(clock, Places(20)), Limits(1, rate=1, per_seconds=60)
    assert await lines.enter("mx", limits, ("a", "bulk")) == 0
    waiting = asyncio.create_task(lines.enter("mx", limits, ("a", "bulk")))
    await asyncio.sleep(0)

    lines.leave("mx", limits)

    assert await waiting == 60
