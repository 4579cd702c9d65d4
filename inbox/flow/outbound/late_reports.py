"""Reads reports about messages that were sent: notifications after the delivery (RFC 3464) and complaints (RFC 5965).

They come to a signed return path (``return_path``), or, complaints only, to an address of ``outbound.return_path``'s
``feedback``. The token ties them to a job; the text of a report comes from a stranger, who can only speak of the
recipients of this one job. Each report is recorded with the job, where ``inbox explain`` shows it, the ``bounce`` hooks
run as for a failed attempt, and what they ask for is stored. All of it is done before the report is accepted: if it
cannot be stored, the peer sends the report again, and a repeated one changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.flow.destinations import ReadAsReport
from inbox.flow.outbound.failures import FailureHooks
from inbox.flow.outbound.return_path import ReturnPaths, Signed
from inbox.flow.outbound.senders import Sender, Senders, delivery_of
from inbox.flow.shares import TenantShare
from inbox.mail.address import Address, AddressError
from inbox.mail.content import Content, MemoryContent
from inbox.mail.dsn.parse import parse
from inbox.mail.dsn.report import Notification, ReportedRecipient
from inbox.mail.headers import Headers
from inbox.plugin.api.context import Failure
from inbox.plugin.api.services import Log, RunBlocking
from inbox.store.ports.job_reports import ReportedQueue
from inbox.store.ports.queue import AttemptRecord, DeliveryRecord, Job, QueuedJob, RecipientState

#: Larger messages are parsed in a thread, in octets.
_SMALL: Final = 128 * 1024
#: Feedback types by which a recipient does not complain (RFC 5965 §7.3 and its registry).
_NO_COMPLAINT: Final = frozenset({"not-spam", "auth-failure", "virus"})


@dataclass(frozen=True, slots=True)
class _Sent:
    """A sent message: its job, with the recipients, and whether it is still in the queue."""

    queued: QueuedJob
    sender: Sender


class ReportEvents(Protocol):
    """The webhooks that report bounces and complaints."""

    def wanted(self, tenant: str) -> bool: ...

    async def reported(self, queued: QueuedJob, later: Mapping[int, RecipientState], record: AttemptRecord) -> None: ...


class LateReports:
    """Reads reports."""

    def __init__(
        self,
        return_paths: ReturnPaths,
        senders: Senders,
        hooks: FailureHooks,
        queue: ReportedQueue,
        run_blocking: RunBlocking,
        clock: Clock,
        log: Log,
        events: ReportEvents | None = None,
    ) -> None:
        self._return_paths = return_paths
        self._senders = senders
        self._hooks = hooks
        self._queue = queue
        self._run_blocking = run_blocking
        self._clock = clock
        self._log = log
        self._events = events

    async def sender_of(self, address: Address, tenant: str) -> tuple[str, str] | None:
        """The id and the sender of the job whose signed return path this is; None if it is not valid, or the job is no
        longer known. Raises StoreUnavailable."""
        signed = self._return_paths.read(address, tenant)
        queued = None if signed is None else await self._job(signed, tenant)
        return None if queued is None else (queued.job.id, queued.job.sender)

    async def read(self, shares: Sequence[TenantShare], content: Content) -> None:
        """Reads the message as a report for each recipient who is not refused and has the destination ReadAsReport.

        Raises:
            InboxError: something could not be stored; the peer is to send the report again.
        """
        wanted = {
            (share.tenant, one.job)
            for share in shares
            for each in share.dispositions
            if each.refusal is None
            for one in each.destinations
            if isinstance(one, ReadAsReport)
        }
        if not wanted:
            return
        report = parse(content) if content.size <= _SMALL else await self._run_blocking("reports", parse, content)
        for tenant, job in sorted(wanted):
            signed = Signed(job, "transactional") if job else None
            if report.kind == "complaint":
                signed = self._named(report, tenant) or signed
            queued = None if signed is None else await self._job(signed, tenant)
            if queued is None:
                self._log.info("report_about_nothing_known", tenant=tenant, kind=report.kind, job=job)
                continue
            sent = _Sent(queued, await self._senders.sender(queued))
            if report.kind == "complaint":
                await self._complaint(sent, report)
            elif report.kind == "notification":
                await self._notification(sent, report)

    async def _job(self, signed: Signed, tenant: str) -> QueuedJob | None:
        queued = await self._queue.get(tenant, signed.job)
        if queued is None and (delivered := await self._queue.delivery(tenant, signed.job)) is not None:
            queued = _as_queued(delivered, signed)
        return queued

    def _named(self, report: Notification, tenant: str) -> Signed | None:
        """The job whose token a feedback report contains: its recipient had the message, or could not know it."""
        named = [report.feedback.mail_from] if report.feedback is not None else []
        named += [one.strip().strip("<>") for one in Headers.parse(report.original).get_all("Return-Path")[:3]]
        for text in named:
            try:
                signed = self._return_paths.read(Address.parse(text), tenant)
            except AddressError:
                continue
            if signed is not None:
                return signed
        return None

    async def _notification(self, sent: _Sent, report: Notification) -> None:
        queued, now = sent.queued, self._clock.now()
        matched = [(one, _index(queued.job, one, alone=len(report.recipients) == 1)) for one in report.recipients]
        later: dict[int, RecipientState] = {}
        for one, index in matched:
            if index is None or one.action != "failed" or queued.states[index].status == "pending":
                continue
            state = RecipientState("failed", one.code, one.status, one.text, now, reported=True)
            failure = _failure(sent, index, report, one, "report")
            later[index] = await self._hooks.run(queued, index, failure, sent.sender.policy, state, must_store=True)
        first = next((one for one, index in matched if index in later), report.recipients[0])
        named = [queued.job.recipients[index].address for index in later]
        record = AttemptRecord(
            now, 0.0, report.reporting_mta[:255], stage="report", code=first.code, enhanced=first.status,
            text=f"{first.action}{_brackets(named or [first.address])}: {first.text or first.context}",
            recipients=max(1, len(later)),
        )  # fmt: skip
        await self._amend(queued, later, record)
        self._log.info(
            "smtp.egress.bounce",
            job=queued.job.id,
            tenant=sent.sender.tenant_name,
            action=first.action,
            recipients=named,
            status=first.status,
            category=[state.category for state in later.values()],
        )

    async def _complaint(self, sent: _Sent, report: Notification) -> None:
        queued, now = sent.queued, self._clock.now()
        feedback = report.feedback
        assert feedback is not None, "a complaint has one"
        index = _complainer(queued.job, feedback.recipients)
        counts = feedback.kind not in _NO_COMPLAINT
        if index is not None and counts:
            said = ReportedRecipient("", "failed", "", 0, f"complaint: {feedback.kind}")
            failure = _failure(sent, index, report, said, "complaint")
            await self._hooks.run(
                queued, index, failure, sent.sender.policy, queued.states[index], source="complaint", must_store=True
            )
        text = f"{feedback.kind} {feedback.reporter}".strip()
        about = "" if index is None else _brackets([queued.job.recipients[index].address])
        record = AttemptRecord(now, 0.0, report.reporting_mta[:255], stage="complaint", text=f"{text}{about}")
        await self._amend(queued, {}, record)
        self._log.info(
            "smtp.egress.complaint",
            job=queued.job.id,
            tenant=sent.sender.tenant_name,
            kind=feedback.kind,
            recipient=None if index is None else queued.job.recipients[index].address,
        )

    async def _amend(self, queued: QueuedJob, later: Mapping[int, RecipientState], record: AttemptRecord) -> None:
        # A report that is not recorded is sent again by its server: then its events exist, and are not written twice.
        if self._events is not None and self._events.wanted(queued.tenant):
            await self._events.reported(queued, later, record)
        await self._queue.amend(queued.tenant, queued.job.id, later, record)


def _as_queued(delivered: DeliveryRecord, signed: Signed) -> QueuedJob:
    """Rebuilds a delivered job from its record."""
    at = delivered.delivered_at
    job = Job(
        delivered.job_id, delivered.sender, delivered.recipients, delivered.domain, at, at, job_class=signed.job_class,
        transaction=delivered.transaction, actor_account=delivered.actor_account, shared_inbox=delivered.shared_inbox,
    )  # fmt: skip
    attempts = len(delivered.history)
    return QueuedJob(
        job, delivered.tenant, delivered.email, "", delivered.states, attempts=attempts, history=delivered.history
    )


def _index(job: Job, reported: ReportedRecipient, *, alone: bool) -> int | None:
    """The recipient that a notification speaks of. A receiver may know it under another name; then it is clear only if
    both sides speak of one."""
    for named in (reported.original, reported.address):
        for index, recipient in enumerate(job.recipients):
            if named and named.lower() == recipient.address.lower():
                return index
    return 0 if alone and len(job.recipients) == 1 else None


def _complainer(job: Job, named: Sequence[str]) -> int | None:
    """The recipient who complains: the only one, or the one that the report names; None if it is redacted."""
    if len(job.recipients) == 1:
        return 0
    wanted = {one.lower() for one in named}
    found = [index for index, recipient in enumerate(job.recipients) if recipient.address.lower() in wanted]
    return found[0] if len(found) == 1 else None


def _brackets(addresses: Sequence[str]) -> str:
    """The first addresses for a record, the same for a repeated report."""
    return "".join(f" <{one[:100]}>" for one in addresses[:5])


def _failure(sent: _Sent, index: int, report: Notification, said: ReportedRecipient, stage: str) -> Failure:
    queued = sent.queued
    original = MemoryContent(report.original)
    delivery = delivery_of(queued, [index], sent.sender.tenant_name, original, ())
    return Failure(
        delivery, said.code, said.status, said.text or said.context, delivery.transaction.recipients[0],
        report.reporting_mta[:255], "", stage, queued.attempts,
    )  # fmt: skip
