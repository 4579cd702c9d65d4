"""throttle: the limits of outgoing mail, counted for all processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from inbox_plugins.throttle import Settings, Throttle
from pydantic import ValidationError

from inbox.base.errors import StoreUnavailable
from inbox.plugin import Accept, Defer
from inbox.plugin.testing import PluginTest, TestOutcome
from inbox.policy.stages import Stage


def bench(*limits: dict[str, Any]) -> PluginTest:
    return PluginTest(Throttle, {"limits": list(limits)}, errors="outcome")


async def leaves(
    test: PluginTest, to: str = "bob@far.test", sender: str | None = "ann@demo.test", job_class: str = "transactional"
) -> bool:
    return (await outcome(test, to, sender, job_class)).verdict == Accept()


async def outcome(
    test: PluginTest, to: str = "bob@far.test", sender: str | None = "ann@demo.test", job_class: str = "transactional"
) -> TestOutcome:
    delivery = test.delivery(kind="remote", to=(to,), sender=sender)
    delivery = replace(delivery, domain=to.partition("@")[2], job_class=job_class)
    return await test.run(Stage.DELIVER, delivery=delivery)


async def test_exactly_the_limit_leaves_in_a_window() -> None:
    test = bench({"per": "tenant", "messages": 3, "seconds": 60})
    assert [await leaves(test) for _ in range(5)] == [True] * 3 + [False] * 2
    why = "The limit of 3 messages in 60 s for each tenant is reached"
    assert (await outcome(test)).verdict == Defer(451, "4.7.1", why)
    test.clock.advance(60)
    assert await leaves(test)


async def test_each_sender_and_each_destination_has_its_own_count() -> None:
    senders = bench({"per": "sender", "messages": 1})
    assert await leaves(senders)
    assert not await leaves(senders, to="eve@other.test")
    assert await leaves(senders, sender="bob@demo.test")
    destinations = bench({"per": "destination", "messages": 1})
    assert await leaves(destinations)
    assert not await leaves(destinations, sender="bob@demo.test")
    assert await leaves(destinations, to="eve@other.test")


async def test_a_limit_may_be_for_some_destinations_and_classes_only() -> None:
    test = bench({"per": "tenant", "messages": 1, "destinations": ["Far.test"], "classes": ["bulk"]})
    assert await leaves(test, job_class="bulk")
    assert not await leaves(test, job_class="bulk")
    assert await leaves(test, job_class="transactional")
    assert await leaves(test, to="eve@other.test", job_class="bulk")


async def test_what_one_limit_delays_uses_up_no_other() -> None:
    test = bench({"per": "tenant", "messages": 2}, {"per": "sender", "messages": 1})
    assert await leaves(test)
    for _ in range(5):
        assert not await leaves(test)
    assert await leaves(test, sender="bob@demo.test")


async def test_notifications_and_local_copies_are_not_limited() -> None:
    test = bench({"per": "tenant", "messages": 1})
    assert await leaves(test)
    assert await leaves(test, sender=None, job_class="dsn")
    assert (await test.deliver()).verdict == Accept()


async def test_an_encoded_message_does_not_count_again() -> None:
    test = bench({"per": "tenant", "messages": 2})
    delivery = replace(test.delivery(kind="remote", to=("bob@far.test",), sender="ann@demo.test"), domain="far.test")
    for _ in range(2):
        assert (await test.run(Stage.DELIVER, delivery=delivery)).verdict == Accept()
        again = replace(delivery, encoded=True)
        assert (await test.run(Stage.DELIVER, delivery=again)).verdict == Accept(), "the same attempt"
    assert (await test.run(Stage.DELIVER, delivery=delivery)).verdict != Accept()


async def test_two_processes_share_the_count() -> None:
    first, second = (bench({"per": "tenant", "messages": 3}) for _ in range(2))
    second.rates.counts = first.rates.counts
    assert [await leaves(test) for test in (first, second, first, second)] == [True, True, True, False]


async def test_counters_that_cannot_be_read_defer() -> None:
    test = bench({"per": "tenant", "messages": 3})
    test.rates.fails = StoreUnavailable("the database is away")
    assert isinstance((await outcome(test)).verdict, Defer)
    assert (await outcome(bench())).verdict == Accept(), "without a limit nothing is counted"


@pytest.mark.parametrize(
    "limit", [{"per": "world", "messages": 1}, {"per": "tenant"}, {"per": "tenant", "messages": 0}, {"nonsense": 1}]
)
def test_a_wrong_limit_is_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"limits": [limit]})
