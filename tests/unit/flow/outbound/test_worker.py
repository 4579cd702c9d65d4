"""The worker: claims, leases, several workers, a database that is away, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from inbox.base.errors import Conflict, StorageFull, StoreError, StoreUnavailable
from inbox.flow.outbound import worker as module
from inbox.flow.outbound.gatherer import Gatherer
from inbox.flow.outbound.ports import HostReply, Outgoing, Way
from inbox.flow.outbound.worker import AVOIDED_SECONDS, MOST_UNRECORDED
from inbox.mail.content import Content
from inbox.store.ports.queue import Finished, JobRecipient, QueuedJob, Sending
from tests.support.outbound import DEAD, OK, OutboundWorld


@asynccontextmanager
async def running(world: OutboundWorld) -> AsyncIterator[None]:
    task = asyncio.create_task(world.worker.run())
    try:
        yield
    finally:
        await world.worker.stop(1)
        await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def _never(mail: Outgoing, way: Way) -> asyncio.Future[HostReply]:
    return asyncio.get_running_loop().create_future()


async def test_the_worker_delivers_what_is_due() -> None:
    world = OutboundWorld()
    for number in range(250):
        world.job(f"j{number}")

    async with running(world):
        await until(lambda: len(world.queue.done) == 250)

    assert len(world.attempts.dots) == 250


@pytest.mark.slow
async def test_a_busy_destination_is_not_claimed_faster_than_it_takes_mail() -> None:
    world = OutboundWorld()
    for number in range(3000):
        world.job(f"j{number}")

    async with running(world):
        await until(lambda: len(world.queue.done) == 3000)

    assert len(world.queue.finished) == 3000, "no job was deferred"


async def test_a_busy_worker_does_not_claim_for_each_new_job() -> None:
    world = OutboundWorld(_never, outbound={"connections": 1000})
    world.worker._settings = module.WorkerSettings(poll=3600)
    for number in range(1000):
        world.job(f"j{number}", domain=f"d{number % 50}.test")
    async with asyncio.timeout(60):
        task = asyncio.create_task(world.worker.run())
        while len(world.worker) <= module.FEW_HELD:
            await asyncio.sleep(0)
        leases = world.queue.transactions["lease"]
        for _ in range(200):
            world.worker.wake()
            await asyncio.sleep(0)
        assert world.queue.transactions["lease"] <= leases + 2
        await world.worker.stop(0)
        await task


async def test_writes_of_concurrent_attempts_share_transactions() -> None:
    world = OutboundWorld(outbound={"connections": 100})
    for number in range(100):
        world.job(f"j{number}")

    async with running(world):
        await until(lambda: len(world.queue.done) == 100)

    assert world.queue.transactions["sending"] <= 10
    assert world.queue.transactions["finish"] <= 10


async def test_a_wake_is_faster_than_the_poll() -> None:
    world = OutboundWorld()
    world.worker._settings = module.WorkerSettings(poll=3600)
    async with running(world):
        await until(lambda: world.queue.transactions["lease"] == 1)
        world.job()
        world.worker.wake()
        await until(lambda: world.queue.done)


async def test_a_job_without_a_wake_is_found_at_the_next_poll() -> None:
    world = OutboundWorld()
    async with running(world):
        await until(lambda: world.queue.transactions["lease"] == 1)
        world.job()
        await until(lambda: world.queue.done)


async def test_an_idle_worker_only_polls() -> None:
    world = OutboundWorld()
    world.worker._settings = module.WorkerSettings(poll=3600)
    async with running(world):
        await until(lambda: world.queue.transactions["lease"] == 1)
        for _ in range(1000):
            await asyncio.sleep(0)

        assert world.queue.transactions == {"lease": 1, "sending": 0, "finish": 0, "renew": 0}


@pytest.mark.slow
async def test_memory_does_not_grow_with_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    world = OutboundWorld(_never, outbound={"connections": 1000})
    world.worker._settings = module.WorkerSettings(poll=3600)
    for number in range(3000):
        world.job(f"j{number}", domain=f"d{number % 50}.test")

    task = asyncio.create_task(world.worker.run())
    await until(lambda: len(world.worker) > 150)
    for _ in range(2000):
        world.worker.wake()
        await asyncio.sleep(0)
    assert 500 < len(world.worker) <= module.MOST_HELD
    await world.worker.stop(0)
    await task


@pytest.mark.slow
async def test_jobs_for_a_dead_destination_do_not_slow_down_a_live_one() -> None:
    """Trap 15: the dead hosts' time-outs last for ever here; the live ones must go on."""

    def script(mail: Outgoing, way: Way) -> HostReply | asyncio.Future[HostReply]:
        return _never(mail, way) if way.domain == "dead.test" else OK

    world = OutboundWorld(script)
    for number in range(2000):
        world.job(f"dead{number}", domain="dead.test", recipients=(JobRecipient("x@dead.test"),))
    for number in range(500):
        world.job(f"live{number}")

    async with running(world):
        await until(lambda: len(world.queue.done) == 500)

        assert world.attempts.active["dead.test"] == 20
        assert not any(name.startswith("dead") for name in world.queue.done)


