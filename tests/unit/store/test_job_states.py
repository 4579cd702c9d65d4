"""Next states of a job, and the attempts that it keeps."""

from __future__ import annotations

import pytest

from inbox.store.job_states import becomes, history_of, revived
from inbox.store.ports.queue import (
    FIRST_ATTEMPTS,
    LAST_ATTEMPTS,
    PENDING,
    AttemptRecord,
    Finished,
    Job,
    JobRecipient,
    QueuedJob,
    RecipientState,
)

TAKEN = RecipientState("delivered", 250, reported=True)
GONE = RecipientState("failed", 550)
REPORTED = RecipientState("failed", 550, reported=True)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((TAKEN, PENDING), "waiting"),
        ((GONE, PENDING), "waiting"),
        ((TAKEN, GONE), "due"),
        ((RecipientState("delivered", 250),), "due"),
        ((TAKEN, REPORTED), "dead"),
        ((TAKEN, TAKEN), "delivered"),
    ],
)
def test_the_next_state_of_a_job(states: tuple[RecipientState, ...], expected: str) -> None:
    assert becomes(states) == expected


def test_a_dead_job_is_tried_again_for_those_who_got_nothing() -> None:
    assert revived((TAKEN, REPORTED)) == (TAKEN, PENDING)


def test_the_first_and_the_last_attempts_are_kept() -> None:
    history: tuple[AttemptRecord, ...] = ()
    for number in range(100):
        job = QueuedJob(Job("j", "", (JobRecipient("b@x"),), "x", 0.0, 1.0), "t", "e", "p", (PENDING,), history=history)
        history = history_of(Finished(job, (PENDING,), attempt=AttemptRecord(float(number), 0.0)))
    assert [one.at for one in history] == [*range(FIRST_ATTEMPTS), *range(100 - LAST_ATTEMPTS, 100)]
    assert history_of(Finished(job, (PENDING,))) == job.history
