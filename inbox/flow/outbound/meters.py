"""Metrics of the outbound queue's worker: attempts and their times, deliveries, waits. No label names a destination."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from inbox.base.metrics import Counter, Family, Histogram, gauge
from inbox.flow.outbound.breaker import Circuits
from inbox.flow.outbound.lines import Lines, Places
from inbox.store.ports.queue import Finished, RecipientState

#: Upper bounds in seconds of the time until delivery: from at once to a day.
DELIVERY_SECONDS: Final = (
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0
)  # fmt: skip
_RESULTS: Final = {"delivered": "delivered", "failed": "failed", "pending": "deferred"}


class OutboundMeters:
    """Counts for one process."""

    def __init__(self) -> None:
        self._attempts = Counter(
            "inbox_outbound_attempts_total",
            "Attempts to deliver a job: delivered, deferred or failed (for one recipient at least), or lost to another "
            "worker.",
            ("class", "result"),
        )
        self._recipients = Counter(
            "inbox_outbound_recipients_total",
            "Recipients of attempts, by their result; failed ones include those whose time has expired.",
            ("class", "result"),
        )
        self._put_off = Counter(
            "inbox_outbound_put_off_total", "Jobs that went back to the queue without an attempt.", ("reason",)
        )
        self._seconds = Histogram("inbox_outbound_attempt_seconds", "Time of an attempt.", ("class",))
        self._phases = Histogram(
            "inbox_outbound_phase_seconds",
            "Time of a part of an attempt: TCP connection, TLS handshake, reply to the final dot.",
            ("phase",),
        )
        self._delivery = Histogram(
            "inbox_outbound_delivery_seconds",
            "Time from acceptance (or release) until the last recipient of a job has the message.",
            ("class",),
            DELIVERY_SECONDS,
        )
        self._read: Callable[[], list[Family]] = list

    def watch(self, places: Places, lines: Lines, circuits: Circuits, monotonic: Callable[[], float]) -> None:
        """Also reports what a worker holds, and the circuits of its hosts, as they are when they are asked for."""

        def read() -> list[Family]:
            states = sorted(circuits.states(monotonic()).items())
            return [
                gauge("inbox_outbound_jobs", "Jobs that the worker holds.", [({}, places.taken)]),
                gauge("inbox_outbound_jobs_waiting", "Of these, jobs that wait for a connection.", [({}, len(lines))]),
                gauge(
                    "inbox_outbound_circuits",
                    "Sets of hosts that could not be reached several times in a row.",
                    [({"state": state}, count) for state, count in states],
                ),
            ]

        self._read = read

    def finished(self, finished: Finished, now: float) -> None:
        """The outcome of an attempt, or the end of a job, was recorded at ``now``."""
        job, before = finished.job.job, finished.job.states
        results = [_result(state) for state in finished.states]
        # Recipients who had their outcome before are not counted again: only their report was owed.
        changed = [result for result, known in zip(results, before, strict=True) if known.status == "pending"]
        if finished.attempt is not None:
            self._attempts.add(job.job_class, _worst(changed))
            self._seconds.observe(finished.attempt.seconds, job.job_class)
        for result in changed:
            self._recipients.add(job.job_class, result)
        if changed and all(result == "delivered" for result in results):
            self._delivery.observe(now - max(job.created_at, job.not_before), job.job_class)

    def lost(self, job_class: str) -> None:
        """The lease of a job was lost, so the outcome of its attempt is unknown or was not recorded."""
        self._attempts.add(job_class, "lost")

    def put_off(self, reason: str) -> None:
        """A job went back without an attempt."""
        self._put_off.add(reason)

    def phase(self, phase: str, seconds: float) -> None:
        """Adds the time of a part of an attempt."""
        self._phases.observe(seconds, phase)

    def families(self) -> list[Family]:
        """Returns all metrics, for ``GET /metrics``."""
        counters, histograms = (self._attempts, self._recipients, self._put_off), (self._seconds, self._phases)
        return [*(each.family() for each in (*counters, *histograms, self._delivery)), *self._read()]


def _result(state: RecipientState) -> str:
    return _RESULTS[state.status]


def _worst(results: list[str]) -> str:
    return next((each for each in ("failed", "deferred") if each in results), "delivered")