async def test_claims_avoid_destinations_whose_circuit_is_open() -> None:
    """Each job that only waits would cost as much as a delivery."""
    reply = DEAD
    world = OutboundWorld(lambda mail, way: reply if way.domain == "dead.test" else OK)
    for number in range(30):
        world.job(f"dead{number}", domain="dead.test", recipients=(JobRecipient("bob@dead.test"),))
    world.job("live")
    async with running(world):
        await until(lambda: world.queue.avoided)
        assert world.queue.avoided == {("dead.test", "transactional")}
        reply = OK
        world.clock.advance(AVOIDED_SECONDS + 1)
        world.worker.wake()
        await until(lambda: len(world.queue.done) > 1 and not world.queue.avoided)


async def test_jobs_that_cannot_go_are_not_claimed_again_and_again() -> None:
    world = OutboundWorld(lambda mail, way: DEAD, outbound={"breaker": {"failures": 1, "cool_down": 1000}})
    for number in range(300):
        world.job(f"j{number}")

    async with running(world):
        await until(lambda: len({each.job.job.id for each in world.queue.finished}) == 300)
        leases = world.queue.transactions["lease"]
        finished = len(world.queue.finished)
        await asyncio.sleep(0.1)

        assert len(world.queue.finished) == finished
        assert world.queue.transactions["lease"] <= leases + 15


async def test_leases_are_renewed_while_attempts_run() -> None:
    world = OutboundWorld(_never)
    world.job()
    for queued in await world.queue.lease("w1", 10, 120):
        world.worker.take(queued)
    await until(lambda: world.attempts.mails)
    world.clock.advance(100)

    await world.worker.renew()
    world.clock.advance(100)

    assert await world.queue.lease("w2", 10, 120) == []
    await world.worker.stop(0)


async def test_only_old_leases_are_renewed_and_a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWED_AT_ONCE", 10)
    world = OutboundWorld(_never, outbound={"connections": 1000})
    for number in range(25):
        world.job(f"old{number}")
    task = asyncio.create_task(world.worker.run())
    await until(lambda: len(world.attempts.mails) == 25)
    world.clock.advance(39)
    await world.worker.renew()
    assert world.queue.transactions["renew"] == 0
    world.clock.advance(2)
    for number in range(10):
        world.job(f"new{number}")
    world.worker.wake()
    await until(lambda: len(world.attempts.mails) == 35)

    await world.worker.renew()

    assert world.queue.transactions["renew"] == 3
    ends = {each.lease_until - world.clock.now() for name, each in world.queue.jobs.items() if name.startswith("old")}
    assert ends == {120}
    await world.worker.stop(0)
    await task


async def test_a_worker_that_stops_while_outcomes_wait_claims_nothing() -> None:
    world = OutboundWorld()

    async def never(finished: Sequence[Finished]) -> set[str]:
        await asyncio.Event().wait()
        return set()

    world.worker._finishing = Gatherer(never, 1000)
    for number in range(3 * MOST_UNRECORDED):
        world.job(f"j{number}", domain=f"d{number}.test", recipients=(JobRecipient(f"bob@d{number}.test"),))
    task = asyncio.create_task(world.worker.run())
    await until(lambda: world.worker._backlog.is_full)
    for _ in range(20):
        await asyncio.sleep(0)
    claims = world.queue.transactions["lease"]
    await world.worker.stop(0)
    async with asyncio.timeout(60):
        await task
    assert (world.queue.transactions["lease"], len(world.worker)) == (claims, 0)


