"""The ``bounce`` hooks of one recipient."""

from __future__ import annotations

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.flow.judge import Judge
from inbox.flow.outbound.failures import FailureHooks
from inbox.flow.outbound.senders import delivery_of
from inbox.mail.content import MemoryContent
from inbox.plugin import Classify, DropDsn, Failure, Opinion, Plugin, Suppress, hookimpl
from inbox.store.ports.queue import RecipientState
from inbox.store.ports.suppression import SuppressionListFull
from tests.support.outbound import FakeSuppressions, OutboundWorld, _Held

FAILED = RecipientState("failed", 550, "5.1.1", "no such user")


class All(Plugin):
    @hookimpl
    def bounce(self, failure: Failure) -> list[Opinion]:
        return [Classify("address"), DropDsn(), Suppress("domain", "", 60), Suppress("address", "why")]


async def run(suppressions: FakeSuppressions, *, must_store: bool) -> RecipientState:
    world = OutboundWorld(plugin=All)
    queued = world.job()
    hooks = FailureHooks(Judge(_Held(world.test.policies), world.test.dispatcher), suppressions, world.log)
    delivery = delivery_of(queued, [0], "demo", MemoryContent(b""), ())
    failure = Failure(delivery, 550, "5.1.1", "no such user", delivery.recipient)
    policy = world.test.policies.effective("demo")
    return await hooks.run(queued, 0, failure, policy, FAILED, source="complaint", must_store=must_store)


async def test_every_answer_has_its_effect() -> None:
    suppressions = FakeSuppressions()
    state = await run(suppressions, must_store=False)
    assert (state.category, state.reported, state.status) == ("address", True, "failed")
    assert suppressions.entries == [
        ("demo", "domain", "remote.test", "no such user", 60),
        ("demo", "address", "bob@remote.test", "why", None),
    ]


async def test_an_entry_that_cannot_be_stored_is_an_error_only_if_nothing_repeats_it() -> None:
    away = FakeSuppressions(away=True)
    assert (await run(away, must_store=False)).category == "address"
    with pytest.raises(StoreUnavailable):
        await run(away, must_store=True)


async def test_a_full_list_is_logged_and_defers_no_report() -> None:
    class Full(FakeSuppressions):
        async def suppress(self, *given: object, **more: object) -> None:
            raise SuppressionListFull("the list is full")

    assert (await run(Full(), must_store=True)).category == "address"
