"""The port ``Queue``."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from inbox.base.errors import AlreadyExists, NotFound
from inbox.plugin.api.testing import FakeClock
from inbox.store.job_states import born
from inbox.store.ports import Database, Scope
from inbox.store.ports.ingest import Indexed, IndexedMessage
from inbox.store.ports.job_filter import JobFilter
from inbox.store.ports.queue import (
    FIRST_ATTEMPTS,
    LAST_ATTEMPTS,
    LONGEST_LEASE,
    MOST_JOBS,
    MOST_TEXT,
    PENDING,
    AttemptRecord,
    DeliveryRecord,
    Finished,
    Job,
    JobRecipient,
    Lease,
    Queue,
    QueuedJob,
    RecipientState,
    Sending,
)
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.surreal.database import SurrealDatabase
from inbox.store.surreal.jobs import turn_id, turn_to_row
from inbox.store.surreal.values import micros
from tests.support.invariants import broken
from tests.support.jobs import defer, deliver, ended, fail
from tests.support.store import IDS, Home, Opener, email

DAY = 86_400.0


@pytest.fixture
def now(db: Database, clock: FakeClock) -> Callable[[], float]:
    """The database's time."""
    return clock.now if isinstance(db, SqliteDatabase) else time.time


@pytest.fixture(autouse=True)
async def whole(db: Database) -> AsyncIterator[None]:
    """Whatever a test did, the tables fit together afterwards."""
    yield
    assert await broken(db) == []


@pytest.fixture
def job(now: Callable[[], float]) -> Callable[..., Job]:
    def make(**fields: Any) -> Job:
        at = now()
        made = Job(IDS.new(), "ann@acme.test", (JobRecipient("bob@example.org"),), "example.org", at, at + DAY)
        return replace(made, **fields)

    return make


async def stored(home: Home) -> str:
    """The id of a mail in the INBOX."""
    return (await home.deliver()).email


async def jump(db: Database, clock: FakeClock, seconds: float) -> None:
    """Sets the database's clock. SurrealDB's is the machine's: there all times of the queue are set the other way."""
    if isinstance(db, SqliteDatabase):
        clock.advance(seconds)
        return
    assert isinstance(db, SurrealDatabase)
    (found,) = await db._gateway.query("SELECT * FROM outbound_queue")
    for row in found:
        times = {
            name: row[name] - seconds
            for name in ("next_attempt_at", "expires_at", "lease_until", "waits_since", "not_before", "died_at")
            if row.get(name)
        }
        turn = list(row.get("turn") or [])
        if turn:
            turn[4 if turn[0] == "r" else 1] -= micros(seconds)
        await db._gateway.query(
            "DELETE $old RETURN NONE; UPDATE $id MERGE $times RETURN NONE;INSERT INTO outbound_turn $turns RETURN NONE",
            id=row["id"],
            old=[turn_id(row["turn"])] if turn else [],
            times={**times, "turn": turn or None},
            turns=[turn_to_row(turn)] if turn else [],
        )


async def only(queue: Queue, owner: str = "w", seconds: float = 60.0) -> QueuedJob:
    (leased,) = await queue.lease(owner, 10, seconds)
    return leased


async def test_every_field_is_kept(acme: Home, job: Callable[..., Job]) -> None:
    placed = await acme.deliver()
    made = job(
        sender="", priority=-3, job_class="dsn", ret="HDRS", envid="QQ+2B314159", body="8BITMIME", smtputf8=True,
        recipients=(
            JobRecipient("bob@example.org", ("SUCCESS", "FAILURE"), "rfc822;Bob@example.org"),
            JobRecipient("eve@example.org"),
        ),
        require_tls=True, actor_account="someone", shared_inbox="sales", transaction="t1", door="submission",
        prepended=b"Received: from \xff\r\n",
    )  # fmt: skip
    plain = job()
    await acme.db.queue.enqueue(acme.tenant, placed.email, [made, plain])
    found = {one.job.id: one for one in await acme.db.queue.jobs(acme.tenant)}
    (shown,) = await acme.fetched(acme.inbox, [placed.uid])
    assert found[made.id].job == made
    assert found[plain.id].job == plain
    queued = found[made.id]
    assert (queued.tenant, queued.email, queued.blob_path) == (acme.tenant, placed.email, shown.email.blob_path)
    assert (queued.status, queued.attempts, queued.fence) == ("queued", 0, 0)
    assert await acme.db.queue.get(acme.tenant, made.id) == queued


async def test_jobs_are_for_a_mail_of_an_active_tenant(acme: Home, other: Home, job: Callable[..., Job]) -> None:
    mail = await stored(acme)
    for tenant, wanted in ((other.tenant, mail), (acme.tenant, "no-such-mail"), ("no-such-tenant", mail)):
        with pytest.raises(NotFound):
            await acme.db.queue.enqueue(tenant, wanted, [job()])
    await acme.db.hosting.set_active(Scope(acme.tenant), False)
    with pytest.raises(NotFound):
        await acme.db.queue.enqueue(acme.tenant, mail, [job()])
    assert await acme.db.queue.jobs(None) == []


