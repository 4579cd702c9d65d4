"""The sender of a job, rebuilt."""

from __future__ import annotations

import pytest

from inbox.base.errors import PolicyError
from inbox.flow.judge import Judge
from inbox.flow.outbound.senders import Senders, delivery_of
from inbox.mail.content import MemoryContent
from inbox.plugin import Door
from tests.support.outbound import FakeDirectory, OutboundWorld, _Held


def _senders(world: OutboundWorld) -> Senders:
    return Senders(FakeDirectory(), Judge(_Held(world.test.policies), world.test.dispatcher))


@pytest.mark.parametrize("sender", ["ann@demo.test", "", "foreign@elsewhere.test"])
async def test_a_sender_has_the_policy_of_its_tenant(sender: str) -> None:
    world = OutboundWorld(outbound={"connections": 7})

    found = await _senders(world).sender(world.job(sender=sender))

    assert found.tenant_name == "demo"
    assert found.policy.outbound.connections == 7


async def test_the_domain_of_another_tenant_is_not_the_senders() -> None:
    world = OutboundWorld()

    with pytest.raises(PolicyError, match="no active domain"):
        await _senders(world).sender(world.job(tenant="umbra", sender="ann@demo.test"))


def test_a_notification_has_no_identity_and_the_local_door() -> None:
    queued = OutboundWorld().job(sender="", door="", actor_account=None)

    delivery = delivery_of(queued, [0], "demo", MemoryContent(b""), ())

    assert delivery.transaction.sender is None
    assert delivery.transaction.session.identity is None
    assert delivery.transaction.session.door is Door.LOCAL
