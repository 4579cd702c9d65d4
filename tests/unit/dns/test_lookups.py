"""Budgets of slow look-ups; tests/unit/dns/test_resolver.py has what the resolver makes of them."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from inbox.base.limits import DNS_SLOW_AT_ONCE, DNS_SLOW_OF_MESSAGE, DNS_SLOW_OF_NETWORK
from inbox.dns.lookups import Lookups, SlowLookups, current, network, work_for


@pytest.mark.parametrize(
    ("peer", "shared"),
    [("192.0.2.7", "192.0.2.0/24"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"), ("::1", "::/48")],
)
def test_the_network_of_a_peer(peer: str, shared: str) -> None:
    assert network(ip_address(peer)) == shared


def test_a_message_has_a_number_at_once_and_one_in_all() -> None:
    slow, message = SlowLookups(), Lookups("a")
    for _ in range(DNS_SLOW_AT_ONCE):
        assert slow.refusal(message) == ""
        slow.begin(message)
    assert slow.refusal(message) == "too many slow look-ups for this message"
    assert slow.refusal(Lookups("a")) == ""
    for _ in range(DNS_SLOW_AT_ONCE):
        slow.end(message)
    for _ in range(DNS_SLOW_OF_MESSAGE - DNS_SLOW_AT_ONCE):
        assert slow.refusal(message) == ""
        slow.begin(message)
        slow.end(message)
    assert slow.refusal(message) == "too many slow look-ups for this message"
    assert len(slow) == 0


def test_a_network_has_a_number_at_once_and_is_forgotten_with_its_last() -> None:
    slow, messages = SlowLookups(), [Lookups("a") for _ in range(DNS_SLOW_OF_NETWORK)]
    for message in messages:
        assert slow.refusal(message) == ""
        slow.begin(message)
    assert slow.refusal(Lookups("a")) == "too many slow look-ups for messages from this network"
    assert slow.refusal(Lookups("b")) == ""
    for message in messages:
        slow.end(message)
    assert slow.refusal(Lookups("a")) == ""
    assert len(slow) == 0


async def test_tasks_work_for_the_message_of_the_task_that_started_them() -> None:
    message = Lookups("a")

    async def asked() -> Lookups | None:
        return current()

    async def connection() -> Lookups | None:
        work_for(message)
        return await asyncio.create_task(asked())

    assert await asyncio.create_task(connection()) is message
    assert current() is None