async def test_a_job_that_another_worker_took_is_dropped() -> None:
    world = OutboundWorld(_never)
    world.job()
    for queued in await world.queue.lease("w1", 10, 120):
        world.worker.take(queued)
    await until(lambda: world.attempts.mails)
    world.clock.advance(121)
    assert len(await world.queue.lease("w2", 10, 120)) == 1

    await world.worker.renew()
    await world.settled()

    assert world.attempts.active["remote.test"] == 0
    assert world.queue.finished == []
    assert world.events("outbound_lease_lost") == [{"job": "j1", "dot_sent": False}]
    (attempts, *_) = world.worker.meters.families()
    assert [(one.labels["result"], one.value) for one in attempts.samples] == [("lost", 1)]


async def test_a_worker_that_was_suspended_past_its_lease_sends_no_second_dot() -> None:
    """Trap 1, with two workers: the first is suspended in mid-attempt, the second delivers, the first resumes."""
    resumes: asyncio.Future[HostReply] = asyncio.get_running_loop().create_future()
    first = OutboundWorld(lambda mail, way: resumes)
    second = OutboundWorld(queue=first.queue, owner="w2")
    first.job()
    for queued in await first.queue.lease("w1", 10, 120):
        first.worker.take(queued)
    await until(lambda: first.attempts.mails)
    first.clock.advance(121)
    for queued in await first.queue.lease("w2", 10, 120):
        second.worker.take(queued)
    await second.settled()

    resumes.set_result(OK)
    await first.settled()

    assert (len(first.attempts.dots), len(second.attempts.dots)) == (0, 1)
    assert len(first.queue.finished) == 1
    assert first.events("outbound_lease_lost")


@pytest.mark.parametrize("renewed", [False, True])
async def test_a_worker_that_was_suspended_just_before_the_dot_does_not_send_it(
    monkeypatch: pytest.MonkeyPatch, renewed: bool
) -> None:
    """The database has recorded the dot; then the process is suspended, and its lease ends before it goes on."""
    world = OutboundWorld()
    world.job()
    real = world.queue.sending

    async def then_suspended(sending: Sequence[Sending]) -> set[str]:
        if renewed:
            world.clock.advance(100)
            await world.worker.renew()
        held = await real(sending)
        world.clock.advance(119 if renewed else 121)
        return held

    world.delivery._transmission._sending = Gatherer(then_suspended, 1000)
    async with running(world):
        await until(lambda: world.queue.done if renewed else world.events("outbound_lease_lost"))

    assert len(world.attempts.dots) == (1 if renewed else 0)
    assert len(world.queue.finished) == (1 if renewed else 0)


async def test_a_born_lease_counts_from_before_the_commit() -> None:
    world = OutboundWorld()
    lease = world.worker.spare_lease(1)
    assert lease is not None
    queued = replace(world.job(), lease_owner="w1", fence=1, lease_until=lease.until)
    world.queue.add(queued)
    world.clock.advance(121)  # The commit took so long.
    assert len(await world.queue.lease("w2", 10, 120)) == 1
    world.worker.take(queued)
    await world.settled()

    assert world.attempts.dots == []
    assert world.events("outbound_lease_lost")


@pytest.mark.parametrize("seconds", [39, 41, 119, 121])
async def test_the_record_of_a_dot_extends_a_lease_of_which_a_third_has_passed(seconds: int) -> None:
    """The outcome has a whole lease to be recorded. A lease that has ended is as good if nobody else took the job."""
    world = OutboundWorld()
    world.job()
    (queued,) = await world.queue.lease("w1", 10, 120)
    ends: list[float] = []
    real = world.attempts._attempt

    async def attempt(*given: object) -> object:
        result = await real(*given)  # type: ignore[arg-type]
        ends.append(world.queue.jobs["j1"].lease_until - world.clock.now())
        return result

    world.attempts._attempt = attempt  # type: ignore[method-assign, assignment]
    world.clock.advance(seconds)
    world.worker.take(queued)
    await world.settled()

    assert ends == [120 - 39 if seconds == 39 else 120]
    assert len(world.attempts.dots) == len(world.queue.done) == 1


