"""Rules about the states of jobs that both databases share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from inbox.store.ports.queue import (
    FIRST_ATTEMPTS,
    LAST_ATTEMPTS,
    PENDING,
    AttemptRecord,
    Finished,
    Job,
    Lease,
    QueuedJob,
    RecipientState,
)


def born(job: Job, tenant: str, email: str, blob_path: str, lease: Lease) -> QueuedJob | None:
    """The job as ``Queue.lease`` would return it, for a new job that was stored with ``lease``; None if the job is
    not due yet, because then it is stored without a lease.

    Its size is not known: the message is at hand, and its blob is not read.

    If the database had the message already, ``email`` and ``blob_path`` name the new one, which has the same content.
    """
    if job.not_before > job.created_at:
        return None
    return QueuedJob(
        job, tenant, email, blob_path, (PENDING,) * len(job.recipients), "processing", 1, job.created_at,
        lease_owner=lease.owner, lease_until=lease.until, fence=1,
    )  # fmt: skip


Becomes = Literal["waiting", "due", "dead", "delivered"]


def becomes(states: Sequence[RecipientState]) -> Becomes:
    """Returns what a finished job becomes."""
    if any(one.status == "pending" for one in states):
        return "waiting"
    if not all(one.reported for one in states):
        return "due"
    return "dead" if any(one.status == "failed" for one in states) else "delivered"


def revived(states: Sequence[RecipientState]) -> tuple[RecipientState, ...]:
    """Returns the states of a dead job that is tried again: failed recipients are pending."""
    return tuple(PENDING if one.status == "failed" else one for one in states)


def history_of(finished: Finished) -> tuple[AttemptRecord, ...]:
    """Returns the history of a finished job with its attempt added."""
    known = finished.job.history
    return known if finished.attempt is None else _with(known, finished.attempt)


def _with(known: tuple[AttemptRecord, ...], record: AttemptRecord) -> tuple[AttemptRecord, ...]:
    first, rest = known[:FIRST_ATTEMPTS], known[FIRST_ATTEMPTS:]
    if len(first) < FIRST_ATTEMPTS:
        return (*first, record)
    return (*first, *rest[-(LAST_ATTEMPTS - 1) :], record)


def amended(
    states: tuple[RecipientState, ...],
    history: tuple[AttemptRecord, ...],
    later: Mapping[int, RecipientState],
    record: AttemptRecord,
) -> tuple[tuple[RecipientState, ...], tuple[AttemptRecord, ...]] | None:
    """Returns states and history after a late report (``JobReports.amend``); None if it is recorded already."""
    if any(replace(one, at=record.at) == record for one in history):
        return None
    after = list(states)
    for index, state in later.items():
        if 0 <= index < len(after) and after[index].status != "pending":
            after[index] = state
    return tuple(after), _with(history, record)
