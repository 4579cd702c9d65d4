"""Port of late reports: what becomes known about a job of the queue after its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from inbox.store.ports.queue import AttemptRecord, Queue, RecipientState


class JobReports(Protocol):
    """Reports about jobs that were tried, or delivered."""

    async def amend(self, tenant: str, job: str, later: Mapping[int, RecipientState], record: AttemptRecord) -> bool:
        """Adds a report (a late bounce, a complaint) to the history of a job or of its delivery, and sets the states of
        recipients, by position, that are not pending. A report that is recorded already changes nothing. Returns False
        if the tenant has no such job.

        Raises:
            StoreUnavailable: a worker holds the job, and would overwrite the report.
        """
        ...


class ReportedQueue(Queue, JobReports, Protocol):
    """The queue, with the reports about its jobs."""