async def test_leases_are_renewed_while_outcomes_wait_for_a_busy_database() -> None:
    """Another worker that polls all the time gets none of the jobs that were sent."""
    world = OutboundWorld()
    goes_on = asyncio.Event()

    async def slow(finished: Sequence[Finished]) -> set[str]:
        await goes_on.wait()
        return await world.queue.finish(finished)

    world.worker._finishing = Gatherer(slow, 1000)
    for number in range(3 * MOST_UNRECORDED):
        world.job(f"j{number}", domain=f"d{number}.test", recipients=(JobRecipient(f"bob@d{number}.test"),))
    async with running(world):
        await until(lambda: world.worker._backlog.is_full)
        claims = world.queue.transactions["lease"]
        held = len(world.worker)
        assert world.worker.spare_lease(1) is None, "it takes no new job either"
        for _ in range(30):
            world.clock.advance(20)
            await world.worker.renew()
            other = await world.queue.lease("w2", 1000, 5)
            assert not {each.job.id for each in other} & {each.queued.job.id for each in world.worker._held.values()}
            world.worker.wake()
            for _ in range(5):
                await asyncio.sleep(0)
        assert world.queue.transactions["lease"] - claims == 30, "only the other worker claims"
        assert len(world.worker) == held
        goes_on.set()
        world.clock.advance(10)
        await until(lambda: len(world.queue.done) == 3 * MOST_UNRECORDED)

    assert len(world.attempts.dots) == 3 * MOST_UNRECORDED
    assert not world.events("outbound_lease_lost")


async def test_jobs_of_a_worker_that_was_killed_are_delivered_by_another() -> None:
    first = OutboundWorld(_never)
    for number in range(20):
        first.job(f"j{number}")
    for queued in await first.queue.lease("w1", 10, 120):
        first.worker.take(queued)
    await until(lambda: len(first.attempts.mails) == 10)
    await first.worker.stop(0)  # Nothing is written for the jobs in progress, as after kill -9.

    second = OutboundWorld(queue=first.queue, owner="w2")
    async with running(second):
        await until(lambda: len(first.queue.done) == 10)
        first.clock.advance(121)
        await until(lambda: len(first.queue.done) == 20)

    assert len(second.attempts.dots) == 20


async def test_an_outcome_is_written_when_the_database_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message was delivered: to forget it would deliver it twice."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    world = OutboundWorld()
    real = world.attempts._attempt

    async def then_away(*given: object) -> object:
        result = await real(*given)  # type: ignore[arg-type]
        world.queue.away = True
        return result

    monkeypatch.setattr(world.attempts, "_attempt", then_away)
    world.job()
    async with running(world):
        await until(lambda: world.attempts.dots and world.events("outbound_queue_unreachable"))
        await asyncio.sleep(0.01)
        assert world.queue.finished == []
        world.queue.away = False
        await until(lambda: world.queue.done)

    assert len(world.attempts.dots) == 1


async def test_a_worker_that_leases_its_own_job_again_records_the_outcome_it_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database was locked until the lease ended, and takes the claim before the outcome."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    world = OutboundWorld()
    real, locked = world.queue.finish, True

    async def finish(finished: Sequence[Finished]) -> set[str]:
        if locked:
            raise StoreUnavailable("database is locked")
        return await real(finished)

    world.worker._finishing = Gatherer(finish, 1000)
    world.job()
    async with running(world):
        await until(lambda: world.attempts.dots and world.events("outbound_queue_unreachable"))
        world.clock.advance(121)
        await until(lambda: world.queue.jobs["j1"].fence == 2)
        locked = False
        await until(lambda: world.queue.done)

    assert len(world.attempts.dots) == 1
    assert world.events("outbound_lease_lost") == []


async def test_a_worker_that_leases_a_job_again_which_it_is_sending_does_not_send_it_twice() -> None:
    """The clock leaped ahead: the lease has ended for the database."""
    world = OutboundWorld()
    world.job()
    world.attempts.answers = asyncio.Event()
    async with running(world):
        await until(lambda: world.attempts.dots)
        world.queue.jobs["j1"] = replace(world.queue.jobs["j1"], lease_until=0.0)
        world.worker.wake()
        await until(lambda: world.queue.jobs["j1"].fence == 2)
        await world.worker.renew()
        world.attempts.answers.set()
        await until(lambda: world.queue.done)

    assert len(world.attempts.dots) == 1
    assert world.statuses() == ["delivered"]
    assert world.events("outbound_lease_lost") == []


