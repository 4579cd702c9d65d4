"""Jobs of the outbound queue in commands: naming, filtering and display."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from inbox.base.errors import NotFound
from inbox.cli.context import WrongUsage, tenant_id, tenant_named
from inbox.cli.moments import moment
from inbox.cli.output import when

if TYPE_CHECKING:
    from inbox.store.ports import Database
    from inbox.store.ports.job_filter import JobFilter
    from inbox.store.ports.queue import AttemptRecord, DeliveryRecord, JobRecipient, QueuedJob, RecipientState

#: ``held`` is a state of its own for operators; the store keeps it as a separate flag.
Status = Literal["queued", "processing", "held", "dead"]
#: Jobs that one call reads or changes.
PAGE = 500

InTenant = Annotated[str | None, typer.Option("--tenant", help="Limit to this tenant.")]
ToDomain = Annotated[str | None, typer.Option("--destination", help="Limit to this domain or route.")]
FromSender = Annotated[str | None, typer.Option("--sender", help="Limit to this sender; <> is the empty one.")]
InStatus = Annotated[Status | None, typer.Option("--status", help="Limit to this state.")]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", help="Limit to jobs queued before 30m, 2h, 7d (ago), or 2030-01-31T08:00Z."),
]
WithError = Annotated[str | None, typer.Option("--error", help="Limit to jobs whose last error contains this text.")]


@dataclass(frozen=True, slots=True)
class Matching:
    """The options that select jobs in any state, a group of :func:`inbox.cli.context.command`."""

    tenant: InTenant = None
    destination: ToDomain = None
    sender: FromSender = None
    older_than: OlderThan = None
    error: WithError = None


@dataclass(frozen=True, slots=True)
class Chosen(Matching):
    """The options that select jobs; each of them narrows the selection."""

    status: InStatus = None

    @property
    def everything(self) -> bool:
        """No option is given."""
        return self == NOT_CHOSEN

    def filter(self) -> JobFilter:
        """The conditions for the store. Raises WrongUsage."""
        from inbox.store.ports.job_filter import JobFilter

        wanted = JobFilter(
            domain=None if self.destination is None else self.destination.strip().lower().rstrip("."),
            sender=None if self.sender is None else self.sender.strip().removeprefix("<").removesuffix(">"),
            created_before=None if self.older_than is None else moment(self.older_than, "--older-than"),
            error=self.error,
        )
        match self.status:
            case None:
                return wanted
            case "held":
                return replace(wanted, held=True)
            case "dead":
                return replace(wanted, status="dead")
            case _:
                return replace(wanted, status=self.status, held=False)


#: No option is given.
NOT_MATCHED: Final = Matching()
NOT_CHOSEN: Final = Chosen()


@dataclass(slots=True)
class Names:
    """The names of tenants by their ids."""

    by_id: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    async def read(cls, db: Database) -> Names:
        return cls({one.id: one.name for one in await db.tenants.all()})

    def of(self, job: QueuedJob | DeliveryRecord) -> str:
        """``TENANT/ID``, which the commands accept."""
        return f"{self.by_id.get(job.tenant, job.tenant)}/{job_id(job)}"


def job_id(job: QueuedJob | DeliveryRecord) -> str:
    from inbox.store.ports.queue import QueuedJob

    return job.job.id if isinstance(job, QueuedJob) else job.job_id


def transaction_of(job: QueuedJob | DeliveryRecord) -> str:
    """The id of the decision that accepted the message."""
    from inbox.store.ports.queue import QueuedJob

    return job.job.transaction if isinstance(job, QueuedJob) else job.transaction


async def page_after(db: Database, place: str | None, tenant: str | None) -> QueuedJob | None:
    """The place after which a page begins: ``TENANT/ID`` of the last job, which may have been removed since."""
    if place is None:
        return None
    name, _, which = place.rpartition("/")
    owner = name or tenant
    if not owner or not which:
        raise WrongUsage(f"--after {place[:80]}: not TENANT/ID, as queue list shows it")
    return _place((await tenant_named(db, owner)).id, which)


def _place(tenant: str, which: str) -> QueuedJob:
    """A page begins after a tenant and an id; the port uses nothing else of the job."""
    from inbox.store.ports.queue import Job, QueuedJob

    return QueuedJob(Job(which, "", (), "", 0.0, 0.0), tenant, "", "", ())


async def pages(db: Database, tenant: str | None, wanted: JobFilter) -> AsyncIterator[list[QueuedJob]]:
    """All jobs that were queued before the call, in pages; the caller may change or remove those of a page."""
    now = time.time()
    wanted = replace(wanted, created_before=min(now, wanted.created_before or now))
    last = None
    while page := await db.queue.jobs(tenant, wanted, after=last, limit=PAGE):
        yield page
        last = page[-1]


async def find(db: Database, which: str, tenant: str | None) -> QueuedJob | DeliveryRecord:
    """The job ``TENANT/ID`` or ``ID``, in the queue or delivered. Raises NotFound."""
    name, _, wanted = which.strip().rpartition("/")
    if name and tenant is not None and name != tenant:
        raise NotFound(f"no job {which} of tenant {tenant}")
    owner = await tenant_id(db, name or tenant)
    owners = [owner] if owner is not None else [one.id for one in await db.tenants.all()]
    for one in owners:
        found = await db.queue.get(one, wanted.lower()) or await db.queue.delivery(one, wanted.lower())
        if found is not None:
            return found
    whose = "" if owner is None else f" of tenant {name or tenant}"
    raise NotFound(f"no job {wanted}{whose}: inbox queue list shows the queue, inbox explain ID the life of a message")


def row(job: QueuedJob, names: Names) -> dict[str, Any]:
    """One job for ``inbox queue list``."""
    waits = status(job) == "queued"
    return {
        "id": names.of(job),
        "destination": job.job.domain,
        "class": job.job.job_class,
        "sender": f"<{job.job.sender}>",
        "recipients": [one.address for one in job.job.recipients],
        "status": status(job),
        "attempts": job.attempts,
        "queued": when(job.job.created_at),
        "next": when(job.next_attempt_at) if waits else None,
        "error": job.hold_reason if job.hold_reason is not None else job.last_error,
        "decision": job.job.transaction,
    }


def status(job: QueuedJob) -> Status:
    return "held" if job.hold_reason is not None and job.status != "dead" else job.status


def job_values(job: QueuedJob | DeliveryRecord, names: Names) -> dict[str, Any]:
    """Returns all values of a job, for ``--json``."""
    from inbox.store.ports.queue import QueuedJob

    if isinstance(job, QueuedJob):
        values = row(job, names)
        del values["error"]
        values |= {
            "error": job.last_error,
            "hold_reason": job.hold_reason,
            "expires": when(job.job.expires_at),
            "died": when(job.died_at) if job.died_at else None,
            "lease_owner": job.lease_owner,
            "priority": job.job.priority,
            "envid": job.job.envid,
            "require_tls": job.job.require_tls,
        }
        people = job.job.recipients
    else:
        values = {
            "id": names.of(job),
            "destination": job.domain,
            "sender": f"<{job.sender}>",
            "status": "delivered",
            "delivered": when(job.delivered_at),
            "decision": job.transaction,
        }
        people = job.recipients
    values["recipients"] = [_recipient(who, state) for who, state in zip(people, job.states, strict=True)]
    values["history"] = [_attempt(one) for one in job.history]
    return values


def _recipient(who: JobRecipient, state: RecipientState) -> dict[str, Any]:
    return {
        "address": who.address,
        "status": state.status,
        "code": state.code,
        "enhanced": state.enhanced,
        "reply": state.reply,
        "at": when(state.at) if state.at else None,
        "category": state.category,
    }


def _attempt(one: AttemptRecord) -> dict[str, Any]:
    return {
        "at": when(one.at),
        "seconds": round(one.seconds, 3),
        "host": one.host,
        "address": one.address,
        "tls": one.tls,
        "stage": one.stage,
        "code": one.code,
        "enhanced": one.enhanced,
        "text": one.text,
        "recipients": one.recipients,
    }


def lines(job: QueuedJob | DeliveryRecord, names: Names) -> Iterator[str]:
    """The life of a job as text, for ``inbox explain`` and ``inbox queue show``."""
    from inbox.store.ports.queue import QueuedJob

    if isinstance(job, QueuedJob):
        yield f"job {names.of(job)} to {job.job.domain}: {status(job)}"
        yield f"  sender      <{job.job.sender}>"
        yield f"  queued      {when(job.job.created_at)} as {job.job.job_class}, given up at {when(job.job.expires_at)}"
        yield from _attempts(job.history, job.attempts)
        yield from _recipients(job.job.recipients, job.states)
        yield from _outlook(job)
    else:
        yield f"job {names.of(job)} to {job.domain}: delivered"
        yield f"  sender      <{job.sender}>"
        yield from _attempts(job.history, len(job.history))
        yield from _recipients(job.recipients, job.states)
        yield f"  delivered   {when(job.delivered_at)}"


def _outlook(job: QueuedJob) -> Iterator[str]:
    """The next step of a job, or the reason why there is none."""
    match status(job):
        case "held":
            yield f"  held        {job.hold_reason} (inbox queue release)"
        case "queued":
            yield f"  next        {when(job.next_attempt_at)}"
        case "processing":
            yield f"  in progress by {job.lease_owner} until {when(job.lease_until)} at the latest"
        case "dead":
            yield f"  given up    {when(job.died_at)} (inbox queue retry)"
    if job.dot_sent_at and job.status != "dead":
        yield f"  in doubt    the message was sent at {when(job.dot_sent_at)}, the reply is unknown"
    if job.last_error:
        yield f"  last error  {job.last_error}"


def _attempts(history: Sequence[AttemptRecord], made: int) -> Iterator[str]:
    from inbox.store.ports.queue import FIRST_ATTEMPTS, LAST_ATTEMPTS

    for number, one in enumerate(history):
        if number == FIRST_ATTEMPTS and len(history) == FIRST_ATTEMPTS + LAST_ATTEMPTS < made:
            yield f"  attempts    {made - len(history)} more, which are not kept"
        if one.stage in {"report", "complaint"}:
            who = f" from {one.host}" if one.host else ""
            label = "bounce    " if one.stage == "report" else "complaint "
            status = "" if one.enhanced in one.text else f" ({one.enhanced})"
            yield f"  {label}  {when(one.at)}{who}: {one.text}{status}"
            continue
        yield f"  attempt     {when(one.at)} {_where(one)}"
        after = f" after {one.stage}" if one.stage else ""
        yield f"    reply     {reply_text(one.code, one.enhanced, one.text)}{after}, {one.seconds:.1f} s"


def _where(one: AttemptRecord) -> str:
    host = " ".join(part for part in (one.host, f"[{one.address}]" if one.address else "") if part)
    if not host:
        return "no host was reached"
    return f"at {host} {f'with {one.tls}' if one.tls else 'without TLS'}"


def _recipients(people: Sequence[JobRecipient], states: Sequence[RecipientState]) -> Iterator[str]:
    for who, state in zip(people, states, strict=True):
        answer = reply_text(state.code, state.enhanced, state.reply) if state.code or state.reply else ""
        at = f" at {when(state.at)}" if state.at else ""
        category = f" ({state.category})" if state.category else ""
        yield f"  recipient   <{who.address}>: {state.status}{category}{at}{f': {answer}' if answer else ''}"


def reply_text(code: int, enhanced: str, text: str) -> str:
    """A reply in one line; a text that repeats the codes is shown alone."""
    if code and text.startswith(str(code)):
        return text
    return " ".join(part for part in (str(code or ""), enhanced, text) if part) or "none"
