"""Counters of the outbound queue in SurrealDB, and the shards in which transactions count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import Conflict
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.surreal.database import SurrealDatabase
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.job_counts import SHARDS, Shards, alive, count, count_values, prune
from tests.support.databases import maker
from tests.support.store import IDS, Home, home
from tests.support.surreal_server import surreal_server  # noqa: F401 - a fixture


def row(domain: str = "x.test", status: str = "queued", **more: object) -> dict[str, object]:
    return {"org_id": "acme", "domain": domain, "class": "bulk", "status": status, **more}


def test_groups_that_change_by_the_same_numbers_share_a_statement() -> None:
    before = [row("a.test"), row("b.test"), row("c.test", "processing"), row("same.test")]
    after = [row("a.test", "processing"), row("b.test", "processing"), row("same.test", signed=b"x")]
    values = count_values(before, after, 3)
    assert [([one.key for one in each["ids"]], each["queued"], each["processing"]) for each in values["counted"]] == [
        ([("acme", "a.test", "bulk", 3), ("acme", "b.test", "bulk", 3)], -1, 1),
        ([("acme", "c.test", "bulk", 3)], 0, -1),
    ]
    assert [(each["ids"][0].key, each["jobs"]) for each in values["alive"]] == [(("acme", 3), -1)]


def test_a_held_job_counts_once_and_a_dead_one_is_not_held() -> None:
    (made,) = count_values((), [row(status="processing", hold_reason="x"), row(status="dead", hold_reason="x")], 0)[
        "counted"
    ]
    assert {name: made[name] for name in ("queued", "processing", "held", "dead")} == {
        "queued": 0, "processing": 0, "held": 1, "dead": 1,
    }  # fmt: skip


def test_transactions_that_run_at_once_use_different_shards() -> None:
    shards = Shards()
    with shards.taken() as first:
        with shards.taken() as second:
            assert first != second
        with shards.taken() as third:
            assert third == second, "a process uses few shards"
    with shards.taken() as again:
        assert again == first
    with ExitStack() as stack:
        assert {stack.enter_context(shards.taken()) for _ in range(SHARDS)} == set(range(SHARDS))
        assert 0 <= stack.enter_context(shards.taken()) < SHARDS, "any one if all are used"
    with ExitStack() as stack:
        assert {stack.enter_context(shards.taken()) for _ in range(SHARDS)} == set(range(SHARDS))


def test_a_shard_that_conflicted_is_put_aside() -> None:
    shards, used = Shards(), set()
    for _ in range(SHARDS):
        with pytest.raises(Conflict), shards.taken() as shard:
            used.add(shard)
            raise Conflict
    assert used == set(range(SHARDS))


@pytest.fixture
async def acme(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    database = maker("surreal", request, tmp_path, FakeClock())()
    await database.open()
    yield await home(database)
    await database.close()


def gateway_of(acme: Home) -> Gateway:
    assert isinstance(acme.db, SurrealDatabase)
    return acme.db._gateway


async def add(acme: Home, domain: str, number: int = 1) -> list[str]:
    now = time.time()
    jobs = [
        Job(IDS.new(), "ann@acme.test", (JobRecipient(f"bob@{domain}"),), domain, now, now + 1000)
        for _ in range(number)
    ]
    await acme.db.queue.enqueue(acme.tenant, (await acme.deliver()).email, jobs)
    return [job.id for job in jobs]


@pytest.mark.real
async def test_counters_that_are_zero_are_removed(acme: Home) -> None:
    gateway = gateway_of(acme)
    jobs = await add(acme, "gone.test", 3)
    await add(acme, "stays.test")
    assert await acme.db.queue.remove(acme.tenant, jobs) == 3
    await prune(gateway)
    (left,) = await gateway.query("SELECT VALUE record::id(id)[1] FROM outbound_count")
    assert left == ["stays.test"]
    assert await alive(gateway, acme.tenant) == 1
    assert [one.domain for one in await count(gateway, None)] == ["stays.test"]
    await acme.db.queue.remove(acme.tenant, [one.job.id for one in await acme.db.queue.jobs(acme.tenant)])
    await prune(gateway)
    assert await gateway.query("SELECT * FROM outbound_count; SELECT * FROM outbound_alive") == [[], []]


@pytest.mark.real
async def test_counters_of_concurrent_changes_are_exact(acme: Home) -> None:
    """Pruning beside them removes no counter that changes."""
    gateway = gateway_of(acme)

    async def work() -> None:
        for _ in range(5):
            jobs = await add(acme, "x.test", 4)
            await acme.db.queue.remove(acme.tenant, jobs[:3])
            await prune(gateway)

    await asyncio.gather(*(work() for _ in range(8)))
    (counted,) = await count(gateway, acme.tenant)
    assert (counted.queued, await alive(gateway, acme.tenant)) == (40, 40)


@pytest.mark.real
async def test_the_migration_counts_what_is_in_the_queue(acme: Home) -> None:
    """Also if it runs twice."""
    gateway = gateway_of(acme)
    jobs = await add(acme, "x.test", 5)
    await acme.db.queue.hold(acme.tenant, jobs[:1], "spam")
    assert len(await acme.db.queue.lease("w", 1, 60.0)) == 1
    before: Any = await count(gateway, None)
    assert (before[0].queued, before[0].processing, before[0].held, before[0].dead) == (3, 1, 1, 0)
    script = next(gateway._migrations.glob("0022.surql")).read_text()
    await gateway.query("UPDATE outbound_queue SET alive_since = NONE; DELETE outbound_count; DELETE outbound_alive")
    for _ in range(2):
        await gateway.query(script)
        assert await count(gateway, None) == before
        assert await alive(gateway, acme.tenant) == 5