async def test_all_jobs_of_a_call_or_none(acme: Home, job: Callable[..., Job]) -> None:
    mail, known = await stored(acme), job()
    await acme.db.queue.enqueue(acme.tenant, mail, [known])
    with pytest.raises(AlreadyExists):
        await acme.db.queue.enqueue(acme.tenant, mail, [job(), known])
    with pytest.raises(ValueError, match="at most"):
        await acme.db.queue.enqueue(acme.tenant, mail, [known] * (MOST_JOBS + 1))
    assert [one.job.id for one in await acme.db.queue.jobs(acme.tenant)] == [known.id]


async def test_a_lease_is_one_workers(acme: Home, job: Callable[..., Job], now: Callable[[], float]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased = await only(acme.db.queue)
    assert (leased.status, leased.lease_owner, leased.attempts, leased.fence) == ("processing", "w", 1, 1)
    assert 50 < leased.lease_until - now() <= 60
    assert await acme.db.queue.lease("other", 10, 60.0) == []


async def test_two_workers_never_hold_one_job(acme: Home, opener: Opener, job: Callable[..., Job]) -> None:
    instances = [acme.db, await opener(), await opener()]
    mail = await stored(acme)
    made = [job(domain=f"d{n % 7}.test") for n in range(60)]
    await acme.db.queue.enqueue(acme.tenant, mail, made)

    async def work(number: int) -> list[str]:
        mine: list[str] = []
        while leased := await instances[number % 3].queue.lease(f"w{number}", 7, 60.0):
            mine += [one.job.id for one in leased]
        return mine

    taken = [one for many in await asyncio.gather(*(work(n) for n in range(6))) for one in many]
    while leased := await acme.db.queue.lease("last", 50, 60.0):  # what others lost to each other at the same moment
        taken += [one.job.id for one in leased]
    assert Counter(taken) == Counter(one.id for one in made)


async def test_a_delivered_job_becomes_a_record(acme: Home, job: Callable[..., Job], now: Callable[[], float]) -> None:
    made = job(actor_account="someone", shared_inbox="sales")
    mail = await stored(acme)
    await acme.db.queue.enqueue(acme.tenant, mail, [made])
    assert await deliver(acme.db.queue, await only(acme.db.queue), "250 2.0.0 queued as 1")
    assert await acme.db.queue.jobs(acme.tenant) == []
    record = await acme.db.queue.delivery(acme.tenant, made.id)
    assert record is not None
    assert abs(record.delivered_at - now()) < 30
    state = RecipientState("delivered", 250, "", "250 2.0.0 queued as 1", reported=True)
    assert record == DeliveryRecord(
        made.id, acme.tenant, record.delivered_at, mail, made.sender, made.domain, made.recipients, (state,),
        actor_account="someone", shared_inbox="sales",
    )  # fmt: skip


async def test_a_deferred_job_waits(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased = await only(acme.db.queue)
    assert await acme.db.queue.sending([Sending(leased)])
    assert await defer(acme.db.queue, leased, 300.0, "451 4.7.1 later")
    assert await acme.db.queue.lease("w", 10, 60.0) == []
    (waiting,) = await acme.db.queue.jobs(acme.tenant)
    assert (waiting.status, waiting.last_error, waiting.attempts) == ("queued", "451 4.7.1 later", 1)
    assert (waiting.lease_owner, waiting.dot_sent_at) == (None, 0.0)
    await jump(acme.db, clock, 301.0)
    again = await only(acme.db.queue)
    assert (again.attempts, again.fence) == (2, 2)


async def test_a_wait_that_was_no_attempt_does_not_count(acme: Home, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    assert await defer(acme.db.queue, await only(acme.db.queue), 0.0, "throttled", counts=False)
    assert (await only(acme.db.queue)).attempts == 1


async def test_a_job_is_due_when_it_expires(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    assert await defer(acme.db.queue, await only(acme.db.queue), 10 * DAY, "451 later")
    assert await acme.db.queue.lease("w", 10, 60.0) == []
    await jump(acme.db, clock, DAY + 1)
    assert (await only(acme.db.queue)).attempts == 2


async def test_a_job_is_not_released_before_its_time(
    acme: Home, clock: FakeClock, job: Callable[..., Job], now: Callable[[], float]
) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job(not_before=now() + 3600)])
    assert await acme.db.queue.lease("w", 10, 60.0) == []
    await jump(acme.db, clock, 3601.0)
    await only(acme.db.queue)


async def test_a_dead_job_stays_until_it_is_pruned(acme: Home, job: Callable[..., Job]) -> None:
    mail = email(acme.tenant)
    await acme.deliver(mail=mail)
    made = job()
    await acme.db.queue.enqueue(acme.tenant, mail.id, [made])
    assert await fail(acme.db.queue, await only(acme.db.queue), "550 5.1.1 no such user")
    (dead,) = await acme.db.queue.jobs(acme.tenant, JobFilter(status="dead"))
    assert (dead.last_error, dead.lease_owner) == ("550 5.1.1 no such user", None)
    assert dead.died_at > 0
    assert await acme.db.queue.lease("w", 10, 60.0) == []
    assert await acme.db.queue.prune(dead.died_at - 1, 0.0) == 0
    assert await acme.db.queue.prune(dead.died_at + 1, 0.0) == 1
    assert await acme.db.queue.jobs(acme.tenant) == []


async def test_records_of_deliveries_are_pruned(acme: Home, job: Callable[..., Job]) -> None:
    made = job()
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [made])
    assert await deliver(acme.db.queue, await only(acme.db.queue), "250 OK")
    record = await acme.db.queue.delivery(acme.tenant, made.id)
    assert record is not None
    assert await acme.db.queue.prune(0.0, record.delivered_at) == 0
    assert await acme.db.queue.prune(0.0, record.delivered_at + 1) == 1
    assert await acme.db.queue.delivery(acme.tenant, made.id) is None


async def test_a_worker_that_was_stopped_changes_nothing(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    stale = await only(acme.db.queue, "stopped", 30.0)
    await jump(acme.db, clock, 31.0)
    fresh = await only(acme.db.queue, "second")
    assert fresh.fence == stale.fence + 1
    for status in ("delivered", "failed", "pending"):
        assert await acme.db.queue.finish([ended(stale, status, "250 OK")]) == set()
    # Nor does the same worker with an earlier lease of its own; the job that is still held is not affected.
    for wrong in (stale, replace(fresh, fence=stale.fence)):
        assert await acme.db.queue.sending([Sending(wrong), Sending(fresh)]) == {fresh.job.id}
        assert await acme.db.queue.sending([Sending(wrong)]) == set()
    assert await acme.db.queue.renew([stale, fresh], 60.0) == {fresh.job.id}
    assert await deliver(acme.db.queue, fresh)
    assert not await deliver(acme.db.queue, fresh)


async def test_a_renewed_lease_continues(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased = await only(acme.db.queue, seconds=30.0)
    assert await acme.db.queue.renew([leased], 120.0) == {leased.job.id}
    await jump(acme.db, clock, 60.0)
    assert await acme.db.queue.release_expired() == 0
    assert await deliver(acme.db.queue, leased, "250 OK")


async def test_the_record_of_a_dot_extends_the_lease(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased = await only(acme.db.queue, seconds=30.0)
    assert await acme.db.queue.sending([Sending(leased, b"", 120.0)]) == {leased.job.id}
    await jump(acme.db, clock, 60.0)
    assert await acme.db.queue.lease("another", 10, 30.0) == []
    # A lease is never made shorter, nor longer than the longest.
    for seconds in (0.0, 1.0):
        assert await acme.db.queue.sending([Sending(leased, b"", seconds)]) == {leased.job.id}
    await jump(acme.db, clock, 30.0)
    assert await acme.db.queue.lease("another", 10, 30.0) == []
    assert await acme.db.queue.sending([Sending(leased, b"", 10 * LONGEST_LEASE)]) == {leased.job.id}
    assert await acme.db.queue.release_expired() == 0
    assert await deliver(acme.db.queue, leased, "250 OK")


async def test_a_lease_that_ended_is_extended_by_the_dot_or_lost(
    acme: Home, clock: FakeClock, job: Callable[..., Job]
) -> None:
    """Its worker and another one that claims: the one that writes first gets the job."""
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased = await only(acme.db.queue, seconds=30.0)
    await jump(acme.db, clock, 31.0)
    assert await acme.db.queue.sending([Sending(leased, b"", 30.0)]) == {leased.job.id}
    assert await acme.db.queue.lease("another", 10, 30.0) == []
    await jump(acme.db, clock, 31.0)
    assert len(await acme.db.queue.lease("another", 10, 30.0)) == 1
    assert await acme.db.queue.sending([Sending(leased, b"", 30.0)]) == set()


async def test_renewals_succeed_beside_a_stream_of_dots_and_outcomes(
    acme: Home, db: Database, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal of many leases that starts again whenever one of the jobs changes would end after the leases."""
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job() for _ in range(60)])
    leased = await db.queue.lease("w", 60, 60.0)
    ending = iter(leased[:50])
    work: list[asyncio.Task[set[str]]] = []
    changes = 0
    if isinstance(db, SurrealDatabase):
        real = db._gateway.query

        async def meanwhile(sql: str, /, **values: Any) -> list[Any]:
            """After each read by the renewal, another call changes one of its jobs, or waits for it."""
            nonlocal changes
            found = await real(sql, **values)
            if len(values.get("ids", ())) > 1 and "BEGIN" not in sql and (one := next(ending, None)) is not None:
                changes += 1
                write = db.queue.finish([ended(one, "delivered", "250 OK")]) if changes % 2 else None
                work.append(asyncio.create_task(write or db.queue.sending([Sending(one)])))
                await asyncio.wait(work, timeout=0.2)
            return found

        monkeypatch.setattr(db._gateway, "query", meanwhile)
    assert await db.queue.renew(leased, 60.0) == {one.job.id for one in leased}
    await asyncio.gather(*work)
    assert changes <= 1, "the renewal did not start again"


async def test_a_crash_after_the_final_dot_is_seen(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    assert await acme.db.queue.sending([Sending(await only(acme.db.queue, "crashes", 30.0))])
    await jump(acme.db, clock, 31.0)
    assert await acme.db.queue.release_expired() == 1
    (waiting,) = await acme.db.queue.jobs(acme.tenant)
    assert (waiting.status, waiting.lease_owner) == ("queued", None)
    assert (await only(acme.db.queue)).dot_sent_at > 0


async def test_no_lease_is_longer_than_the_longest(
    acme: Home, job: Callable[..., Job], now: Callable[[], float]
) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased = await only(acme.db.queue, seconds=10 * LONGEST_LEASE)
    assert leased.lease_until <= now() + LONGEST_LEASE + 1
    assert await acme.db.queue.release_expired() == 0


async def test_a_clock_that_is_set_back_stops_nothing(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    mail = await stored(acme)
    await acme.db.queue.enqueue(acme.tenant, mail, [job()])
    leased = await only(acme.db.queue)
    await jump(acme.db, clock, -DAY)
    # The lease ends in a day by the new clock; the worker's next renewal would have corrected it.
    again = await only(acme.db.queue, "second")
    assert again.fence == leased.fence + 1
    assert await defer(acme.db.queue, again, 60.0, "451 later")
    await jump(acme.db, clock, -DAY)
    assert await deliver(acme.db.queue, await only(acme.db.queue), "250 OK")


async def test_a_clock_that_is_set_back_releases_nothing_early(
    acme: Home, clock: FakeClock, job: Callable[..., Job], now: Callable[[], float]
) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job(not_before=now() + 3600)])
    if isinstance(acme.db, SqliteDatabase):  # The sender named a time of day, which the other clock cannot show here.
        await jump(acme.db, clock, -DAY)
    assert await acme.db.queue.lease("w", 10, 60.0) == []


async def test_tenants_take_turns(acme: Home, other: Home, job: Callable[..., Job], now: Callable[[], float]) -> None:
    early = now() - 1000
    flood = [job(created_at=early) for _ in range(200)]
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), flood)
    await acme.db.queue.enqueue(other.tenant, await stored(other), [job(), job()])
    leased = await acme.db.queue.lease("w", 10, 60.0)
    assert Counter(one.tenant for one in leased)[other.tenant] == 2


async def test_domains_and_classes_take_turns(acme: Home, job: Callable[..., Job], now: Callable[[], float]) -> None:
    early = now() - 1000
    flood = [job(created_at=early, job_class="bulk") for _ in range(200)]
    few = [job(domain="other.test"), job(job_class="dsn")]
    mail = await stored(acme)
    await acme.db.queue.enqueue(acme.tenant, mail, [*flood, *few])
    leased = {one.job.id for one in await acme.db.queue.lease("w", 6, 60.0)}
    assert {one.id for one in few} < leased


async def test_destinations_to_avoid_get_a_twentieth_while_others_are_due(
    acme: Home, job: Callable[..., Job], now: Callable[[], float]
) -> None:
    jobs = [job(domain=domain, job_class=kind) for domain in ("dead.test", "live.test") for kind in ("bulk",) * 30]
    also = [job(domain="dead.test") for _ in range(30)]
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [*jobs, *also])
    leased = await acme.db.queue.lease("w", 20, 60.0, frozenset({("dead.test", "bulk")}))
    counts = Counter((one.job.domain, one.job.job_class) for one in leased)
    assert counts["dead.test", "bulk"] == 1
    assert min(counts["live.test", "bulk"], counts["dead.test", "transactional"]) == 9
    assert len(await acme.db.queue.lease("w", 500, 60.0, frozenset({("dead.test", "bulk")}))) == 41 + 25
    assert len(await acme.db.queue.lease("w", 500, 60.0, frozenset({("dead.test", "bulk")}))) == 4


async def test_priority_comes_before_age(acme: Home, job: Callable[..., Job], now: Callable[[], float]) -> None:
    made = [job(created_at=now() - 10 + n, priority=priority) for n, priority in enumerate((0, -4, 9, 9))]
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), made)
    leased = [one.job.id for one in await acme.db.queue.lease("w", 10, 60.0)]
    assert leased == [made[n].id for n in (2, 3, 0, 1)]


async def test_every_tenant_is_served_in_the_end(
    db: Database, acme: Home, other: Home, job: Callable[..., Job]
) -> None:
    for home in (acme, other):
        await db.queue.enqueue(home.tenant, await stored(home), [job() for _ in range(3)])
    taken = [one.tenant for _ in range(6) for one in await db.queue.lease("w", 1, 60.0)]
    assert Counter(taken) == {acme.tenant: 3, other.tenant: 3}
    assert set(taken[:2]) == {acme.tenant, other.tenant}


async def test_a_held_job_is_not_leased(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    queue, tenant = acme.db.queue, acme.tenant
    first, second = job(), job(domain="second.test")
    await queue.enqueue(tenant, await stored(acme), [first, second])
    assert await queue.hold(tenant, [first.id, "no-such-job"], "looks like spam") == 1
    leased = await only(queue)
    assert leased.job == second
    assert await queue.hold(tenant, [second.id], "stop") == 1
    assert await defer(queue, leased, 0.0, "451 later")
    await jump(acme.db, clock, 2 * DAY)
    assert await queue.lease("w", 10, 60.0) == []
    held = await queue.get(tenant, first.id)
    assert held is not None
    assert held.hold_reason == "looks like spam"
    assert await queue.release(tenant, [first.id, second.id]) == 2
    assert await queue.release(tenant, [first.id]) == 0
    assert {one.job.id for one in await queue.lease("w", 10, 60.0)} == {first.id, second.id}


async def test_a_held_job_of_a_worker_that_died_stays_held(
    acme: Home, clock: FakeClock, job: Callable[..., Job]
) -> None:
    made = job()
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [made])
    await only(acme.db.queue, "dies", 30.0)
    await acme.db.queue.hold(acme.tenant, [made.id], "stop")
    await jump(acme.db, clock, 31.0)
    assert await acme.db.queue.lease("w", 10, 60.0) == []
    (held,) = await acme.db.queue.jobs(acme.tenant)
    assert (held.status, held.hold_reason) == ("queued", "stop")


async def test_retry_makes_due_and_revives(acme: Home, job: Callable[..., Job], now: Callable[[], float]) -> None:
    queue, tenant = acme.db.queue, acme.tenant
    dead, waiting, busy = job(), job(), job()
    await queue.enqueue(tenant, await stored(acme), [dead, waiting, busy])
    for one in await queue.lease("w", 10, 60.0):
        if one.job == dead:
            assert await fail(queue, one, "550 no")
        elif one.job == waiting:
            assert await defer(queue, one, 3600.0, "451 later")
    assert await queue.retry(tenant, [dead.id, waiting.id, busy.id, "no-such-job"], 7 * DAY) == 2
    leased = {one.job.id: one for one in await queue.lease("w", 10, 60.0)}
    assert set(leased) == {dead.id, waiting.id}
    assert (leased[dead.id].attempts, leased[dead.id].died_at) == (1, 0.0)
    assert leased[waiting.id].attempts == 2
    assert leased[dead.id].job.expires_at > now() + 6 * DAY


async def test_a_removed_job_is_lost_to_its_worker(acme: Home, job: Callable[..., Job]) -> None:
    queue, made = acme.db.queue, job()
    await queue.enqueue(acme.tenant, await stored(acme), [made])
    leased = await only(queue)
    assert await queue.remove(acme.tenant, [made.id, "no-such-job"]) == 1
    assert await queue.renew([leased], 60.0) == set()
    assert not await deliver(queue, leased)
    assert await queue.delivery(acme.tenant, made.id) is None


async def test_pages_and_counts(acme: Home, other: Home, job: Callable[..., Job]) -> None:
    queue = acme.db.queue
    mine = [job(domain=f"d{n % 2}.test") for n in range(7)]
    theirs = job(domain="d1.test")
    await queue.enqueue(acme.tenant, await stored(acme), mine)
    await queue.enqueue(other.tenant, await stored(other), [theirs])
    pages: list[QueuedJob] = []
    while page := await queue.jobs(None, after=pages[-1] if pages else None, limit=3):
        pages += page
    assert [(one.tenant, one.job.id) for one in pages] == sorted(
        [*((acme.tenant, one.id) for one in mine), (other.tenant, theirs.id)]
    )
    found = await queue.jobs(acme.tenant, JobFilter(domain="d1.test", status="queued"), limit=2)
    assert [one.job.id for one in found] == sorted(one.id for one in mine if one.domain == "d1.test")[:2]
    assert await queue.jobs(acme.tenant, JobFilter(status="dead")) == []
    await queue.hold(acme.tenant, [mine[0].id, mine[1].id], "why not")
    (dead,) = [one for one in await queue.lease("w", 10, 60.0) if one.job == mine[2]]
    assert await fail(queue, dead, "550 no")
    counted = {(one.tenant, one.domain): one for one in await queue.count(None)}
    first, second = counted[acme.tenant, "d0.test"], counted[acme.tenant, "d1.test"]
    assert (first.queued, first.processing, first.held, first.dead) == (0, 2, 1, 1)
    assert (second.queued, second.processing, second.held, second.dead) == (0, 2, 1, 0)
    assert first.oldest == min(one.created_at for one in mine[::2] if one != mine[2]), "the dead one does not count"
    assert list(counted) == sorted(counted)
    assert [one.tenant for one in await queue.count(other.tenant)] == [other.tenant]


async def test_dead_jobs_have_no_age(acme: Home, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    (leased,) = await acme.db.queue.lease("w", 10, 60.0)
    assert await fail(acme.db.queue, leased, "550 no")
    (count,) = await acme.db.queue.count(acme.tenant)
    assert (count.dead, count.oldest) == (1, 0.0)


async def test_a_mail_stays_while_a_job_refers_to_it(acme: Home, job: Callable[..., Job]) -> None:
    mail = email(acme.tenant)
    placed = await acme.deliver(mail=mail)
    made, second = job(), job()
    await acme.db.queue.enqueue(acme.tenant, mail.id, [made, second])
    await acme.db.messages.remove(acme.tenant, acme.inbox, [placed.uid])
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == {mail.blob_path}
    first, last = await acme.db.queue.lease("w", 10, 60.0)
    assert await deliver(acme.db.queue, first, "250 OK")
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == {mail.blob_path}
    assert await broken(acme.db) == []
    assert await deliver(acme.db.queue, last, "250 OK")
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == set()
    # The sweeper takes its blob for one that was removed on purpose.
    assert await acme.db.installation.released([mail.blob_path]) == {mail.blob_path}


async def test_a_mail_in_a_mailbox_outlives_its_jobs(acme: Home, job: Callable[..., Job]) -> None:
    mail = email(acme.tenant)
    await acme.deliver(mail=mail)
    made = [job(), job(), job()]
    await acme.db.queue.enqueue(acme.tenant, mail.id, made)
    assert await deliver(acme.db.queue, (await acme.db.queue.lease("w", 1, 60.0))[0], "250 OK")
    await acme.db.queue.remove(acme.tenant, [one.id for one in made])
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == {mail.blob_path}
    assert len(await acme.uids()) == 1


async def test_ends_of_one_mails_jobs_at_once(acme: Home, opener: Opener, job: Callable[..., Job]) -> None:
    mail = email(acme.tenant)
    placed = await acme.deliver(mail=mail)
    await acme.db.queue.enqueue(acme.tenant, mail.id, [job() for _ in range(20)])
    await acme.db.messages.remove(acme.tenant, acme.inbox, [placed.uid])
    instances = [acme.db, await opener()]
    leased = await acme.db.queue.lease("w", 50, 60.0)
    assert len(leased) == 20
    ends = await asyncio.gather(*(deliver(instances[n % 2].queue, one) for n, one in enumerate(leased)))
    assert all(ends)
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == set()


async def test_a_removal_deletes_jobs_and_records(acme: Home, other: Home, job: Callable[..., Job]) -> None:
    queue, tenant = acme.db.queue, acme.tenant
    mail = await stored(acme)
    own, acted, elsewhere, dsn = (
        job(),
        job(sender="x@second.test", actor_account=acme.account.id),
        job(sender="info@acme.test"),
        job(sender=""),
    )
    theirs = job()
    await queue.enqueue(tenant, mail, [own, acted, elsewhere, dsn])
    await queue.enqueue(other.tenant, await stored(other), [theirs])
    assert await queue.forget(Scope(tenant, account=acme.account.address)) == 2
    assert await queue.forget(Scope(tenant, account=acme.account.address)) == 0
    assert {one.job.id for one in await queue.jobs(tenant)} == {elsewhere.id, dsn.id}
    assert await queue.forget(Scope(tenant, "acme.test")) == 1
    await queue.enqueue(tenant, mail, [again := job()])
    (leased,) = [one for one in await queue.lease("w", 10, 60.0) if one.job == again]
    assert await deliver(queue, leased, "250 OK")
    assert await queue.forget(Scope(tenant)) == 1
    assert await queue.forget(Scope(tenant)) == 0
    assert await queue.forget_deliveries(tenant) == 1
    assert await queue.forget_deliveries(tenant) == 0
    assert [one.job.id for one in await queue.jobs(None)] == [theirs.id]


async def test_strangers_texts(acme: Home, job: Callable[..., Job]) -> None:
    made = job(sender="a\x00b\udcff@acme.test", envid="x\x00", recipients=(JobRecipient("b@x", orcpt="utf-8;\udc00"),))
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [made])
    leased = await only(acme.db.queue)
    assert (leased.job.sender, leased.job.envid, leased.job.recipients[0].orcpt) == ("ab?@acme.test", "x", "utf-8;?")
    assert await fail(acme.db.queue, leased, "550 \x00\udcff")
    (dead,) = await acme.db.queue.jobs(acme.tenant)
    assert dead.last_error == "550 ?"


async def test_states_of_recipients_decide_what_becomes_of_a_job(
    acme: Home, clock: FakeClock, job: Callable[..., Job]
) -> None:
    queue, to = acme.db.queue, (JobRecipient("a@example.org"), JobRecipient("b@example.org"))
    await queue.enqueue(acme.tenant, await stored(acme), [job(recipients=to, transaction="t1")])
    leased = await only(queue)
    assert leased.states == (PENDING, PENDING)
    taken = RecipientState("delivered", 250, "2.0.0", "250 2.0.0 OK", 1.5, reported=True)
    slow = RecipientState("pending", 451, "4.7.1", "451 4.7.1 later", 1.5, warned=True)
    attempt = AttemptRecord(1.0, 0.5, "mx.example.org", "192.0.2.1", "TLSv1.3", "rcpt", 451, "4.7.1", "later", 2)
    assert await queue.finish([Finished(leased, (taken, slow), 60.0, slow.reply, attempt=attempt)])
    await jump(acme.db, clock, 61.0)
    again = await only(queue)
    assert (again.states, again.history, again.last_error) == ((taken, slow), (attempt,), slow.reply)
    # The failure is not reported yet: a worker gets the job at once, also after a crash.
    gone = RecipientState("failed", 550, "5.1.1", "550 5.1.1 no", 2.5, "address")
    assert await queue.finish([Finished(again, (taken, gone), 3600.0, gone.reply, attempt=attempt)])
    owing = await only(queue)
    assert owing.states == (taken, gone)
    assert await queue.finish([Finished(owing, (taken, replace(gone, reported=True)), error="no", counts=False)])
    (dead,) = await queue.of_transaction(acme.tenant, "t1")
    assert isinstance(dead, QueuedJob)
    assert (dead.status, dead.attempts, dead.history) == ("dead", 2, (attempt, attempt))
    assert await queue.retry(acme.tenant, [dead.job.id], DAY) == 1
    revived = await only(queue)
    assert revived.states == (taken, PENDING)
    assert await queue.finish([Finished(revived, (taken, taken), attempt=attempt)])
    (record,) = await queue.of_transaction(acme.tenant, "t1")
    assert isinstance(record, DeliveryRecord)
    assert (record.states, record.history) == ((taken, taken), (attempt,) * 3)
    assert await queue.of_transaction(acme.tenant, "") == []


async def test_the_first_signature_is_kept(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased = await only(acme.db.queue)
    assert await acme.db.queue.sending([Sending(leased, b"DKIM-Signature: x\r\n")]) == {leased.job.id}
    await defer(acme.db.queue, leased, 0.0)
    await jump(acme.db, clock, 1.0)
    again = await only(acme.db.queue)
    assert again.signed == b"DKIM-Signature: x\r\n"
    assert await acme.db.queue.sending([Sending(again)]) == {again.job.id}
    await defer(acme.db.queue, again, 0.0)
    await jump(acme.db, clock, 1.0)
    assert (await only(acme.db.queue)).signed == b"DKIM-Signature: x\r\n"


async def test_a_signature_is_kept_if_the_attempt_ended_before_the_dot(
    acme: Home, clock: FakeClock, job: Callable[..., Job]
) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased = await only(acme.db.queue)
    assert await acme.db.queue.finish([Finished(leased, leased.states, 0.0, "451 later", signed=b"DKIM: x\r\n")])
    await jump(acme.db, clock, 1.0)
    assert (await only(acme.db.queue)).signed == b"DKIM: x\r\n"


async def test_the_text_of_a_reply_is_bounded(acme: Home, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job()])
    leased, text = await only(acme.db.queue), "x" * 1_000_000
    state = RecipientState("failed", 550, "5.1.1", text, reported=True)
    attempt = AttemptRecord(1.0, 0.5, text=text)
    assert await acme.db.queue.finish([Finished(leased, (state,), error=text, attempt=attempt)])
    (dead,) = await acme.db.queue.jobs(acme.tenant)
    kept = (dead.states[0].reply, dead.last_error or "", dead.history[0].text)
    assert [len(one) for one in kept] == [MOST_TEXT] * 3


async def test_pending_jobs_are_counted_up_to_a_quota(acme: Home, job: Callable[..., Job]) -> None:
    await acme.db.queue.enqueue(acme.tenant, await stored(acme), [job() for _ in range(5)])
    await fail(acme.db.queue, (await acme.db.queue.lease("w", 1, 60.0))[0])
    assert await acme.db.queue.pending(acme.tenant, 10) == 4
    assert await acme.db.queue.pending(acme.tenant, 3) == 3


async def test_the_history_keeps_the_first_and_the_last_attempts(acme: Home, job: Callable[..., Job]) -> None:
    queue = acme.db.queue
    await queue.enqueue(acme.tenant, await stored(acme), [job()])
    for number in range(FIRST_ATTEMPTS + LAST_ATTEMPTS + 7):
        leased = await only(queue)
        ends = Finished(leased, leased.states, attempt=AttemptRecord(float(number), 0.1))
        assert await queue.finish([ends])
        await queue.retry(acme.tenant, [leased.job.id], DAY)
    (waiting,) = await queue.jobs(acme.tenant)
    assert [round(one.at) for one in waiting.history] == [*range(FIRST_ATTEMPTS), *range(12, 32)]


async def test_a_job_is_born_with_a_lease(acme: Home, clock: FakeClock, job: Callable[..., Job]) -> None:
    made, mail = job(), email(acme.tenant)
    lease = Lease("here", made.created_at, 60.0)
    await acme.db.writer.write(Indexed((IndexedMessage(mail, (), jobs=(made,), lease=lease),)))
    assert await acme.db.queue.lease("other", 10, 60.0) == []
    (leased,) = await acme.db.queue.jobs(acme.tenant)
    assert born(replace(made, not_before=made.created_at + 1), acme.tenant, mail.id, mail.blob_path, lease) is None
    known = born(made, acme.tenant, mail.id, mail.blob_path, lease)
    assert known is not None
    assert leased == replace(known, lease_until=leased.lease_until, size=leased.size)
    assert leased.lease_until == pytest.approx(made.created_at + 60.0, abs=10.0)
    # The process was killed: another one delivers it.
    await jump(acme.db, clock, 61.0)
    again = await only(acme.db.queue, "other")
    assert not await deliver(acme.db.queue, leased)
    assert await deliver(acme.db.queue, again)
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == set()


async def test_a_job_is_born_with_a_lease_by_the_databases_time(acme: Home, job: Callable[..., Job]) -> None:
    """The machine that accepts the message is a day ahead, or behind, of SurrealDB."""
    if isinstance(acme.db, SqliteDatabase):
        pytest.skip("SQLite's time is the machine's")
    for wrong in (-DAY, DAY):
        made, mail = job(), email(acme.tenant)
        lease = Lease("here", made.created_at + wrong, 60.0)
        await acme.db.writer.write(Indexed((IndexedMessage(mail, (), jobs=(made,), lease=lease),)))
        assert await acme.db.queue.lease("other", 10, 60.0) == []
        (leased,) = await acme.db.queue.jobs(acme.tenant)
        assert 50.0 < leased.lease_until - time.time() <= 60.0
        assert await deliver(acme.db.queue, leased)


async def test_a_job_that_its_worker_does_not_find_expired_is_not_due_at_once(
    acme: Home, now: Callable[[], float], job: Callable[..., Job]
) -> None:
    """The worker's clock is behind the database's: without a wait it would try again and again."""
    queue = acme.db.queue
    await queue.enqueue(acme.tenant, await stored(acme), [job(created_at=now() - 2 * DAY, expires_at=now() - DAY)])
    assert await defer(queue, await only(queue), 600.0)
    assert await queue.lease("w", 10, 60.0) == []
    (waiting,) = await queue.jobs(acme.tenant)
    assert waiting.next_attempt_at == pytest.approx(now() + 600.0, abs=10.0)


@pytest.mark.parametrize("moment", ["chosen", "read"])
async def test_a_tenant_that_is_disabled_while_its_jobs_are_claimed(
    acme: Home, other: Home, job: Callable[..., Job], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the choice of the jobs, or (SurrealDB) after their rows were read: none of its jobs is leased."""
    queue: Any = acme.db.queue
    for each in (acme, other):
        await queue.enqueue(each.tenant, await stored(each), [job()])
    place, name = (queue._gateway, "transaction") if moment == "read" else (queue, "_choose")
    if isinstance(acme.db, SqliteDatabase):
        if moment == "read":
            pytest.skip("SQLite reads and claims in one transaction")
        place, name = queue._gateway, "read"
    real = getattr(place, name)

    async def disables(*given: Any, **more: Any) -> Any:
        found = None if moment == "read" else await real(*given, **more)
        if found != []:
            monkeypatch.undo()
            await acme.db.hosting.set_active(Scope(acme.tenant), False)
        return await real(*given, **more) if moment == "read" else found

    monkeypatch.setattr(place, name, disables)
    assert [one.tenant for one in await queue.lease("w", 10, 60.0)] == [other.tenant]
    await acme.db.hosting.set_active(Scope(acme.tenant), True)
    assert [one.tenant for one in await queue.lease("w", 10, 60.0)] == [acme.tenant]


async def test_the_jobs_of_a_disabled_tenant_wait(acme: Home, other: Home, job: Callable[..., Job]) -> None:
    queue = acme.db.queue
    await queue.enqueue(acme.tenant, await stored(acme), [job()])
    await queue.enqueue(other.tenant, await stored(other), [job()])
    await acme.db.hosting.set_active(Scope(acme.tenant), False)
    assert [one.tenant for one in await queue.lease("w", 10, 60.0)] == [other.tenant]
    assert await queue.lease("w", 10, 60.0) == []
    await acme.db.hosting.set_active(Scope(acme.tenant), True)
    assert [one.tenant for one in await queue.lease("w", 10, 60.0)] == [acme.tenant]


async def test_a_filter_finds_matching_jobs(acme: Home, job: Callable[..., Job], now: Callable[[], float]) -> None:
    queue, tenant = acme.db.queue, acme.tenant
    old, held, failing = job(created_at=now() - DAY), job(sender="x@acme.test"), job(domain="down.test")
    await queue.enqueue(tenant, await stored(acme), [old, held, failing])
    await queue.hold(tenant, [held.id], "why not")
    (leased,) = [one for one in await queue.lease("w", 10, 60.0) if one.job == failing]
    await defer(queue, leased, 60.0, "451 4.7.1 Connection REFUSED")
    for wanted, found in (
        (JobFilter(created_before=now() - 3600), old), (JobFilter(sender="x@acme.test"), held),
        (JobFilter(held=True), held), (JobFilter(domain="down.test"), failing), (JobFilter(error="refused"), failing),
        (JobFilter(status="processing"), old), (JobFilter(held=False, error="refused"), failing),
    ):  # fmt: skip
        assert [one.job for one in await queue.jobs(tenant, wanted)] == [found]
