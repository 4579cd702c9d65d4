"""Records of a queue worker about its leases, as the worker process writes them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.ingest import Accepted, AcceptedMessage
from inbox.store.ports.queue import Finished, Job, JobRecipient, QueuedJob, RecipientState, Sending
from inbox.store.sqlite.commit import Committer
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.outcomes import Outcomes, dots, ends, write_outcomes
from inbox.store.worker.batch import BatchWriter
from inbox.store.worker.protocol import (
    Connect,
    HeldResponse,
    IngestRequest,
    PlacedResponse,
    RecordRequest,
    decode_request,
    encode,
)
from inbox.store.worker.starting import OwnWorker
from tests.support.store import IDS, Home, email, home

DONE = RecipientState("delivered", 250, "2.0.0", "OK", 5.0, reported=True)
LATER = RecipientState("pending", 451, "4.7.1", "later", 5.0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def database(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "inbox.db", clock, IDS)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def acme(database: SqliteDatabase) -> Home:
    return await home(database)


async def leased(acme: Home, clock: FakeClock, count: int = 1) -> list[QueuedJob]:
    """Jobs of a message, which a worker holds."""
    placed = await acme.deliver(mail=email(acme.tenant))
    jobs = [
        Job(IDS.new(), "ann@acme.test", (JobRecipient("bob@far.test"),), "far.test", clock.now(), clock.now() + 1000)
        for _ in range(count)
    ]
    await acme.db.queue.enqueue(acme.tenant, placed.email, jobs)
    return await acme.db.queue.lease("w", count, 60.0)


def sent(outcomes: Outcomes) -> RecordRequest:
    """The request as the other process gets it."""
    request = decode_request(encode(RecordRequest(outcomes)))
    assert isinstance(request, RecordRequest)
    return request


async def test_outcomes_and_new_messages_share_a_commit(
    database: SqliteDatabase, acme: Home, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = await leased(acme, clock, 3)
    (tmp_path / "blobs" / ".unfinished").mkdir(parents=True)
    message = AcceptedMessage(IDS.new(), acme.tenant, MemoryContent(b"Subject: x\r\n\r\n"), (), 1.0, 2.0)
    commits: list[int] = []
    commit = Committer.commit

    def counted(self: Committer, batch: Sequence[Any]) -> None:
        commits.append(len(batch))
        commit(self, batch)

    monkeypatch.setattr(Committer, "commit", counted)
    writer = BatchWriter(Connect(str(database._main.path), database._main.identity, str(tmp_path / "blobs")))
    placed, recorded, ended = writer.write(
        [
            IngestRequest(Accepted((message,))),
            sent(dots([Sending(first, b"DKIM-Signature: x\r\n"), Sending(replace(third, fence=9))], 7.0)),
            sent(ends([Finished(second, (DONE,)), Finished(third, (LATER,), 60.0, "451 later")], 8.0)),
        ]
    )
    writer.close()
    assert commits == [3]
    assert isinstance(placed, PlacedResponse)
    assert recorded == HeldResponse([first.job.id]), "the other one's lease is another's"
    assert ended == HeldResponse([second.job.id, third.job.id])
    found = await database.queue.get(acme.tenant, first.job.id)
    assert found is not None
    assert (found.dot_sent_at, found.signed) == (7.0, b"DKIM-Signature: x\r\n")
    delivered = await database.queue.delivery(acme.tenant, second.job.id)
    assert delivered is not None
    assert (delivered.delivered_at, delivered.states, delivered.recipients) == (8.0, (DONE,), second.job.recipients)
    waits = await database.queue.get(acme.tenant, third.job.id)
    assert waits is not None
    assert (waits.status, waits.next_attempt_at, waits.last_error, waits.states) == (
        "queued", 68.0, "451 later", (LATER,),
    )  # fmt: skip


async def test_a_job_that_another_worker_holds_is_left_alone(
    database: SqliteDatabase, acme: Home, clock: FakeClock
) -> None:
    (job,) = await leased(acme, clock)
    writer = BatchWriter(Connect(str(database._main.path), database._main.identity))
    stale = replace(job, fence=job.fence - 1)
    answers = writer.write(
        [sent(dots([Sending(stale)], 7.0)), *(sent(ends([Finished(stale, (s,))], 8.0)) for s in (DONE, LATER))]
    )
    writer.close()
    assert answers == [HeldResponse([])] * 3
    assert await database.queue.get(acme.tenant, job.job.id) == job


@pytest.mark.real
async def test_a_server_leaves_outcomes_to_its_writing_process(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers of one file wait for each other, and each reads again what the other has changed."""
    database = SqliteDatabase(tmp_path / "inbox.db", clock, IDS, worker=OwnWorker())
    await database.open()
    try:
        acme = await home(database)
        first, second = await leased(acme, clock, 2)

        def refuse(self: Gateway, *_args: object, **_named: object) -> None:
            raise AssertionError("the server writes itself")

        with monkeypatch.context() as patched:
            patched.setattr(Gateway, "submit", refuse)
            assert await database.queue.sending([Sending(first), Sending(second)]) == {first.job.id, second.job.id}
            assert await database.queue.finish([Finished(first, (DONE,))]) == {first.job.id}
        odd = replace(LATER, reply="\ud800")
        assert await database.queue.finish([Finished(second, (odd,), 60.0, "a\ud800b")]) == {second.job.id}
        found = await database.queue.get(acme.tenant, second.job.id)
        assert found is not None
        assert (found.last_error, found.states[0].reply) == ("a?b", "?")
    finally:
        await database.close()


async def test_the_statements_of_a_batch_are_counted(acme: Home, clock: FakeClock, database: SqliteDatabase) -> None:
    """One for each dot, two for each delivered job, and one for all messages that nothing refers to any more."""
    jobs = await leased(acme, clock, 10)
    statements: list[str] = []

    def work(db: sqlite3.Connection) -> list[int]:
        counts = []
        for outcomes in (
            dots([Sending(job) for job in jobs], 7.0),
            ends([Finished(job, (DONE,)) for job in jobs], 8.0),
        ):
            statements.clear()
            db.set_trace_callback(statements.append)
            write_outcomes(db, outcomes)
            db.set_trace_callback(None)
            # A comment names a trigger that runs.
            counts.append(sum(not each.startswith("--") for each in statements))
        return counts

    assert await database._main.write(work) == [10, 21]
