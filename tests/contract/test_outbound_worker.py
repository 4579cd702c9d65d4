"""The outbound worker over the queue of each database: several workers, suspended workers, results per recipient."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from inbox_plugins.throttle import Settings, Throttle

from inbox.flow.outbound.ports import HostReply
from inbox.plugin import AddHeader, Defer, Delivery, Plugin, Services, hookimpl
from inbox.plugin.testing import FakeClock
from inbox.store.ports import Database
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.sqlite.database import SqliteDatabase
from tests.contract.test_queue import DAY, jump
from tests.support.outbound import LATER, NOBODY, OK, FakeContents, OutboundWorld
from tests.support.store import IDS, Home, email

Make = Callable[..., OutboundWorld]


@pytest.fixture
def world(acme: Home, db: Database, clock: FakeClock) -> Make:
    """Makes workers, each with a world of its own over one queue."""
    shared = clock if isinstance(db, SqliteDatabase) else FakeClock(time.time())

    def make(*given: object, **more: object) -> OutboundWorld:
        return OutboundWorld(*given, real=(db.queue, shared, acme.tenant), **more)  # type: ignore[arg-type]

    return make


async def _stored(home: Home) -> str:
    """The id of a mail of the size that the fake contents have."""
    mail = email(home.tenant)
    size = (await FakeContents().get(mail.blob_path)).size
    return (await home.deliver(mail=replace(mail, size=size))).email


async def _enqueue(home: Home, worlds: OutboundWorld, count: int = 1, *to: str) -> list[Job]:
    now = worlds.clock.now()
    recipients = tuple(JobRecipient(each) for each in to or ("bob@remote.test",))
    jobs = [
        Job(IDS.new(), "ann@demo.test", recipients, "remote.test", now, now + DAY, door="submission")
        for _ in range(count)
    ]
    await home.db.queue.enqueue(home.tenant, await _stored(home), jobs)
    return jobs


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def _take(world: OutboundWorld, home: Home, owner: str) -> int:
    leased = await home.db.queue.lease(owner, 100, 60)
    for queued in leased:
        world.worker.take(queued)
    return len(leased)


async def _settled(world: OutboundWorld) -> None:
    await _until(lambda: len(world.worker) == 0)


class Signs(Plugin):
    @hookimpl
    def deliver(self, delivery: Delivery) -> AddHeader:
        return AddHeader("X-Job", f"{delivery.job} {delivery.attempt}")


async def test_three_workers_deliver_each_job_once(acme: Home, world: Make) -> None:
    workers = [world(plugin=Signs, owner=f"w{number}") for number in range(3)]
    jobs = await _enqueue(acme, workers[0], 150)
    tasks = [asyncio.create_task(each.worker.run()) for each in workers]

    await _until(lambda: sum(len(each.attempts.dots) for each in workers) >= 150)
    for each in workers:
        await each.worker.stop(10)
    await asyncio.gather(*tasks)

    sent = Counter(text.split()[1] for each in workers for text in each.attempts.dots)
    assert sent == Counter(job.id for job in jobs)
    for job in jobs:
        assert await acme.db.queue.delivery(acme.tenant, job.id) is not None
    assert await acme.db.queue.jobs(acme.tenant) == []


async def test_a_worker_suspended_past_its_lease_writes_nothing_and_sends_no_second_dot(
    acme: Home, db: Database, clock: FakeClock, world: Make
) -> None:
    resumes: asyncio.Future[HostReply] = asyncio.get_running_loop().create_future()
    first, second = world(lambda mail, way: resumes), world(owner="w2")
    (job,) = await _enqueue(acme, first)
    assert await _take(first, acme, "w1") == 1
    await _until(lambda: bool(first.attempts.mails))
    await jump(db, clock, 61)
    assert await _take(second, acme, "w2") == 1
    await _settled(second)

    resumes.set_result(OK)
    await _settled(first)

    assert (len(first.attempts.dots), len(second.attempts.dots)) == (0, 1)
    record = await acme.db.queue.delivery(acme.tenant, job.id)
    assert record is not None
    assert len(record.history) == 1


async def test_each_recipient_has_a_result_and_the_signature_is_kept(
    acme: Home, db: Database, clock: FakeClock, world: Make
) -> None:
    replies = [[OK, NOBODY, LATER], [OK]]
    worker = world(lambda mail, way: replies.pop(0), Signs)
    (job,) = await _enqueue(acme, worker, 1, "a@remote.test", "b@remote.test", "c@remote.test")
    await _take(worker, acme, "w1")
    await _settled(worker)
    queued = await acme.db.queue.get(acme.tenant, job.id)
    assert queued is not None
    assert [state.status for state in queued.states] == ["delivered", "failed", "pending"]
    assert (queued.attempts, queued.last_error) == (1, "550 no such user")
    await jump(db, clock, 60)

    assert await _take(worker, acme, "w1") == 1
    await _settled(worker)

    dead = await acme.db.queue.get(acme.tenant, job.id)
    assert dead is not None
    assert (dead.status, [state.status for state in dead.states]) == ("dead", ["delivered", "failed", "delivered"])
    assert [text.splitlines()[0] for text in worker.attempts.dots] == [f"X-Job: {job.id} 1"] * 2
    assert worker.bounces.reports == [(job.id, "failed", ("b@remote.test",))]


class Throttles(Plugin):
    @hookimpl
    def deliver(self, delivery: Delivery) -> Defer:
        return Defer(450, "4.7.1", "slow down")


async def test_waits_without_an_attempt_do_not_count(acme: Home, db: Database, clock: FakeClock, world: Make) -> None:
    worker = world(plugin=Throttles, max_attempts=2)
    (job,) = await _enqueue(acme, worker)
    for _ in range(4):
        assert await _take(worker, acme, "w1") == 1
        await _settled(worker)
        await jump(db, clock, 46)

    waiting = await acme.db.queue.get(acme.tenant, job.id)
    assert waiting is not None
    assert (waiting.status, waiting.attempts, waiting.last_error) == ("queued", 0, "slow down")


class _OneInAMinute(Throttle):
    def __init__(self, settings: Settings, services: Services) -> None:
        limit = {"per": "tenant", "messages": 1, "seconds": 60}
        super().__init__(Settings.model_validate({"limits": [limit]}), services)


async def test_what_throttle_delays_is_no_attempt_and_leaves_in_the_next_window(
    acme: Home, db: Database, clock: FakeClock, world: Make
) -> None:
    here = world(plugin=_OneInAMinute)
    await _enqueue(acme, here, 2)
    await _take(here, acme, "w1")
    await _settled(here)
    assert len(here.attempts.mails) == 1
    (waiting,) = await db.queue.jobs(acme.tenant)
    assert (waiting.attempts, waiting.status) == (0, "queued")
    assert waiting.last_error == "The limit of 1 messages in 60 s for each tenant is reached"
    await jump(db, clock, 120.0)
    here.test.clock.advance(120.0)
    await _take(here, acme, "w1")
    await _settled(here)
    assert len(here.attempts.mails) == 2
    assert await db.queue.jobs(acme.tenant) == []
