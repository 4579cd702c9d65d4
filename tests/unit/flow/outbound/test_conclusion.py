"""Consequences of an outcome: hooks, notifications, the list of suppressed addresses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inbox.flow.outbound.ports import HostReply
from inbox.plugin import Classify, DropDsn, Failure, Opinion, Plugin, Suppress, hookimpl
from inbox.store.ports.queue import JobRecipient, Notify
from tests.support.outbound import LATER, NOBODY, OK, OutboundWorld

SEEN: list[Failure] = []


class Judges(Plugin):
    @hookimpl
    def bounce(self, failure: Failure) -> list[Opinion]:
        SEEN.append(failure)
        if failure.text == "no such user":
            return [Classify("address"), Suppress("address", "", 3600)]
        return [Classify("policy"), DropDsn("known")] if failure.text == "go away" else []


async def test_a_failure_is_classified_suppressed_and_reported() -> None:
    SEEN.clear()
    world = OutboundWorld(lambda mail, way: [OK, NOBODY], Judges)
    world.job(recipients=(JobRecipient("bob@remote.test"), JobRecipient("eve@remote.test")))
    await world.turn()

    assert [state.category for state in world.last().states] == [None, "address"]
    assert world.suppressions.entries == [("demo", "address", "eve@remote.test", "no such user", 3600)]
    assert world.bounces.reports == [("j1", "failed", ("eve@remote.test",))]
    (failure,) = SEEN
    assert failure.recipient is not None
    assert str(failure.recipient.address) == "eve@remote.test"
    assert (failure.code, failure.enhanced, failure.host, failure.stage) == (550, "5.1.1", "mx.remote.test", "rcpt")
    assert failure.attempt == 1


async def test_a_failure_after_the_last_attempt_has_the_stage_expired() -> None:
    SEEN.clear()
    world = OutboundWorld(lambda mail, way: LATER, Judges)
    world.job()
    await world.turn()
    world.clock.advance(86_401)
    await world.turn()

    assert [(each.stage, each.enhanced, each.code) for each in SEEN] == [("expired", "4.4.7", 0)]


async def test_a_hook_drops_the_notification() -> None:
    world = OutboundWorld(lambda mail, way: HostReply(550, "5.7.1", "go away", "mail"), Judges)
    world.job()
    await world.turn()

    assert world.bounces.reports == []
    assert world.last().states[0].reported is True


async def test_the_null_reverse_path_gets_no_notification() -> None:
    world = OutboundWorld(lambda mail, way: NOBODY)
    world.job(sender="", job_class="dsn", door="", actor_account=None)
    await world.turn()

    assert world.bounces.reports == []
    assert world.last().states[0].reported is True


@pytest.mark.parametrize(
    ("notify", "reported"),
    [((), True), (("NEVER",), False), (("FAILURE",), True), (("SUCCESS", "DELAY"), False)],
)
async def test_notify_decides_about_a_failure(notify: tuple[Notify, ...], reported: bool) -> None:
    world = OutboundWorld(lambda mail, way: NOBODY)
    world.job(recipients=(JobRecipient("bob@remote.test", notify),))
    await world.turn()

    assert bool(world.bounces.reports) is reported
    assert world.last().states[0].reported is True


@pytest.mark.parametrize(("supported", "reports"), [(True, []), (False, [("j1", "relayed", ("bob@remote.test",))])])
async def test_success_is_reported_where_the_next_hop_will_not(
    supported: bool, reports: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    world = OutboundWorld()
    world.attempts.dsn_supported = supported
    world.job(recipients=(JobRecipient("bob@remote.test", ("SUCCESS",)),))
    await world.turn()

    assert world.bounces.reports == reports


async def test_a_report_that_cannot_be_stored_is_made_at_the_next_lease_without_an_attempt() -> None:
    SEEN.clear()
    world = OutboundWorld(lambda mail, way: NOBODY, Judges)
    world.bounces.away = True
    world.job()
    await world.turn()
    assert world.last().states[0].reported is False
    assert "j1" in world.queue.jobs

    world.bounces.away = False
    world.clock.advance(60)
    await world.turn()

    assert world.bounces.reports == [("j1", "failed", ("bob@remote.test",))]
    assert len(world.attempts.mails) == 1
    assert len(SEEN) == 1
    assert "j1" in world.queue.done


async def test_a_list_that_cannot_be_written_does_not_lose_the_outcome() -> None:
    world = OutboundWorld(lambda mail, way: [OK, NOBODY], Judges)
    world.suppressions.away = True
    world.job(recipients=(JobRecipient("bob@remote.test"), JobRecipient("eve@remote.test")))
    await world.turn()

    assert world.statuses() == ["delivered", "failed"]
    assert len(world.events("suppression_not_stored")) == 1


async def test_a_defect_of_a_report_does_not_lose_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    world = OutboundWorld(lambda mail, way: [OK, NOBODY])
    world.job(recipients=(JobRecipient("bob@remote.test"), JobRecipient("eve@remote.test")))

    async def broken(*given: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(world.bounces, "report", broken)
    await world.turn()

    assert world.statuses() == ["delivered", "failed"]
    assert len(world.events("outbound_conclusion_failed")) == 1


async def test_the_sender_is_warned_once_after_the_time_of_the_policy() -> None:
    world = OutboundWorld(lambda mail, way: LATER, outbound={"delay_warning": 100})
    world.job()
    await world.turn()
    assert world.bounces.reports == []

    for _ in range(3):
        world.clock.advance(200)
        await world.turn()

    assert world.bounces.reports == [("j1", "delayed", ("bob@remote.test",))]


async def test_the_sender_is_warned_while_the_job_is_throttled() -> None:
    world = OutboundWorld(outbound={"delay_warning": 100, "rate": 1, "rate_seconds": 80_000})
    world.job("j0")
    world.job("j1")
    await world.turn()
    (waiting,) = world.queue.jobs
    world.queue.jobs[waiting] = replace(world.queue.jobs[waiting], next_attempt_at=0)
    world.clock.advance(101)
    await world.turn()

    assert world.bounces.reports == [(waiting, "delayed", ("bob@remote.test",))]


async def test_a_warning_of_zero_is_off() -> None:
    world = OutboundWorld(lambda mail, way: LATER, outbound={"delay_warning": 0})
    world.job()
    world.clock.advance(50_000)
    await world.turn()

    assert world.bounces.reports == []
