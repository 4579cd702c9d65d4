"""``JobReports.amend``: reports that come after the attempts of a job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.store.ports import Database
from inbox.store.ports.job_reports import JobReports
from inbox.store.ports.queue import (
    FIRST_ATTEMPTS,
    LAST_ATTEMPTS,
    AttemptRecord,
    DeliveryRecord,
    Finished,
    Job,
    JobRecipient,
    QueuedJob,
    RecipientState,
)
from tests.support.invariants import broken
from tests.support.jobs import deliver
from tests.support.store import IDS, Home

GONE = RecipientState("failed", 550, "5.1.1", "no such user", 5.0, "address", reported=True)
OK = RecipientState("delivered", 250, "2.0.0", "ok", 4.0, reported=True)
REPORT = AttemptRecord(5.0, 0.0, "mx.far.test", stage="report", code=550, enhanced="5.1.1", text="no such user")
TO = (JobRecipient("bob@far.test"), JobRecipient("eve@far.test"))


@pytest.fixture(autouse=True)
async def whole(db: Database) -> AsyncIterator[None]:
    yield
    assert await broken(db) == []


async def leased(home: Home) -> QueuedJob:
    email = (await home.deliver()).email
    job = Job(IDS.new(), "ann@acme.test", TO, "far.test", 1.0, 9e9)
    await home.db.queue.enqueue(home.tenant, email, [job])
    (found,) = await home.db.queue.lease("w", 10, 60.0)
    return found


async def record(home: Home, job: QueuedJob) -> DeliveryRecord:
    found = await home.db.queue.delivery(home.tenant, job.job.id)
    assert found is not None
    return found


async def test_a_late_bounce_changes_the_record_of_a_delivery_once(acme: Home) -> None:
    job = await leased(acme)
    assert await deliver(acme.db.queue, job)
    for at in (5.0, 9.0):
        report = replace(REPORT, at=at)
        assert await acme.db.queue.amend(acme.tenant, job.job.id, {1: GONE}, report)
    found = await record(acme, job)
    assert (found.states[0].status, found.states[1]) == ("delivered", GONE)
    assert found.history == (REPORT,)
    assert found.recipients == TO


async def test_a_job_in_the_queue_keeps_the_report_and_its_pending_recipients(acme: Home) -> None:
    job = await leased(acme)
    with pytest.raises(StoreUnavailable, match="being delivered"):
        await acme.db.queue.amend(acme.tenant, job.job.id, {0: GONE}, REPORT)
    later = RecipientState("pending", 451, "4.7.1", "later", 3.0)
    assert await acme.db.queue.finish([Finished(job, (OK, later), 60.0, "later")])
    assert await acme.db.queue.amend(acme.tenant, job.job.id, {0: GONE, 1: GONE, 7: GONE}, REPORT)
    found = await acme.db.queue.get(acme.tenant, job.job.id)
    assert found is not None
    assert (found.states, found.history, found.status) == ((GONE, later), (REPORT,), "queued")


async def test_the_history_is_bounded(acme: Home) -> None:
    job = await leased(acme)
    assert await deliver(acme.db.queue, job)
    for number in range(FIRST_ATTEMPTS + LAST_ATTEMPTS + 3):
        assert await acme.db.queue.amend(acme.tenant, job.job.id, {}, replace(REPORT, text=str(number)))
    found = await record(acme, job)
    assert len(found.history) == FIRST_ATTEMPTS + LAST_ATTEMPTS
    assert [one.text for one in found.history[:2]] == ["0", "1"]
    assert found.history[-1].text == str(FIRST_ATTEMPTS + LAST_ATTEMPTS + 2)


async def test_a_job_that_is_gone_is_not_amended(acme: Home) -> None:
    reports: JobReports = acme.db.queue
    assert not await reports.amend(acme.tenant, "nothing", {0: GONE}, REPORT)
