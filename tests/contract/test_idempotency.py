"""The port ``IdempotencyKeys``, and the keys that are written with accepted messages."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import KeyTaken, NotFound
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import Database, IdempotencyKey, Scope
from inbox.store.ports.hosting import InUse
from inbox.store.ports.idempotency import REMEMBERED_SECONDS
from inbox.store.ports.ingest import Indexed, IndexedMessage
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.chaos import database_of
from tests.support.jobs import deliver, fail
from tests.support.store import IDS, Home, Opener, email, home, indexed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def now(db: Database, clock: FakeClock) -> Callable[[], float]:
    """The database's time."""
    return clock.now if isinstance(db, SqliteDatabase) else time.time


def key(of: Home, name: str = "k", **fields: Any) -> IdempotencyKey:
    given = {"fingerprint": "f1", "transaction": "T1", "created_at": 1000.0, **fields}
    return IdempotencyKey(of.tenant, name, **given)


def job(transaction: str, at: float) -> Job:
    to = (JobRecipient("bob@example.org"),)
    return Job(IDS.new(), "ann@acme.test", to, "example.org", at, at + 600.0, transaction=transaction)


def message(of: Home, *jobs: Job) -> IndexedMessage:
    return replace(indexed(email(of.tenant), of.inbox, recognise=False), jobs=tuple(jobs))


async def submit(of: Home, given: IdempotencyKey, *jobs: Job) -> None:
    await of.db.writer.write(Indexed((message(of, *jobs),), key=given))


async def test_a_key_is_written_with_its_message(acme: Home) -> None:
    await submit(acme, key(acme))

    assert await acme.db.idempotency_keys.get(acme.tenant, "k") == key(acme)
    assert await acme.db.idempotency_keys.get(acme.tenant, "other") is None
    assert len(await acme.uids()) == 1


async def test_nothing_is_written_under_a_key_that_is_taken(acme: Home) -> None:
    await submit(acme, key(acme), job("T1", 1000.0))

    with pytest.raises(KeyTaken):
        await submit(acme, key(acme, transaction="T2"), job("T2", 1000.0))

    assert await acme.db.idempotency_keys.get(acme.tenant, "k") == key(acme)
    assert len(await acme.uids()) == 1
    assert [one.job.transaction for one in await acme.db.queue.jobs(acme.tenant)] == ["T1"]


async def test_a_message_that_is_not_written_leaves_no_key(acme: Home) -> None:
    nowhere = indexed(email(acme.tenant), "no-such-mailbox", recognise=False)

    with pytest.raises(NotFound):
        await acme.db.writer.write(Indexed((nowhere,), key=key(acme)))

    assert await acme.db.idempotency_keys.get(acme.tenant, "k") is None
    await submit(acme, key(acme))


async def test_the_same_content_with_another_key_is_another_message(acme: Home) -> None:
    mail = email(acme.tenant)
    for number, name in enumerate(("a", "b")):
        sent = indexed(replace(mail, id=IDS.new()), acme.inbox, recognise=False)
        await acme.db.writer.write(Indexed((sent,), key=key(acme, name, transaction=f"T{number}")))

    assert len(await acme.uids()) == 2
    sent = indexed(replace(mail, id=IDS.new()), acme.inbox, recognise=False)
    with pytest.raises(KeyTaken):
        await acme.db.writer.write(Indexed((sent,), key=key(acme, "a")))
    assert len(await acme.uids()) == 2


async def test_keys_of_two_tenants_are_independent(acme: Home, other: Home) -> None:
    await submit(acme, key(acme))
    await submit(other, key(other, transaction="T2"))

    assert (await acme.db.idempotency_keys.get(other.tenant, "k")) == key(other, transaction="T2")
    assert await other.db.idempotency_keys.forget(other.tenant) == 1
    assert await acme.db.idempotency_keys.get(acme.tenant, "k") == key(acme)


async def test_of_concurrent_submissions_with_one_key_one_is_written(acme: Home, opener: Opener) -> None:
    second = replace(acme, db=await opener())
    everybody = [
        submit((acme, second)[number % 2], key(acme, transaction=f"T{number}"), job(f"T{number}", 1000.0))
        for number in range(12)
    ]

    outcomes = await asyncio.gather(*everybody, return_exceptions=True)

    assert outcomes.count(None) == 1
    assert {type(one) for one in outcomes if one is not None} == {KeyTaken}
    won = f"T{outcomes.index(None)}"
    kept = await acme.db.idempotency_keys.get(acme.tenant, "k")
    assert kept is not None
    assert kept.transaction == won
    assert [one.job.transaction for one in await acme.db.queue.jobs(acme.tenant)] == [won]
    assert len(await acme.uids()) == 1


async def test_a_taken_key_harms_no_other_message_of_the_batch(acme: Home, other: Home) -> None:
    await submit(acme, key(acme))
    everybody = [submit(acme, key(acme)), *(submit(other, key(other, f"o{number}")) for number in range(8))]

    outcomes = await asyncio.gather(*everybody, return_exceptions=True)

    assert isinstance(outcomes[0], KeyTaken)
    assert outcomes[1:] == [None] * 8
    assert len(await other.uids()) == 8


