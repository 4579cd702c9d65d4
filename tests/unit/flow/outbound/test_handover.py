"""New jobs go to the worker of the process that accepted their message, unless it is busy."""

from __future__ import annotations

from msgspec.structs import replace

from inbox.flow.outbound.handover import MOST_OCTETS, Handover
from inbox.mail.content import Content, MemoryContent
from inbox.store.ports.ingest import AcceptedMessage
from inbox.store.ports.queue import Job, JobRecipient, Lease, QueuedJob

LEASE = Lease("w", 100.0, 60.0)
JOB = Job("j1", "ann@acme.test", (JobRecipient("bob@example.org"),), "example.org", 100.0, 200.0)
MESSAGE = AcceptedMessage("m1", "t1", MemoryContent(b"Subject: x\r\n\r\n"), (), 100.0, 100.0, jobs=(JOB,))


class Worker:
    def __init__(self, lease: Lease | None = LEASE) -> None:
        self.lease = lease
        self.taken: list[tuple[QueuedJob, Content | None]] = []

    def spare_lease(self, jobs: int) -> Lease | None:
        assert jobs <= 1
        return self.lease

    def take(self, queued: QueuedJob, content: Content | None = None) -> None:
        self.taken.append((queued, content))


def attached(worker: Worker) -> Handover:
    handover = Handover()
    handover.attach(worker)
    return handover


def test_the_worker_gets_the_job_with_its_message() -> None:
    worker = Worker()
    handover = attached(worker)
    leased = handover.leased(MESSAGE)
    assert leased == replace(MESSAGE, lease=LEASE)
    handover.take((leased,))
    ((queued, content),) = worker.taken
    assert content is MESSAGE.content
    assert (queued.job, queued.status, queued.lease_owner, queued.fence) == (JOB, "processing", "w", 1)


def test_a_busy_worker_gets_nothing() -> None:
    worker = Worker(None)
    handover = attached(worker)
    assert handover.leased(MESSAGE) is MESSAGE
    handover.take((MESSAGE,))
    assert worker.taken == []


def test_large_messages_and_those_without_jobs_are_left_alone() -> None:
    handover = attached(Worker())
    for message in (
        replace(MESSAGE, jobs=()),
        replace(MESSAGE, content=MemoryContent(bytes(MOST_OCTETS + 1))),
    ):
        assert handover.leased(message) is message


def test_a_job_of_a_later_time_waits_in_the_queue() -> None:
    worker = Worker()
    handover = attached(worker)
    later = Job("j2", "", (JobRecipient("bob@example.org"),), "example.org", 100.0, 900.0, not_before=500.0)
    handover.take((handover.leased(replace(MESSAGE, jobs=(later,))),))
    assert worker.taken == []


def test_a_process_without_a_worker_only_queues() -> None:
    handover = Handover()
    assert handover.leased(MESSAGE) is MESSAGE
    handover.take((MESSAGE,))
    handover = attached(worker := Worker())
    leased = handover.leased(MESSAGE)
    handover.attach(None)  # it stops between the commit and this moment: the lease ends by itself
    handover.take((leased,))
    assert worker.taken == []
