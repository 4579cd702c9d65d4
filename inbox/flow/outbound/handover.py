"""Hand new jobs to the worker of the process that accepts their message, so that it delivers them at once.

Such a job is stored with a lease of that worker, which saves the claim and the reading of the message. While the worker
is busy, jobs are stored without a lease: then tenants and domains take turns, and no flood at one process precedes the
jobs that wait in the database.
"""

from __future__ import annotations

from typing import Final, Protocol

from msgspec.structs import replace

from inbox.mail.content import Content
from inbox.store.job_states import born
from inbox.store.ports.ingest import AcceptedMessage
from inbox.store.ports.queue import Lease, QueuedJob

#: The maximum size of a message, in octets, that is kept in memory for its delivery.
MOST_OCTETS: Final = 64 * 1024


class HandoverWorker(Protocol):
    """The worker of this process."""

    def spare_lease(self, jobs: int) -> Lease | None:
        """A lease for this number of new jobs; None while the worker is busy, or stops."""
        ...

    def take(self, queued: QueuedJob, content: Content | None = None) -> None: ...


class Handover:
    """The link between acceptance and the worker, if this process has one."""

    def __init__(self) -> None:
        self._worker: HandoverWorker | None = None

    def attach(self, worker: HandoverWorker | None) -> None:
        """Sets the worker of this process."""
        self._worker = worker

    def leased(self, message: AcceptedMessage) -> AcceptedMessage:
        """The message with a lease for its jobs, if the worker is to take them."""
        if not message.jobs or self._worker is None or message.content.size > MOST_OCTETS:
            return message
        lease = self._worker.spare_lease(len(message.jobs))
        return message if lease is None else replace(message, lease=lease)

    def take(self, messages: tuple[AcceptedMessage, ...]) -> None:
        """Passes on the jobs with leases; they are durable. Without a worker their leases expire."""
        for message in messages:
            if message.lease is None or self._worker is None:
                continue
            for job in message.jobs:
                queued = born(job, message.tenant, message.id, message.blob_path, message.lease)
                if queued is not None:
                    self._worker.take(queued, message.content)