async def test_a_key_without_jobs_is_forgotten_after_a_day(acme: Home) -> None:
    await submit(acme, key(acme))

    assert await acme.db.idempotency_keys.prune(1000.0 + REMEMBERED_SECONDS - 1) == 0
    assert await acme.db.idempotency_keys.get(acme.tenant, "k") is not None
    assert await acme.db.idempotency_keys.prune(1000.0 + REMEMBERED_SECONDS) == 1
    assert await acme.db.idempotency_keys.get(acme.tenant, "k") is None
    await submit(acme, key(acme))


async def leased(of: Home) -> Sequence[Any]:
    return await of.db.queue.lease("w", 10, 60.0)


@pytest.mark.parametrize("end", [deliver, fail])
async def test_a_key_is_remembered_for_a_day_after_the_last_job_has_ended(
    acme: Home, now: Callable[[], float], end: Callable[..., Any]
) -> None:
    begun = now()
    await submit(acme, key(acme, created_at=begun), job("T1", begun), job("T1", begun))
    keys, much_later = acme.db.idempotency_keys, begun + 5 * REMEMBERED_SECONDS
    first, second = await leased(acme)
    assert await end(acme.db.queue, first)

    assert await keys.prune(much_later) == 0, "a job is in the queue"
    assert await end(acme.db.queue, second)

    # The sweep looks at a key that was in use again a day later.
    assert await keys.prune(much_later + 1) == 0
    assert await keys.get(acme.tenant, "k") is not None
    assert await keys.prune(much_later + REMEMBERED_SECONDS) == 1


async def test_a_job_that_died_lately_keeps_its_key(acme: Home, now: Callable[[], float]) -> None:
    begun = now() - REMEMBERED_SECONDS  # the message waited for a day
    await submit(acme, key(acme, created_at=begun), job("T1", now()))
    (only,) = await leased(acme)
    assert await fail(acme.db.queue, only)
    died = now()

    assert await acme.db.idempotency_keys.prune(died + REMEMBERED_SECONDS - 60) == 0
    assert await acme.db.idempotency_keys.prune(died + REMEMBERED_SECONDS + 60) == 1


async def test_the_sweep_passes_many_keys_in_batches(acme: Home, now: Callable[[], float]) -> None:
    begun = now()
    for number in range(0, 450, 50):
        await asyncio.gather(*(submit(acme, key(acme, f"k{number + one}")) for one in range(50)))
    await submit(acme, key(acme, "busy", created_at=begun, transaction="busy"), job("busy", begun))

    assert await acme.db.idempotency_keys.prune(begun + 3 * REMEMBERED_SECONDS) == 450
    assert await acme.db.idempotency_keys.get(acme.tenant, "busy") is not None


async def test_a_removed_tenant_must_have_no_keys(acme: Home) -> None:
    temporary = await home(acme.db, "temp")
    await submit(temporary, key(temporary))
    await acme.db.hosting.set_active(Scope(temporary.tenant), False)
    await acme.db.messages.remove(temporary.tenant, temporary.inbox, await temporary.uids())
    await acme.db.hosting.end_account(temporary.tenant, temporary.account.address)
    await acme.db.hosting.end_domain(temporary.tenant, temporary.domain)

    with pytest.raises(InUse, match="idempotency keys"):
        await acme.db.hosting.end_tenant(temporary.tenant)

    assert await acme.db.idempotency_keys.forget(temporary.tenant) == 1
    await acme.db.hosting.end_tenant(temporary.tenant)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("surreal", marks=pytest.mark.real)])
@pytest.mark.timeout(60)
async def test_kill_9_between_the_commit_and_the_answer(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A client that got no answer submits everything again: each message is there once."""
    where = str(tmp_path / "inbox.db")
    if kind == "surreal":
        where = f"{request.getfixturevalue('surreal_server').url} kills {IDS.new()}"
    database = database_of(kind, where)
    await database.open()
    try:
        acme = await home(database)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.key_writer", kind, where, acme.tenant, acme.inbox,
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        answered = [await child.stdout.readline() for _ in range(20)]
        child.kill()
        answered += (await child.communicate())[0].splitlines()
        assert all(answered), "it failed by itself"

        again = len(answered) + 50
        outcomes = [await _again(acme, number) for number in range(again)]

        assert all(one is KeyTaken for one in outcomes[: len(answered)]), "an answered message is known"
        assert len(await acme.uids()) == again
        assert len(await database.queue.jobs(acme.tenant, limit=500)) == again
    finally:
        await database.close()


async def _again(of: Home, number: int) -> type[KeyTaken] | None:
    try:
        await submit(of, key(of, f"k{number}", transaction=f"again{number}"), job(f"again{number}", time.time()))
    except KeyTaken:
        return KeyTaken
    return None