@pytest.mark.parametrize("error", [StorageFull("the disk is full"), Conflict("others write these rows")])
async def test_an_outcome_is_written_when_there_is_room_again(
    monkeypatch: pytest.MonkeyPatch, error: StoreError
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    world = OutboundWorld()
    real, tries = world.queue.finish, 0

    async def full(finished: Sequence[Finished]) -> set[str]:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise error
        return await real(finished)

    world.worker._finishing = Gatherer(full, 1000)
    world.job()
    async with running(world):
        await until(lambda: world.queue.done)

    assert (len(world.attempts.dots), tries) == (1, 5)


async def test_a_blob_store_that_is_away_costs_no_attempts_and_is_not_asked_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = OutboundWorld(max_attempts=2)
    real = world.delivery._contents
    asked = 0

    class Away:
        async def get(self, key: str) -> Content:
            nonlocal asked
            asked += 1
            raise StoreUnavailable("the bucket does not answer")

    world.delivery._contents = Away()
    for number in range(30):
        world.job(f"j{number}")
    async with running(world):
        for minute in range(1, 5):
            await until(lambda minute=minute: len(world.queue.finished) == 30 * minute)  # type: ignore[misc]
            for _ in range(500):
                await asyncio.sleep(0)
            assert asked == 30 * minute
            world.clock.advance(121)
        await until(lambda: len(world.queue.finished) == 150)
        world.delivery._contents = real
        world.clock.advance(121)
        await until(lambda: len(world.queue.done) == 30)

    assert {each.error for each in world.queue.finished[:30]} == {"the bucket does not answer"}
    assert {each.job.attempts for each in world.queue.done.values()} == {1}


async def test_few_outcomes_wait_to_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill, each of their messages would be sent again."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    world = OutboundWorld(outbound={"connections": 20})
    real, records = world.queue.finish, asyncio.Event()

    async def slow(finished: Sequence[Finished]) -> set[str]:
        await records.wait()
        return await real(finished)

    world.worker._finishing = Gatherer(slow, 1000)
    for number in range(300):
        world.job(f"j{number}")
    async with running(world):
        await until(lambda: len(world.attempts.mails) > module.MOST_UNRECORDED)
        for _ in range(2000):
            await asyncio.sleep(0)
        assert module.MOST_UNRECORDED <= len(world.attempts.dots) < module.MOST_UNRECORDED + 20
        records.set()
        await until(lambda: len(world.queue.done) == 300)


async def test_a_defect_of_the_queue_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    world = OutboundWorld()
    real = world.queue.lease

    async def damaged(*given: Any) -> list[QueuedJob]:
        monkeypatch.setattr(world.queue, "lease", real)
        raise ValueError("a row that cannot be read")

    monkeypatch.setattr(world.queue, "lease", damaged)
    world.job()
    async with running(world):
        await until(lambda: world.queue.done)

    assert len(world.events("outbound_claim_failed")) == 1


async def test_an_unreachable_queue_is_logged_once_and_its_return_too() -> None:
    world = OutboundWorld()
    world.queue.away = True
    world.worker._settings = module.WorkerSettings(poll=0.001)
    async with running(world):
        await until(lambda: world.events("outbound_queue_unreachable"))
        await asyncio.sleep(0.02)
        world.queue.away = False
        world.job()
        await until(lambda: world.queue.done)

    assert len(world.events("outbound_queue_unreachable")) == 1
    assert len(world.events("outbound_queue_reachable")) == 1


async def test_stopping_lets_attempts_end() -> None:
    replies: asyncio.Future[HostReply] = asyncio.get_running_loop().create_future()
    world = OutboundWorld(lambda mail, way: replies)
    world.job()
    task = asyncio.create_task(world.worker.run())
    await until(lambda: world.attempts.mails)
    stopping = asyncio.create_task(world.worker.stop(10))
    await asyncio.sleep(0)

    replies.set_result(OK)
    await stopping
    await task

    assert list(world.queue.done) == ["j1"]


async def test_a_defect_in_one_job_is_logged_and_does_not_stop_the_others() -> None:
    def script(mail: Outgoing, way: Way) -> HostReply:
        if mail.content.read(0, 20).startswith(b"Subject: bad"):
            raise RuntimeError("a defect")
        return OK

    world = OutboundWorld(script)
    world.job("bad")
    world.job("good")
    await world.turn()

    assert list(world.queue.done) == ["good"]
    assert [each["job"] for each in world.events("outbound_job_failed")] == ["bad"]
