"""One job: policy, capacity, hooks, attempt, and what is recorded."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from inbox.flow.outbound.delivery import DNS_SECONDS
from inbox.flow.outbound.ports import HostReply, Outgoing, Way
from inbox.plugin import AddHeader, Defer, Delivery, Door, DropRecipient, Plugin, Reject, Via, hookimpl
from inbox.store.ports.queue import JobRecipient, RecipientState
from tests.support.outbound import DEAD, LATER, NOBODY, OK, VANISHED, OutboundWorld

THREE = tuple(JobRecipient(f"{name}@remote.test") for name in ("bob", "eve", "dan"))


async def test_a_delivered_job_is_recorded_with_its_attempt() -> None:
    world = OutboundWorld()
    world.job()

    await world.turn()

    finished = world.queue.done["j1"]
    assert finished.states == (RecipientState("delivered", 250, "2.0.0", "queued", world.clock.now(), reported=True),)
    assert finished.attempt is not None
    assert (finished.attempt.host, finished.attempt.stage, finished.attempt.code) == ("mx.remote.test", "dot", 250)
    (event,) = world.events("smtp.egress.queue")
    assert (event["outcome"], event["job"], event["delivered"]) == ("success", "j1", 1)


async def test_each_recipient_has_its_own_result_and_only_the_pending_are_tried_again() -> None:
    replies = [[OK, NOBODY, LATER], [OK]]
    world = OutboundWorld(lambda mail, way: replies.pop(0))
    world.job(recipients=THREE)

    await world.turn()
    assert world.statuses() == ["delivered", "failed", "pending"]
    world.clock.advance(31)
    await world.turn()

    assert world.statuses() == ["delivered", "failed", "delivered"]
    assert [[str(r.address) for r in mail.recipients] for mail, _ in world.attempts.mails] == [
        ["bob@remote.test", "eve@remote.test", "dan@remote.test"],
        ["dan@remote.test"],
    ]
    assert world.bounces.reports == [("j1", "failed", ("eve@remote.test",))]


async def test_waits_grow_and_the_last_attempt_fails_the_job() -> None:
    world = OutboundWorld(lambda mail, way: LATER, max_attempts=4)
    world.job()
    delays = []
    for _ in range(4):
        await world.turn()
        delays.append(world.last().delay)
        world.clock.advance(world.last().delay)

    assert delays[:3] == [30, 60, 120]
    state = world.last().states[0]
    assert (state.status, state.enhanced) == ("failed", "4.4.7")
    assert state.reply == "Delivery has failed 4 times. The last reply: 451 try later"
    assert [event["outcome"] for event in world.events("smtp.egress.queue")] == ["retry"] * 3 + ["dead_letter"]
    assert len(world.attempts.mails) == 4


async def test_a_destination_has_its_own_waits_and_attempts() -> None:
    retry = {"base_delay": 5, "max_delay": 8, "max_attempts": 3}
    world = OutboundWorld(lambda mail, way: LATER, outbound={"destinations": {"remote.test": {"retry": retry}}})
    world.job()
    world.job("j2", domain="other.test", recipients=(JobRecipient("x@other.test"),))
    delays = []
    for _ in range(3):
        await world.turn()
        delays.append(world.last().delay)
        world.clock.advance(8)

    assert delays[:2] == [5, 8]
    assert world.statuses() == ["failed"]
    assert (world.last("j2").delay, world.statuses("j2")) == (30, ["pending"])


async def test_a_job_that_expired_fails_without_a_further_attempt() -> None:
    world = OutboundWorld(lambda mail, way: LATER)
    world.job()
    await world.turn()

    world.clock.advance(86_401)
    await world.turn()

    assert world.statuses() == ["failed"]
    assert world.last().states[0].reply == "The time for delivery has expired. The last reply: 451 try later"
    assert len(world.attempts.mails) == 1


async def test_the_time_of_a_throttled_job_expires_too() -> None:
    class Throttle(Plugin):
        @hookimpl
        def deliver(self, delivery: Delivery) -> Defer:
            return Defer(450, "4.7.1", "slow down")

    world = OutboundWorld(plugin=Throttle, max_attempts=3)
    world.job()
    for _ in range(6):
        await world.turn()
        assert world.statuses() == ["pending"]
        assert world.last().counts is False
        world.clock.advance(world.last().delay)

    world.clock.advance(86_400)
    await world.turn()

    assert world.statuses() == ["failed"]
    assert world.attempts.mails == []


async def test_a_plugin_that_fails_is_an_attempt_and_its_waits_grow() -> None:
    """``on_error: defer`` is not a rule that throttles: without a limit the job would be tried until it expires."""

    class Broken(Plugin):
        on_error = "defer"

        @hookimpl
        def deliver(self, delivery: Delivery) -> None:
            raise RuntimeError("a defect")

    world = OutboundWorld(plugin=Broken, max_attempts=3)
    world.job()
    delays = []
    for _ in range(3):
        await world.turn()
        delays.append(world.last().delay)
        world.clock.advance(world.last().delay)

    assert delays[:2] == [30, 60]
    assert world.statuses() == ["failed"]
    assert world.last().states[0].reply.startswith("Delivery has failed 3 times. The last reply: 451")
    assert world.attempts.mails == []
    attempt = world.last().attempt
    assert attempt is not None
    assert (attempt.stage, attempt.code) == ("policy", 451)


async def test_an_unknown_outcome_waits_a_full_back_off() -> None:
    """RFC 1047: the peer stored the message, and its reply was lost."""
    world = OutboundWorld(lambda mail, way: VANISHED)
    world.backoff = replace(world.backoff, chance=lambda: 0.0)
    world.delivery._backoff = world.backoff
    world.job()

    await world.turn()

    assert world.statuses() == ["pending"]
    assert world.last().delay >= 30
    assert len(world.attempts.dots) == 1


@pytest.mark.parametrize("ago", [10, 86_400, -86_400])
async def test_a_job_whose_worker_ended_after_the_dot_waits_first(ago: float) -> None:
    """Also if the clock was set since, a day forward or back: the peer may be about to reply."""
    world = OutboundWorld()
    world.job(dot_sent_at=world.clock.now() - ago, attempts=2)

    await world.turn()
    assert world.attempts.mails == []
    assert world.last().counts is False
    assert world.last().delay >= 60
    world.clock.advance(world.last().delay)
    await world.turn()

    assert world.statuses() == ["delivered"]


class Signs(Plugin):
    """Adds another signature each time."""

    def __init__(self, settings: object, services: object) -> None:
        self.count = 0

    @hookimpl
    def deliver(self, delivery: Delivery) -> AddHeader:
        self.count += 1
        return AddHeader("X-Signature", str(self.count))


async def test_the_signature_of_the_first_attempt_is_kept() -> None:
    replies = [VANISHED, OK]
    world = OutboundWorld(lambda mail, way: replies.pop(0), Signs)
    world.job()
    await world.turn()
    world.clock.advance(40)
    await world.turn()

    assert len(world.attempts.dots) == 2
    assert all(text.startswith("X-Signature: 1\r\nSubject: j1\r\n") for text in world.attempts.dots)


async def test_hooks_see_identity_door_tenant_and_attempt() -> None:
    seen: list[tuple[object, ...]] = []

    class Looks(Plugin):
        @hookimpl
        def deliver(self, delivery: Delivery) -> None:
            tx = delivery.transaction
            assert tx.session.identity is not None
            seen.append((
                tx.session.door, tx.session.identity.account, tx.tenant_name, str(tx.sender), delivery.attempt,
                delivery.job, delivery.domain, delivery.mx, delivery.kind, [str(r.address) for r in tx.recipients],
            ))  # fmt: skip

    world = OutboundWorld(plugin=Looks)
    world.job()
    await world.turn()

    assert seen == [(
        Door.SUBMISSION, "a1", "demo", "ann@demo.test", 1, "j1", "remote.test", ("mx.remote.test",), "remote",
        ["bob@remote.test"],
    )]  # fmt: skip


async def test_a_refusal_by_a_hook_fails_the_job_without_a_connection() -> None:
    class Refuses(Plugin):
        @hookimpl
        def deliver(self, delivery: Delivery) -> Reject:
            return Reject(554, "5.7.1", "suppressed")

    world = OutboundWorld(plugin=Refuses)
    world.job()
    await world.turn()

    assert (world.last().states[0].status, world.last().states[0].reply) == ("failed", "suppressed")
    assert world.attempts.mails == []
    assert world.bounces.reports == [("j1", "failed", ("bob@remote.test",))]


async def test_a_hook_drops_recipients_and_the_others_get_the_message() -> None:
    class Drops(Plugin):
        @hookimpl
        def deliver(self, delivery: Delivery) -> list[DropRecipient]:
            return [DropRecipient("eve@remote.test", "suppressed")]

    world = OutboundWorld(lambda mail, way: [OK] * len(mail.recipients), plugin=Drops)
    world.job(recipients=THREE)
    await world.turn()

    assert world.statuses() == ["delivered", "failed", "delivered"]
    failed = world.last().states[1]
    assert (failed.code, failed.enhanced, failed.reply) == (550, "5.7.1", "suppressed")
    ((mail, _),) = world.attempts.mails
    assert [str(each.address) for each in mail.recipients] == ["bob@remote.test", "dan@remote.test"]
    assert world.bounces.reports == [("j1", "failed", ("eve@remote.test",))]


async def test_if_a_hook_drops_all_recipients_there_is_no_connection() -> None:
    class Drops(Plugin):
        @hookimpl
        def deliver(self, delivery: Delivery) -> list[DropRecipient]:
            return [DropRecipient(str(each.address)) for each in delivery.transaction.recipients]

    world = OutboundWorld(plugin=Drops)
    world.job(recipients=THREE)
    await world.turn()

    assert world.statuses() == ["failed", "failed", "failed"]
    assert world.attempts.mails == []


async def test_a_hook_chooses_the_way() -> None:
    class Chooses(Plugin):
        @hookimpl
        def deliver(self, delivery: Delivery) -> Via:
            return Via("relay.test", 2525, "192.0.2.9", "required", lmtp=True)

    world = OutboundWorld(plugin=Chooses)
    world.job()
    await world.turn()

    ((_, way),) = world.attempts.mails
    assert way.smarthost is not None
    assert (way.smarthost.host, way.smarthost.port, way.smarthost.protocol) == ("relay.test", 2525, "lmtp")
    assert (way.sources, way.tls, way.hosts) == (("192.0.2.9",), "required", None)


async def test_a_smarthost_of_the_policy_needs_no_look_up() -> None:
    outbound = {"smarthost": {"host": "relay.test"}, "ehlo_name": "out.demo.test",
                "destinations": {"direct.test": {"smarthost": None}}}  # fmt: skip
    world = OutboundWorld(outbound=outbound)
    world.job("j1")
    world.job("j2", domain="direct.test", recipients=(JobRecipient("x@direct.test"),))
    await world.turn()

    ways = {way.domain: way for _, way in world.attempts.mails}
    assert ways["remote.test"].smarthost is not None
    assert ways["direct.test"].smarthost is None
    assert ways["remote.test"].ehlo_name == "out.demo.test"
    assert world.exchangers.asked == ["direct.test"]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (HostReply(556, "5.1.10", "does not accept mail", "dns"), "failed"),
        (HostReply(0, "4.4.3", "the name server failed", "dns"), "pending"),
    ],
)
async def test_a_failed_look_up_is_an_attempt(reply: HostReply, status: str) -> None:
    world = OutboundWorld()
    world.exchangers.answers["remote.test"] = reply
    world.job()
    await world.turn()

    assert world.statuses() == [status]
    assert world.last().counts is True


async def test_a_broken_dns_server_costs_no_attempt() -> None:
    world = OutboundWorld()
    world.exchangers.answers["remote.test"] = HostReply(451, "4.4.3", "the DNS server is broken", "dns")
    world.exchangers.broken = "no answer within 5 seconds"
    for number in range(3):
        world.job(f"j{number}")
        await world.turn()

    last = world.last("j2")
    assert (world.statuses("j2"), last.counts, last.attempt) == (["pending"], False, None)
    assert last.error == "The DNS server is broken: no answer within 5 seconds"
    assert DNS_SECONDS <= last.delay <= 2 * DNS_SECONDS
    assert len(world.events("outbound_dns_broken")) == 1

    world.exchangers.answers.clear()
    world.job("j3")
    await world.turn()
    assert world.statuses("j3") == ["delivered"]
    assert len(world.events("outbound_dns_works")) == 1


async def test_addresses_that_a_broken_dns_server_does_not_give_cost_no_attempt() -> None:
    no_address = HostReply(451, "4.4.3", "The address of mx.remote.test could not be looked up", "dns")
    world = OutboundWorld(lambda mail, way: no_address)
    world.exchangers.broken = "no answer within 5 seconds"
    world.job()
    await world.turn()
    assert (world.statuses(), world.last().counts) == (["pending"], False)

    world.exchangers.broken = ""
    world.job("j2")
    await world.turn()
    assert (world.statuses("j2"), world.last("j2").counts) == (["pending"], True)


async def test_a_dead_set_of_hosts_opens_its_circuit_and_waits_are_not_attempts() -> None:
    world = OutboundWorld(lambda mail, way: DEAD, outbound={"breaker": {"failures": 3, "cool_down": 100}})
    for number in range(5):
        world.job(f"j{number}")
        await world.turn()

    assert len(world.attempts.mails) == 3
    assert [world.last(f"j{number}").counts for number in range(5)] == [True, True, True, False, False]
    assert 100 <= world.last("j4").delay <= 200
    assert len(world.events("circuit_open")) == 1


async def test_after_the_cool_down_a_probe_closes_the_circuit() -> None:
    alive = [DEAD, DEAD, DEAD, OK, OK, OK]
    world = OutboundWorld(lambda mail, way: alive.pop(0), outbound={"breaker": {"failures": 3, "cool_down": 10}})
    for number in range(3):
        world.job(f"j{number}")
        await world.turn()

    world.clock.advance(100)
    await world.turn()
    world.clock.advance(100)
    await world.turn()

    assert sorted(world.queue.done) == ["j0", "j1", "j2"]
    assert len(world.events("circuit_closed")) == 1


async def test_connections_to_one_set_of_hosts_are_limited() -> None:
    async def slow() -> HostReply:
        for _ in range(5):
            await asyncio.sleep(0)
        return OK

    def script(mail: Outgoing, way: Way) -> asyncio.Future[HostReply]:
        return asyncio.ensure_future(slow())

    world = OutboundWorld(script, outbound={"connections": 3})
    for number in range(20):
        world.job(f"j{number}")
    await world.turn()

    assert len(world.queue.done) == 20
    assert world.attempts.most == {"remote.test": 3}


async def test_a_rate_puts_jobs_off_without_counting() -> None:
    world = OutboundWorld(outbound={"rate": 2, "rate_seconds": 60})
    for number in range(5):
        world.job(f"j{number}")
    await world.turn()

    assert len(world.queue.done) == 2
    waits = [each for each in world.queue.finished if each.states[0].status == "pending"]
    assert all(each.delay >= 30 and not each.counts for each in waits)


async def test_a_lost_lease_sends_no_dot_and_writes_nothing() -> None:
    """Trap 1: another worker took the job while this one was suspended before the dot."""
    world = OutboundWorld()

    def script(mail: Outgoing, way: Way) -> HostReply:
        world.queue.jobs["j1"] = replace(world.queue.jobs["j1"], lease_owner="w2", fence=99)
        return OK

    world.attempts.script = script
    world.job()
    await world.turn()

    assert world.attempts.dots == []
    assert world.queue.finished == []
    assert world.queue.jobs["j1"].lease_owner == "w2"


async def test_a_dot_that_cannot_be_recorded_is_not_sent() -> None:
    world = OutboundWorld()

    def script(mail: Outgoing, way: Way) -> HostReply:
        world.queue.away = True
        return OK

    world.attempts.script = script
    world.job()
    for queued in await world.queue.lease("w1", 1, 120):
        world.worker.take(queued)
    while not world.events("outbound_dot_not_recorded"):
        await asyncio.sleep(0)
    world.queue.away = False
    await world.settled()

    assert world.attempts.dots == []
    assert world.last().counts is False
    assert world.statuses() == ["pending"]


async def test_an_attempt_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.flow.outbound.transmission.ATTEMPT_SECONDS", 0.01)
    world = OutboundWorld(lambda mail, way: asyncio.get_running_loop().create_future())
    world.job()
    await world.turn()

    assert world.statuses() == ["pending"]
    assert len(world.events("outbound_attempt_stalled")) == 1
    assert world.last().attempt is not None


async def test_a_tenant_without_a_domain_keeps_its_jobs_until_they_expire() -> None:
    world = OutboundWorld()
    world.job(tenant="gone")
    await world.turn()
    assert (world.statuses(), world.last().counts) == (["pending"], False)

    world.clock.advance(86_401)
    await world.turn()

    assert world.statuses() == ["failed"]
    assert world.attempts.mails == []
