from __future__ import annotations

from dataclasses import replace

from inbox.cli.queue_jobs import Names, lines, reply_text, status
from inbox.store.ports.queue import FIRST_ATTEMPTS, LAST_ATTEMPTS, PENDING, AttemptRecord, Job, JobRecipient, QueuedJob

JOB = QueuedJob(
    Job("j1", "", (JobRecipient("bob@x.test"),), "x.test", 0.0, 60.0), "t1", "e1", "msg/e1", (PENDING,)
)  # fmt: skip


def test_a_dead_job_is_dead_even_if_it_was_held() -> None:
    assert status(replace(JOB, hold_reason="why")) == "held"
    assert status(replace(JOB, hold_reason="why", status="dead")) == "dead"


def test_attempts_that_are_not_kept_are_counted() -> None:
    kept = tuple(AttemptRecord(float(n), 0.1) for n in range(FIRST_ATTEMPTS + LAST_ATTEMPTS))
    shown = list(lines(replace(JOB, history=kept, attempts=100), Names({"t1": "acme"})))
    assert shown[0] == "job acme/j1 to x.test: queued"
    (gap,) = [number for number, line in enumerate(shown) if "75 more, which are not kept" in line]
    assert sum("attempt   " in line for line in shown[:gap]) == FIRST_ATTEMPTS
    assert not any("not kept" in line for line in lines(replace(JOB, history=kept, attempts=25), Names()))


def test_late_reports_are_no_attempts() -> None:
    text = "failed <bob@x.test>: 550 5.1.1 no such user"
    report = AttemptRecord(5.0, 0.0, "mx.x.test", stage="report", code=550, enhanced="5.1.1", text=text)
    vague = replace(report, host="", enhanced="5.0.0")
    complaint = AttemptRecord(6.0, 0.0, stage="complaint", text="abuse Generator/1.0")
    shown = list(lines(replace(JOB, history=(report, vague, complaint)), Names()))
    assert not any("attempt " in line for line in shown)
    assert f"  bounce      1970-01-01T00:00:05Z from mx.x.test: {text}" in shown
    assert f"  bounce      1970-01-01T00:00:05Z: {text} (5.0.0)" in shown
    assert "  complaint   1970-01-01T00:00:06Z: abuse Generator/1.0" in shown


def test_a_job_in_doubt_and_one_in_progress_say_so() -> None:
    shown = "\n".join(lines(replace(JOB, status="processing", lease_owner="w1", dot_sent_at=5.0), Names()))
    assert "in progress by w1" in shown
    assert "was sent at 1970-01-01T00:00:05Z, the reply is unknown" in shown


def test_a_reply_repeats_no_code() -> None:
    assert reply_text(550, "5.1.1", "no") == "550 5.1.1 no"
    assert reply_text(550, "5.1.1", "550 5.1.1 no") == "550 5.1.1 no"
    assert reply_text(0, "", "") == "none"
