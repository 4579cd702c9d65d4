"""Metrics of the queue's worker."""

from __future__ import annotations

from inbox.base.metrics import rendered
from inbox.flow.outbound.breaker import Circuits
from inbox.flow.outbound.lines import Lines, Places
from inbox.flow.outbound.meters import OutboundMeters
from inbox.flow.outbound.ports import HostReply
from inbox.plugin.testing import FakeClock
from inbox.store.ports.queue import JobRecipient
from tests.support.imap_world import server_tls
from tests.support.outbound import DEAD, LATER, NOBODY, OK, OutboundWorld
from tests.support.outbound_world import attempts, go_ahead, outgoing, way
from tests.support.remote_smtp import RemoteSmtp, remote


def shown(meters: OutboundMeters, *, about: str = "") -> list[str]:
    lines = rendered(meters.families()).splitlines()
    return [line for line in lines if line[0] != "#" and "_bucket" not in line and "_sum" not in line and about in line]


async def test_attempts_and_recipients_by_result_and_class() -> None:
    replies: list[HostReply] = [OK, NOBODY, LATER]
    world = OutboundWorld(lambda mail, way: replies[: len(mail.recipients)])
    three = tuple(JobRecipient(f"{name}@remote.test") for name in ("a", "b", "c"))
    world.job("one", recipients=three, job_class="bulk")
    world.job("two")
    await world.turn()
    assert shown(world.worker.meters) == [
        'inbox_outbound_attempts_total{class="bulk",result="failed"} 1',
        'inbox_outbound_attempts_total{class="transactional",result="delivered"} 1',
        'inbox_outbound_recipients_total{class="bulk",result="delivered"} 1',
        'inbox_outbound_recipients_total{class="bulk",result="failed"} 1',
        'inbox_outbound_recipients_total{class="bulk",result="deferred"} 1',
        'inbox_outbound_recipients_total{class="transactional",result="delivered"} 1',
        'inbox_outbound_attempt_seconds_count{class="bulk"} 1',
        'inbox_outbound_attempt_seconds_count{class="transactional"} 1',
        'inbox_outbound_delivery_seconds_count{class="transactional"} 1',
    ]


async def test_the_time_until_delivery_counts_from_acceptance_or_release() -> None:
    world = OutboundWorld(lambda mail, way: OK)
    now = world.clock.now()
    world.job("one", created_at=now - 7000)
    world.job("two", created_at=now - 7000, not_before=now - 20)
    await world.turn()
    text = rendered(world.worker.meters.families())
    assert 'inbox_outbound_delivery_seconds_bucket{class="transactional",le="30"} 1\n' in text
    assert 'inbox_outbound_delivery_seconds_bucket{class="transactional",le="3600"} 1\n' in text
    assert 'inbox_outbound_delivery_seconds_bucket{class="transactional",le="14400"} 2\n' in text


async def test_a_recipient_is_counted_once_although_the_report_takes_another_lease() -> None:
    world = OutboundWorld(lambda mail, way: NOBODY)
    world.bounces.away = True
    world.job()
    await world.turn()
    world.bounces.away = False
    world.clock.advance(200)
    await world.turn()
    counts = shown(world.worker.meters, about="total")
    assert 'inbox_outbound_recipients_total{class="transactional",result="failed"} 1' in counts
    assert 'inbox_outbound_attempts_total{class="transactional",result="failed"} 1' in counts


async def test_a_lost_lease_is_lost() -> None:
    world = OutboundWorld(lambda mail, way: OK)
    world.job()
    (queued,) = await world.queue.lease("w1", 1, 120)
    world.clock.advance(500)
    await world.queue.lease("w2", 1, 120)
    world.worker.take(queued)
    await world.settled()
    assert shown(world.worker.meters, about="attempts") == [
        'inbox_outbound_attempts_total{class="transactional",result="lost"} 1'
    ]


async def test_jobs_that_are_put_off_by_reason() -> None:
    world = OutboundWorld(
        lambda mail, way: DEAD, outbound={"connections": 1, "breaker": {"failures": 1, "cool_down": 60}}
    )
    world.job("one")
    await world.turn()
    world.job("two")
    await world.turn()
    assert shown(world.worker.meters, about="put_off") == ['inbox_outbound_put_off_total{reason="circuit"} 1']


async def test_what_a_worker_holds_and_its_circuits() -> None:
    clock, meters, places = FakeClock(), OutboundMeters(), Places(100)
    lines, circuits = Lines(clock, places), Circuits(600)
    meters.watch(places, lines, circuits, clock.monotonic)
    for key in ("a", "b", "c"):
        circuits.failed(key, clock.monotonic(), 1 if key != "c" else 5, 60)
    places.taken = 7
    assert shown(meters) == [
        "inbox_outbound_jobs 7",
        "inbox_outbound_jobs_waiting 0",
        'inbox_outbound_circuits{state="half_open"} 0',
        'inbox_outbound_circuits{state="open"} 2',
    ]
    clock.advance(61)
    assert shown(meters)[2:] == [
        'inbox_outbound_circuits{state="half_open"} 2',
        'inbox_outbound_circuits{state="open"} 0',
    ]


async def test_the_parts_of_an_attempt_over_a_real_socket() -> None:
    async with remote(RemoteSmtp(tls=server_tls())) as server:
        made = attempts(server.port)
        for _ in range(2):
            await made.attempt(outgoing(), way(), go_ahead)
        await made.close()
    assert shown(made.meters) == [
        'inbox_outbound_phase_seconds_count{phase="connect"} 1',
        'inbox_outbound_phase_seconds_count{phase="tls"} 1',
        'inbox_outbound_phase_seconds_count{phase="dot"} 2',
    ]


async def test_a_connection_that_fails_is_timed_too() -> None:
    async with remote(RemoteSmtp()) as server:
        port = server.port
    made = attempts(port)
    await made.attempt(outgoing(), way(), go_ahead)
    await made.close()
    assert shown(made.meters) == ['inbox_outbound_phase_seconds_count{phase="connect"} 1']
