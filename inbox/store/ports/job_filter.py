"""Conditions by which jobs of the outbound queue are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

JobStatus = Literal["queued", "processing", "dead"]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Conditions for jobs; None matches every job.

    Attributes:
        created_before: seconds since the epoch.
        error: a part of ``last_error``, in any case.
    """

    domain: str | None = None
    sender: str | None = None
    status: JobStatus | None = None
    held: bool | None = None
    created_before: float | None = None
    error: str | None = None


ALL: Final = JobFilter()
