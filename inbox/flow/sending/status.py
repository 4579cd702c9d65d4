"""The state of a message that a program or a user sent: what became of each recipient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from inbox.base.clock import Clock
from inbox.flow.destinations import SENT
from inbox.flow.sending.callers import Caller
from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.mail.address import Address, AddressError
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Door
from inbox.policy.decision import Decision, decode
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.queue import DeliveryRecord, QueuedJob, RecipientState

#: ``accepted``: this server hosts the recipient for another tenant, whose decisions the sender does not see.
Status = Literal["accepted", "scheduled", "queued", "delivered", "failed"]
#: The doors of senders: what came in by another one is not theirs.
_DOORS: Final = frozenset({Door.API.value, Door.SUBMISSION.value})
_ID_CHARACTERS: Final = 20


class Records(Protocol):
    """The part of the store with decision records."""

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]: ...


class Domains(Protocol):
    """The part of the directory that finds hosted domains."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...


class Jobs(Protocol):
    """The part of the queue that finds the jobs of a message."""

    async def of_transaction(self, tenant: str, transaction: str) -> list[QueuedJob | DeliveryRecord]: ...


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """The state of one recipient.

    Attributes:
        at: when the last reply was received or the copy was stored, in seconds since the epoch; 0: nothing happened.
        code, enhanced, reply: the last reply of another server; 0 and empty without one.
    """

    address: str
    status: Status
    at: float = 0.0
    code: int = 0
    enhanced: str = ""
    reply: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """The state of a message; ``accepted_at`` is in seconds since the epoch."""

    id: str
    accepted_at: float
    sender: str
    recipients: tuple[RecipientStatus, ...]


class SentMessages:
    """Finds messages of callers."""

    def __init__(self, records: Records, jobs: Jobs, domains: Domains, clock: Clock) -> None:
        self._records = records
        self._jobs = jobs
        self._domains = domains
        self._clock = clock

    async def get(self, caller: Caller, message: str) -> MessageStatus:
        """The state of a message that the caller sent, or might have sent by the limits of its key.

        Raises:
            RequestRefused: the caller may not read messages, or has sent none with this id.
            StoreError: the database cannot be read now.
        """
        caller.check("messages")
        records = await self._records.get(message, caller.tenant) if len(message) == _ID_CHARACTERS else []
        record = next((each for each in records if each.tenant == caller.tenant and each.door in _DOORS), None)
        if record is not None and not await self._is_own(caller, record):
            record = None
        jobs = [] if record is None else await self._jobs.of_transaction(caller.tenant, message)
        if record is None or record.outcome in ("reject", "defer") or not _is_visible(caller, record, jobs):
            raise RequestRefused(Kind.NOT_FOUND, "not_found", f"{caller.name} has sent no message {message[:80]!r}")
        decision = decode(record.body)
        found = {each.address: each for each in _delivered(decision)}
        for job in jobs:
            found |= {each.address: each for each in self._of_job(job)}
        kept = {each.recipient for each in decision.destinations if each.mailbox == SENT} - found.keys()
        states = [found.get(each, RecipientStatus(each, "accepted")) for each in record.recipients if each not in kept]
        return MessageStatus(message, record.at, record.sender, tuple(states))

    async def _is_own(self, caller: Caller, record: DecisionRecord) -> bool:
        """Whether the tenant sent the message: it has a record of what another tenant sent to it, too."""
        try:
            domain = await self._domains.domain(Address.parse(record.sender).domain)
        except AddressError:
            return False
        return domain is not None and domain.tenant.id == caller.tenant

    def _of_job(self, job: QueuedJob | DeliveryRecord) -> Iterator[RecipientStatus]:
        given = job.job.recipients if isinstance(job, QueuedJob) else job.recipients
        waits = isinstance(job, QueuedJob) and job.job.not_before > self._clock.now()
        attempts = job.attempts if isinstance(job, QueuedJob) else len(job.history)
        for recipient, state in zip(given, job.states, strict=True):
            status = _status(state, waits=waits)
            yield RecipientStatus(
                recipient.address, status, state.at, state.code, state.enhanced, state.reply, attempts
            )


def _status(state: RecipientState, *, waits: bool) -> Status:
    if state.status == "pending":
        return "scheduled" if waits else "queued"
    return state.status


def _delivered(decision: Decision) -> Iterator[RecipientStatus]:
    """The recipients whom this server hosts. The sender's own copy does not count."""
    for each in decision.destinations:
        if each.kind in ("mailbox", "already_served") and each.mailbox != SENT:
            yield RecipientStatus(each.recipient, "delivered", decision.at)


def _is_visible(caller: Caller, record: DecisionRecord, jobs: Sequence[QueuedJob | DeliveryRecord]) -> bool:
    """A user sees what the account sent; a program, what its key allows to send."""
    if caller.user is not None:
        actors = {(job.job if isinstance(job, QueuedJob) else job).actor_account for job in jobs}
        return caller.user.account in actors or record.sender == caller.user.address
    return caller.key is not None and caller.key.may_send_as(Address.parse(record.sender))
