"""Port of the outbound queue: jobs, and how workers lease and finish them.

A job delivers one stored message to the recipients in one domain, and keeps a state for each of them. It refers to its
message as a mailbox entry does: the message and its blob stay for as long as anything refers to them. A worker leases
jobs for some seconds, renews the lease while it works, and finishes them. Each lease has a new fence; every write of a
worker names owner and fence, so a worker that was suspended beyond its lease can no longer change anything.

Times are compared with the database's clock: the machine's with SQLite, the server's with SurrealDB.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

from inbox.store.ports.hosting import Scope
from inbox.store.ports.job_filter import ALL, JobFilter, JobStatus

Item = TypeVar("Item")

JobClass = Literal["transactional", "bulk", "dsn", "report"]
#: A domain and a class.
Lane = tuple[str, JobClass]
RecipientStatus = Literal["pending", "delivered", "failed"]
#: NOTIFY of RFC 3461 §4.1, RET of §4.3, BODY of RFC 6152 and RFC 3030.
Notify = Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]
Ret = Literal["FULL", "HDRS"]
Body = Literal["7BIT", "8BITMIME", "BINARYMIME"]

#: The longest lease, in seconds. A lease that ends later than this was made by a clock that was set back since.
LONGEST_LEASE: Final = 3600.0
#: The maximum number of jobs that one call leases, adds or changes, and of characters of a stored reply or error.
MOST_JOBS: Final = 1000
MOST_TEXT: Final = 1000
#: Records of attempts that a job keeps: the first ones show how it began, the last ones how it goes.
FIRST_ATTEMPTS: Final = 5
LAST_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class JobRecipient:
    """One recipient of a job.

    Attributes:
        address: the forward-path.
        notify, orcpt: its DSN parameters (RFC 3461 §4.1, §4.2) as the client sent them; empty and None if it did not.
    """

    address: str
    notify: tuple[Notify, ...] = ()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class RecipientState:
    """The state of delivery to one recipient.

    Attributes:
        code, enhanced, reply: the last reply for this recipient; code 0 if no host replied.
        at: when it was received.
        category: the class of a failure, as the ``bounce`` hooks found it.
        warned: the sender was notified of the delay.
        reported: the sender was notified of the final status, or no notification is owed.
    """

    status: RecipientStatus = "pending"
    code: int = 0
    enhanced: str = ""
    reply: str = ""
    at: float = 0.0
    category: str | None = None
    warned: bool = False
    reported: bool = False


#: The state of a recipient for whom nothing was tried.
PENDING: Final = RecipientState()


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a job, for ``inbox explain`` and ``inbox queue show``.

    Attributes:
        at: when it began; ``seconds``: how long it took.
        host, address: the last host that was tried; empty if none was found.
        tls: the version and cipher; empty without TLS.
        stage, code, enhanced, text: the reply that decided it, and the command to which it was the reply.
            ``report`` and ``complaint``: no attempt, but a notification or a feedback report that came in later.
        recipients: how many recipients were tried.
    """

    at: float
    seconds: float
    host: str = ""
    address: str = ""
    tls: str = ""
    stage: str = ""
    code: int = 0
    enhanced: str = ""
    text: str = ""
    recipients: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """A delivery as it is put into the queue; times are seconds since the epoch.

    Attributes:
        sender: the reverse-path without its brackets; empty for the null reverse-path (RFC 5321 §4.5.5).
        recipients: at least one.
        domain: the next hop by which jobs are scheduled: the recipients' domain, canonical, or a route's name.
        expires_at: when delivery is given up; the job is due at this time at the latest.
        not_before: the time of its release (RFC 4865); 0 means at once.
        job_class: one class does not wait for the other classes of its tenant and domain.
        priority: MT-PRIORITY of RFC 6710, -9 to 9; orders jobs of one tenant, domain and class.
        ret, envid: the DSN parameters of MAIL (RFC 3461 §4.3, §4.4), as the client sent them; None if it did not.
        require_tls: REQUIRETLS of RFC 8689.
        actor_account, shared_inbox: the id of the account that submitted the message, and in whose name it did.
        transaction: the id of the transaction that accepted the message, under which ``explain`` finds it.
        door: the door at which it was accepted.
        prepended: header fields in front of the message that only this job sends (a Received field).
        idempotency_key: the client's key for the message; None if it gave none.
    """

    id: str
    sender: str
    recipients: tuple[JobRecipient, ...]
    domain: str
    created_at: float
    expires_at: float
    not_before: float = 0.0
    job_class: JobClass = "transactional"
    priority: int = 0
    ret: Ret | None = None
    envid: str | None = None
    body: Body = "7BIT"
    smtputf8: bool = False
    require_tls: bool = False
    actor_account: str | None = None
    shared_inbox: str | None = None
    transaction: str = ""
    door: str = ""
    prepended: bytes = b""
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease with which a new job is stored, so that the process that accepts a message delivers it at once.
    ``at``: when it was taken, by the clock of this machine; SurrealDB uses its own time instead."""

    owner: str
    at: float
    seconds: float

    @property
    def until(self) -> float:
        """The end by the clock of this machine."""
        return self.at + self.seconds


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job in the queue with its state (table ``outbound_queue``).

    Attributes:
        email: the id of the stored message; ``blob_path`` is its blob.
        states: one for each recipient, in their order.
        attempts: leases that count as attempts, the current one included.
        next_attempt_at: when it is or was due.
        last_error: the reply or error of the last attempt.
        history: the first and the last attempts (``FIRST_ATTEMPTS``, ``LAST_ATTEMPTS``).
        signed: the header fields that were added at the first attempt; the later ones send the same.
        hold_reason: why an operator or a rule holds it; None if it is not held.
        fence: grows with every lease.
        dot_sent_at: when an unfinished attempt was about to send the final dot (:meth:`Queue.sending`); 0 otherwise.
        died_at: when delivery failed permanently; 0 if it has not.
        size: octets of the stored message; 0 if they are not known. A blob of another size is damaged.
    """

    job: Job
    tenant: str
    email: str
    blob_path: str
    states: tuple[RecipientState, ...]
    status: JobStatus = "queued"
    attempts: int = 0
    next_attempt_at: float = 0.0
    last_error: str | None = None
    history: tuple[AttemptRecord, ...] = ()
    signed: bytes = b""
    hold_reason: str | None = None
    lease_owner: str | None = None
    lease_until: float = 0.0
    fence: int = 0
    dot_sent_at: float = 0.0
    died_at: float = 0.0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Sending:
    """An attempt about to send the final dot.

    Attributes:
        signed: header fields that it added; empty leaves those kept.
        lease: the same write makes the lease end in this many seconds, if it would end earlier; 0 leaves it.
    """

    job: QueuedJob
    signed: bytes = b""
    lease: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a lease; the states decide what becomes of the job.

    While a recipient is pending, the job is due again in ``delay`` seconds, or when it expires. Once all are final, it
    is due at once until all are reported; then it stays as ``dead`` if one of them failed, and becomes a
    :class:`DeliveryRecord` otherwise.

    Attributes:
        states: one for each recipient, in their order.
        error: why a recipient is pending or failed; the job's ``last_error``.
        counts: False if no attempt was made: the domain was throttled, its circuit open, or only a report was sent.
        attempt: the attempt that was made.
        signed: header fields that were made for a later attempt; empty leaves those that are kept.
    """

    job: QueuedJob
    states: tuple[RecipientState, ...]
    delay: float = 0.0
    error: str = ""
    counts: bool = True
    attempt: AttemptRecord | None = None
    signed: bytes = b""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A job that was delivered to all its recipients (table ``outbound_delivery``)."""

    job_id: str
    tenant: str
    delivered_at: float
    email: str
    sender: str
    domain: str
    recipients: tuple[JobRecipient, ...]
    states: tuple[RecipientState, ...]
    history: tuple[AttemptRecord, ...] = ()
    transaction: str = ""
    actor_account: str | None = None
    shared_inbox: str | None = None


