"""Connections to sets of MX hosts that attempts use."""

from __future__ import annotations

import asyncio

import pytest

from inbox.flow.outbound import slots as module
from inbox.flow.outbound.slots import Slots


async def test_no_more_connections_than_allowed_and_in_order() -> None:
    slots, order = Slots(), []
    used = most = 0

    async def use(number: int) -> None:
        nonlocal used, most
        async with slots.taken("a", 2):
            used += 1
            most = max(most, used)
            order.append(number)
            await asyncio.sleep(0)
            used -= 1

    await asyncio.gather(*(use(number) for number in range(9)))
    assert most == 2
    assert order == list(range(9))
    assert len(slots) == 0, "nothing is kept of a set of hosts that nobody uses"


async def test_sets_of_hosts_do_not_wait_for_each_other() -> None:
    slots = Slots()
    async with slots.taken("a", 1):
        async with asyncio.timeout(5):
            async with slots.taken("b", 1):
                assert len(slots) == 2


@pytest.mark.parametrize("when", ["while it waits", "when its turn has come"])
async def test_one_that_is_cancelled_passes_its_turn_on(when: str) -> None:
    slots = Slots()

    async def use() -> None:
        async with slots.taken("a", 1):
            pass

    async with slots.taken("a", 1):
        first, second = asyncio.create_task(use()), asyncio.create_task(use())
        await asyncio.sleep(0)
        if when == "while it waits":
            first.cancel()
    if when == "when its turn has come":
        first.cancel()
    async with asyncio.timeout(5):
        await second
    assert first.cancelled() or await asyncio.gather(first, return_exceptions=True)
    assert len(slots) == 0


def test_a_set_of_hosts_is_healthy_until_it_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots()
    assert not slots.is_healthy("a")
    slots.note("a", healthy=True)
    assert slots.is_healthy("a")
    slots.note("a", healthy=False)
    assert not slots.is_healthy("a")
    monkeypatch.setattr(module, "MOST_HEALTHY", 2)
    for key in "abc":
        slots.note(key, healthy=True)
    assert [slots.is_healthy(key) for key in "abc"] == [False, True, True]
