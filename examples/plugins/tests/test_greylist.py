"""greylist: who waits, for how long, and that tenants do not share what they know."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.plugin import Accept, Defer, Identity, Stage, StoreUnavailable
from inbox.plugin.testing import PluginTest, PolicyMistakes

PLUGIN = Path(__file__).parents[1] / "greylist.py"
DAY = 86_400.0


async def waits(test: PluginTest, to: str = "ann@demo.test", **more: str) -> bool:
    verdict = (await test.rcpt(to, **more)).verdict
    assert isinstance(verdict, Defer | Accept)
    return isinstance(verdict, Defer)


async def test_a_stranger_waits_and_passes_then() -> None:
    test = PluginTest(PLUGIN, {"delay": 300})
    assert await waits(test)
    test.clock.advance(299)
    assert await waits(test)
    test.clock.advance(1)
    assert not await waits(test)
    test.clock.advance(35 * DAY)
    assert not await waits(test)
    test.clock.advance(36 * DAY)
    assert await waits(test)


async def test_who_comes_too_late_begins_anew() -> None:
    test = PluginTest(PLUGIN)
    assert await waits(test)
    test.clock.advance(2 * DAY)
    assert await waits(test)


async def test_another_host_of_the_network_may_come_again() -> None:
    test = PluginTest(PLUGIN)
    for address in ("192.0.2.7", "2001:db8::7"):
        assert await waits(test, ip=address)
    test.clock.advance(300)
    assert not await waits(test, ip="192.0.2.99")
    assert await waits(test, ip="192.0.3.7")
    assert not await waits(test, ip="2001:db8::ffff")
    assert await waits(test, ip="2001:db8:0:1::7")


async def test_sender_and_recipient_count() -> None:
    test = PluginTest(PLUGIN)
    await waits(test)
    test.clock.advance(300)
    assert await waits(test, sender="other@sender.test")
    assert await waits(test, "bob@demo.test")
    assert not await waits(test)


async def test_a_user_of_ours_does_not_wait() -> None:
    test = PluginTest(PLUGIN)
    tx = test.transaction(to=["ann@demo.test"])
    tx.session.identity = Identity("ann@demo.test", "a1", "demo", "demo")
    outcome = await test.run(Stage.RCPT, tx=tx, recipient=tx.recipients[0])
    assert isinstance(outcome.verdict, Accept)
    assert test.state.entries == {}


async def test_tenants_know_their_own_strangers_only() -> None:
    test = PluginTest(PLUGIN)
    await waits(test)
    test.clock.advance(300)
    test.tenant = "other"
    assert await waits(test)


async def test_without_the_database_nobody_waits() -> None:
    test = PluginTest(PLUGIN, errors="outcome")
    test.state.fails = StoreUnavailable("the database is gone")
    assert not await waits(test)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(PolicyMistakes, match="delay"):
        PluginTest(PLUGIN, {"delay": 0})
