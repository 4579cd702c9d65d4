"""What the worker of the outbound queue needs from the queue, the attempts and the notifications.

The worker reads jobs and writes the states of their recipients; it knows neither SQL nor SMTP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.policy.outbound import Smarthost
from inbox.store.ports.queue import Body, JobClass, Notify, Ret

#: The part of an attempt that a reply ends; ``policy`` and ``expired`` are the worker's own.
Part = Literal[
    "dns", "connect", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "dot", "policy", "expired"
]
Kind = Literal["failed", "delayed", "relayed", "delivered"]
#: The longest text of a reply that is kept, in characters.
REPLY_LENGTH: Final = 1000


# --- the queue ---


@dataclass(frozen=True, slots=True)
class JobRecipient:
    """A recipient with its DSN parameters (RFC 3461 §4); ``notify`` is empty if the client sent none."""

    address: str
    notify: tuple[Notify, ...] = ()
    orcpt: str | None = None


Status = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class RecipientState:
    """What is known about one recipient; ``at`` is when, in seconds since the epoch.

    Attributes:
        code, enhanced, reply: the last reply; 0 and empty before the first attempt, and 0 if no host replied.
        category: of a failure, as a ``bounce`` hook classified it; empty if none did.
        warned: the sender was notified of the delay.
        reported: the sender was notified of the outcome, or no notification is owed.
    """

    address: str
    status: Status = "pending"
    code: int = 0
    enhanced: str = ""
    reply: str = ""
    at: float = 0.0
    category: str = ""
    warned: bool = False
    reported: bool = False


class Job(Protocol):
    """A message and those of its recipients that are at one domain. Times are seconds since the epoch."""

    @property
    def id(self) -> str: ...
    @property
    def sender(self) -> str: ...
    @property
    def domain(self) -> str: ...
    @property
    def recipients(self) -> tuple[JobRecipient, ...]: ...
    @property
    def created_at(self) -> float: ...
    @property
    def expires_at(self) -> float: ...
    @property
    def job_class(self) -> JobClass: ...
    @property
    def ret(self) -> Ret | None: ...
    @property
    def envid(self) -> str | None: ...
    @property
    def body(self) -> Body: ...
    @property
    def smtputf8(self) -> bool: ...
    @property
    def require_tls(self) -> bool: ...
    @property
    def actor_account(self) -> str | None: ...
    @property
    def transaction(self) -> str: ...
    @property
    def door(self) -> str: ...


class QueuedJob(Protocol):
    """A job that this worker has leased."""

    @property
    def job(self) -> Job: ...
    @property
    def tenant(self) -> str: ...
    @property
    def blob_path(self) -> str: ...
    @property
    def attempts(self) -> int:
        """The number of this attempt: leases that count as attempts, the current one included."""
        ...

    @property
    def states(self) -> tuple[RecipientState, ...]:
        """One for each recipient, in their order."""
        ...

    @property
    def signed(self) -> bytes:
        """Header fields that an earlier attempt added."""
        ...

    @property
    def dot_sent_at(self) -> float:
        """When an attempt was about to send the final dot that never finished; 0 otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class Sending:
    """An attempt is about to send the final dot; ``signed`` are the header fields that it added."""

    job: QueuedJob
    signed: bytes


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt, for ``inbox explain``. ``at`` is its beginning; ``recipients`` is the number of those addressed."""

    at: float
    seconds: float
    host: str
    address: str
    tls: str
    stage: Part
    code: int
    enhanced: str
    text: str
    recipients: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a lease. A job with a pending recipient is due again in ``delay`` seconds, or when it expires.

    ``counts``: whether the lease counts as an attempt; a job that only waited was not attempted.
    """

    job: QueuedJob
    states: tuple[RecipientState, ...]
    delay: float = 0.0
    counts: bool = True
    attempt: AttemptRecord | None = None


class Queue(Protocol):
    """The part of the queue that a worker uses. Each method is one transaction, and raises StoreUnavailable."""

    async def lease(self, owner: str, limit: int, seconds: float) -> Sequence[QueuedJob]: ...

    async def renew(self, jobs: Sequence[QueuedJob], seconds: float) -> set[str]:
        """Returns the ids of the jobs that their worker still holds; so do the following."""
        ...

    async def sending(self, jobs: Sequence[Sending]) -> set[str]: ...

    async def finish(self, finished: Sequence[Finished]) -> set[str]: ...


# --- attempts ---


@dataclass(frozen=True, slots=True)
class OutgoingRecipient:
    address: Address
    notify: tuple[Notify, ...] = ()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is sent in one transaction; ``content`` has the added header fields in front."""

    sender: str
    recipients: tuple[OutgoingRecipient, ...]
    content: Content
    size: int
    body: Body = "7BIT"
    smtputf8: bool = False
    require_tls: bool = False
    ret: Ret | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class HostReply:
    """The answer for one recipient, and the part of the attempt that it ended. ``code`` 0: no reply came."""

    code: int
    enhanced: str
    text: str
    stage: Part


@dataclass(frozen=True, slots=True)
class Attempted:
    """The result of one attempt; ``results`` has one reply for each recipient, in their order.

    ``hosts`` has a name and a reply for each host that could not be used.
    """

    results: tuple[HostReply, ...]
    host: str = ""
    address: str = ""
    tls: str = ""
    dsn_supported: bool = False
    seconds: float = 0.0
    dot_sent: bool = False
    hosts: tuple[tuple[str, HostReply], ...] = ()


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts that take mail for a domain, the most preferred first. ``key`` is the same for the same set."""

    names: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Way:
    """The next hop of one attempt: the domain's ``hosts``, or a smarthost.

    ``tls`` is the policy's exception, or None for the setting. Empty ``sources``: the system chooses.
    """

    domain: str
    hosts: Hosts | None
    smarthost: Smarthost | None
    tls: Literal["required", "opportunistic"] | None
    ehlo_name: str
    sources: tuple[str, ...]
    messages_per_connection: int
    tenant: str


class Exchangers(Protocol):
    """The look-up of a domain's MX hosts."""

    async def find(self, domain: str) -> Hosts | HostReply: ...


class Attempts(Protocol):
    """Connections to other servers."""

    async def attempt(self, mail: Outgoing, way: Way, before_dot: Callable[[], Awaitable[bool]]) -> Attempted:
        """Tries once to deliver. Does not raise because of a peer.

        Args:
            before_dot: is called when everything but the final dot is written; False aborts the connection.
        """
        ...


# --- notifications ---


class Bounces(Protocol):
    """Notifications of senders (RFC 3464)."""

    async def report(self, job: QueuedJob, states: Sequence[RecipientState], kind: Kind) -> None:
        """Stores a notification about these recipients; the same call twice stores one. Raises StoreError."""
        ...


class Suppressions(Protocol):
    """The tenants' lists of addresses and domains that get no mail."""

    async def suppress(
        self, tenant: str, scope: Literal["address", "domain"], target: str, reason: str, seconds: float | None
    ) -> None:
        """Adds an entry. Raises StoreError."""
        ...


class Contents(Protocol):
    """The stored messages."""

    async def get(self, key: str) -> Content: ...
