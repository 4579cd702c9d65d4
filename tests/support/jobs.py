"""Ends of leases for tests: all recipients of a job have the same result."""

from __future__ import annotations

from inbox.store.ports.queue import Finished, Queue, QueuedJob, RecipientState, RecipientStatus


def ended(
    job: QueuedJob,
    status: RecipientStatus,
    reply: str,
    *,
    delay: float = 0.0,
    counts: bool = True,
    reported: bool = True,
) -> Finished:
    """The end of a lease after this reply, such as ``550 5.1.1 no such user``."""
    code = reply.partition(" ")[0]
    number = int(code) if code.isdigit() else 0
    state = RecipientState(status, number, "", reply, reported=reported and status != "pending")
    return Finished(job, (state,) * len(job.states), delay, "" if status == "delivered" else reply, counts)


async def deliver(queue: Queue, job: QueuedJob, reply: str = "250 OK") -> bool:
    """Delivers a job; False if its lease was lost."""
    return await queue.finish([ended(job, "delivered", reply)]) == {job.job.id}


async def fail(queue: Queue, job: QueuedJob, reply: str = "550 no") -> bool:
    return await queue.finish([ended(job, "failed", reply)]) == {job.job.id}


async def defer(queue: Queue, job: QueuedJob, delay: float, reply: str = "451 later", *, counts: bool = True) -> bool:
    return await queue.finish([ended(job, "pending", reply, delay=delay, counts=counts)]) == {job.job.id}