@dataclass(frozen=True, slots=True)
class QueueCount:
    """Jobs of one tenant, domain and class, each counted once; ``oldest`` is the ``created_at`` of the oldest that is
    not dead, or 0 if all are."""

    tenant: str
    domain: str
    job_class: JobClass
    queued: int = 0
    processing: int = 0
    held: int = 0
    dead: int = 0
    oldest: float = 0.0


def bounded(jobs: Sequence[Item]) -> Sequence[Item]:
    """Returns ``jobs`` if they are few enough for one call. Raises ValueError."""
    if len(jobs) > MOST_JOBS:
        raise ValueError(f"{len(jobs)} jobs in one call; at most {MOST_JOBS} are allowed")
    return jobs


class Queue(Protocol):
    """Jobs of all tenants (tables ``outbound_queue``, ``outbound_delivery``). The call that accepts a new message
    stores its jobs; :meth:`enqueue` is for a message that is stored already."""

    async def enqueue(self, tenant: str, email: str, jobs: Sequence[Job]) -> None:
        """Adds at most ``MOST_JOBS`` jobs in one transaction.

        Raises:
            NotFound: the tenant has no such message, or is gone or disabled.
            AlreadyExists: a job with one of these ids exists.
            ValueError: there are more than ``MOST_JOBS`` jobs.
        """

    async def lease(self, owner: str, limit: int, seconds: float, avoided: Set[Lane] = frozenset()) -> list[QueuedJob]:
        """Takes up to ``limit`` jobs that are due (at most ``MOST_JOBS``) for ``seconds`` (at most ``LONGEST_LEASE``).

        Tenants take turns, and so do the domains and classes within a tenant; an expired job is due, too. The jobs for
        the domains and classes of ``avoided`` get a twentieth while others are due: they would only wait. The result
        may have fewer than ``limit`` jobs although more are due; it is empty only if nothing is due or other workers
        took the jobs at the same moment. No two workers, in any process, hold a job at the same time. The jobs of a
        disabled tenant wait until it is enabled.
        """

    async def renew(self, jobs: Sequence[QueuedJob], seconds: float) -> set[str]:
        """Makes leases end in ``seconds`` from now. Returns the ids of the jobs that their worker still holds."""

    async def sending(self, sending: Sequence[Sending]) -> set[str]:
        """Records, durably, that final dots are about to be sent, and the header fields that the attempts added (at
        most ``MOST_JOBS``). Returns the ids of the jobs that their worker still holds; the others must not be sent."""

    async def finish(self, finished: Sequence[Finished]) -> set[str]:
        """Ends leases (at most ``MOST_JOBS``) in one transaction. Returns the ids of the jobs that their worker still
        held; nothing is written about the others."""

    async def release_expired(self) -> int:
        """Runs one step of making jobs due again whose lease has expired, or whose wait began in the future because the
        clock was set back since. Returns how many. :meth:`lease` does this itself."""

    async def get(self, tenant: str, job: str) -> QueuedJob | None: ...

    async def delivery(self, tenant: str, job: str) -> DeliveryRecord | None:
        """Returns the record of a delivered job."""

    async def of_transaction(self, tenant: str, transaction: str) -> list[QueuedJob | DeliveryRecord]:
        """Returns the jobs and deliveries of the message that a transaction accepted, at most ``MOST_JOBS``."""

    async def jobs(
        self, tenant: str | None, wanted: JobFilter = ALL, *, after: QueuedJob | None = None, limit: int = 100
    ) -> list[QueuedJob]:
        """Returns a page of one tenant's jobs, or (for the operator) of all tenants', by tenant and id; ``after`` is
        the last job of the previous page."""

    async def pending(self, tenant: str, most: int) -> int:
        """Counts the jobs of a tenant that are not dead, up to ``most``: for quotas. Reads counters, not jobs."""

    async def count(self, tenant: str | None) -> list[QueueCount]:
        """Counts jobs by tenant, domain and class. Reads counters, so a long queue takes no longer."""

    async def hold(self, tenant: str, jobs: Sequence[str], reason: str) -> int:
        """Holds these jobs (at most ``MOST_JOBS``): no worker leases them until they are released; an attempt in
        progress continues. Returns how many of them exist. A held job does not expire."""

    async def release(self, tenant: str, jobs: Sequence[str]) -> int:
        """Releases held jobs. Returns how many were held."""

    async def retry(self, tenant: str, jobs: Sequence[str], lifetime: float) -> int:
        """Makes queued and dead jobs due now; they do not expire within ``lifetime`` seconds. The attempts of a dead
        job are reset to 0, and its failed recipients are pending again. Jobs that a worker has leased are left alone;
        held jobs stay held. Returns how many changed."""

    async def remove(self, tenant: str, jobs: Sequence[str]) -> int:
        """Removes jobs in any state, with messages that nothing else refers to. Their recipients receive nothing,
        unless an attempt has already sent the final dot. Returns how many there were."""

    async def forget(self, scope: Scope) -> int:
        """Runs one step of removing the jobs of a tenant, those sent from one of its domains, or those of one of its
        accounts (which it submitted, or which name its address as sender); returns how many."""

    async def forget_deliveries(self, tenant: str) -> int:
        """Runs one step of removing a tenant's delivery records; returns how many."""

    async def prune(self, dead_before: float, delivered_before: float) -> int:
        """Removes jobs that died, and deliveries recorded, before these times, in steps; returns how many."""
