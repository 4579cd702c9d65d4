"""Decision records: of each refusal before DATA, and of each tenant's part of a message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.base.ids import Ids
from inbox.flow.destinations import (
    AlreadyServed,
    Destination,
    Discarded,
    IntoMailbox,
    IntoQuarantine,
    ReadAsReport,
    Relay,
)
from inbox.flow.envelope import Envelope, NotAdmitted
from inbox.flow.judge import Case, Judge
from inbox.flow.meters import FlowMeters
from inbox.flow.refusals import RecordMode, Refusals
from inbox.flow.replies import outcome_of
from inbox.flow.shares import Disposition, TenantShare, seen_by
from inbox.flow.tracing import Tracer
from inbox.mail.flags import flag_names
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Identity, Recipient, Session, Transaction
from inbox.plugin.api.services import Log
from inbox.policy.decision import DestinationRecord
from inbox.policy.outcome import StageOutcome
from inbox.policy.stages import Stage
from inbox.store.ports.decisions import DecisionRecord

#: The most recipients in a log line about a refusal; the decision record has them all.
LOGGED_RECIPIENTS = 5
#: Seconds that a refused client waits for the decision record: a disk or lock that hangs must not hang the client, too.
RECORD_SECONDS = 30.0


class DecisionWriter(Protocol):
    """The part of ``inbox.store.ports.Decisions`` that stores records of refusals."""

    async def add(self, decisions: Sequence[DecisionRecord]) -> None: ...


class Recorder:
    """Makes the records, and writes those that are not stored together with a message."""

    def __init__(
        self,
        judge: Judge,
        decisions: DecisionWriter,
        clock: Clock,
        ids: Ids,
        log: Log,
        meters: FlowMeters,
        tracer: Tracer | None = None,
    ) -> None:
        self._meters = meters
        self._tracer = tracer
        self._judge = judge
        self._decisions = decisions
        self._clock = clock
        self._ids = ids
        self._log = log
        self._refusals = Refusals(clock, ids, log, self.write)

    async def flush(self, *, everything: bool = False) -> None:
        """Writes the records that count refusals (:meth:`Refusals.flush`)."""
        await self._refusals.flush(everything=everything)

    async def not_admitted(self, tx: Transaction, recipient: Recipient, refused: NotAdmitted) -> Reply:
        """Records a refused RCPT; see :meth:`refused`."""
        judgements = [] if refused.judgement is None else [refused.judgement]
        return await self.refused(tx.session, tx, refused.reply, Stage.RCPT, recipient, judgements, refused.why)

    async def refused(
        self,
        session: Session,
        tx: Transaction | None,
        refusal: Reply,
        stage: Stage,
        recipient: Recipient | None = None,
        judgements: Sequence[StageOutcome] = (),
        why: str = "",
    ) -> Reply:
        """Writes the record of a refusal before DATA, or counts it; returns the reply with the record's id.

        ``judgements`` are those of the recipient; ``why`` is for the operator.
        """
        tenant, name = _tenant_of(session, recipient)
        to = (str(recipient.address),) if recipient else ()
        self._meters.refused(session.door, stage, refusal, judgements or _so_far(session, tx))
        mode = self._refusals.choose(session, tenant)
        if mode is not RecordMode.FULL:
            which = await self._refusals.count(mode, session, tenant, name, refusal, stage, to)
            return self._judge.with_id(refusal, which)
        decision = self._ids.new()
        reply = self._judge.with_id(refusal, decision)
        case = Case(
            decision,
            seen_by(session, tenant),
            tx,
            tenant,
            name,
            self._clock.now(),
            [*_so_far(seen_by(session, tenant), tx), *judgements],
            outcome_of(refusal),
            reply,
            to,
            stage,
            why,
        )
        await self.write([self._judge.record(case)])
        self.log_refusal(decision, session, tx, refusal, stage, to, (name,) if name else ())
        return reply

    def log_refusal(
        self,
        decision: str,
        session: Session,
        tx: Transaction | None,
        refusal: Reply,
        stage: Stage,
        to: tuple[str, ...],
        tenants: Iterable[str] = (),
    ) -> None:
        """Logs a refusal in one line, with the id in the reply, for readers who cannot query the database."""
        self._log.info(
            "refused",
            id=decision,
            outcome=outcome_of(refusal),
            reply=f"{refusal.code} {refusal.enhanced} {refusal.text}",
            stage=stage.value,
            sender=str(tx.sender or "") if tx is not None else "",
            **whom(to, tenants),
            peer=str(session.peer),
        )

    async def refused_message(self, envelope: Envelope, shares: Sequence[TenantShare], refusal: Reply) -> Reply:
        """Records a message that all refuse, or counts it for each tenant; returns the reply with an id."""
        tx = envelope.transaction
        session = tx.session
        tenants = {share.tenant: share.tenant_name for share in shares}
        judgements = [one for share in shares for one in share.judgements]
        self._meters.refused(session.door, Stage.DATA, refusal, judgements)
        if self._tracer is not None:
            self._tracer.refused(tx, shares, refusal, self._clock.now())
        modes = [self._refusals.choose(session, tenant, message=True) for tenant in tenants]
        if modes and RecordMode.FULL not in modes:
            mode, which = max(modes), ""  # the same for all tenants: the reply has room for one id
            for tenant, name in tenants.items():
                own = [each for share in shares if share.tenant == tenant for each in share.dispositions]
                to = [str(each.recipient.address) for each in own]
                which = await self._refusals.count(mode, session, tenant, name, refusal, Stage.DATA, to)
            return self._judge.with_id(refusal, which)
        reply = self._judge.with_id(refusal, tx.id)
        await self.write(self.judged(tx, shares, reply))
        addresses = tuple(str(each.recipient.address) for each in envelope.recipients)
        self.log_refusal(tx.id, session, tx, refusal, Stage.DATA, addresses, tenants.values())
        return reply

    def accepted(
        self, tx: Transaction, shares: Sequence[TenantShare], records: Sequence[DecisionRecord], reply: Reply
    ) -> None:
        """Counts a message that was made durable with these records."""
        now = self._clock.now()
        self._meters.accepted(tx.session.door, records, now - tx.started_at)
        if self._tracer is not None:
            self._tracer.accepted(tx, shares, records, reply, now)

    def judged(self, tx: Transaction, shares: Sequence[TenantShare], reply: Reply) -> list[DecisionRecord]:
        """The records of a message, one for each tenant; ``reply`` is the reply for the whole message.

        A record is found by transaction and tenant: shares of one tenant under several policies have one in common.
        """
        by_tenant: dict[str, list[TenantShare]] = {}
        for share in shares:
            by_tenant.setdefault(share.tenant, []).append(share)
        author = tx.session.identity if tx.session.door is Door.API else None
        records = [self._of_tenant(tx, own, reply) for own in by_tenant.values()]
        if author is None:
            return records
        everybody = tuple(dict.fromkeys(str(each.recipient.address) for share in shares for each in share.dispositions))
        if author.tenant not in by_tenant:
            records.append(self._of_author(tx, author, everybody, reply))
        # The author asks for the state of each recipient later, also of those whom another tenant hosts.
        return [replace(each, recipients=everybody) if each.tenant == author.tenant else each for each in records]

    def _of_author(
        self, tx: Transaction, author: Identity, recipients: tuple[str, ...], reply: Reply
    ) -> DecisionRecord:
        """The record for an author whose tenant hosts no recipient: what other tenants decided is not in it."""
        case = Case(
            tx.id, tx.session, tx, author.tenant, author.tenant_name, self._clock.now(), _so_far(tx.session, tx),
            outcome_of(reply), reply, recipients, Stage.DATA,
        )  # fmt: skip
        return self._judge.record(case)

    def _of_tenant(self, tx: Transaction, shares: Sequence[TenantShare], reply: Reply) -> DecisionRecord:
        first, dispositions = shares[0], [each for share in shares for each in share.dispositions]
        session = seen_by(tx.session, first.tenant)
        case = Case(
            tx.id,
            session,
            first.transaction,
            first.tenant,
            first.tenant_name,
            self._clock.now(),
            [*_so_far(session, tx), *[one for share in shares for one in share.judgements]],
            _outcome(dispositions),
            self._own_reply(tx, dispositions, reply),
            tuple(str(each.recipient.address) for each in dispositions),
            Stage.DATA,
            destinations=[
                _destination(str(each.recipient.address), one)
                for each in dispositions
                if each.refusal is None
                for one in each.destinations
            ],
            overruled=[each for share in shares for each in share.overruled],
        )
        return self._judge.record(case)

    async def write(self, records: Sequence[DecisionRecord]) -> None:
        """Writes records of refusals. Never raises."""
        try:
            async with asyncio.timeout(RECORD_SECONDS):
                await self._decisions.add(records)
        except (StoreError, TimeoutError) as error:
            # The refusal is valid without its record; then only the log explains it.
            reason = str(error) or f"the database did not answer within {RECORD_SECONDS:.0f} s"
            for record in records:
                self._log.error("decision_not_recorded", id=record.id, error=reason, body=record.body.decode())

    def _own_reply(self, tx: Transaction, dispositions: Sequence[Disposition], reply: Reply) -> Reply:
        """The reply for this tenant: its record never quotes the refusal of another tenant."""
        refusals = [each.refusal for each in dispositions if each.refusal is not None]
        if refusals and len(refusals) == len(dispositions):
            return self._judge.with_id(refusals[0], tx.id)
        return reply


def whom(addresses: Sequence[str], tenants: Iterable[str]) -> dict[str, Any]:
    """The fields of a log line about recipients: the first ones, their number if there are more, and the names
    of the first tenants."""
    names = sorted(set(tenants))
    more = {"recipients": len(addresses)} if len(addresses) > LOGGED_RECIPIENTS else {}
    return {"to": tuple(addresses[:LOGGED_RECIPIENTS]), **more, "tenant": "/".join(names[:LOGGED_RECIPIENTS])}


def _tenant_of(session: Session, recipient: Recipient | None) -> tuple[str, str]:
    """The id and name of the tenant whose record a refusal is: the recipient's, or the user's who is logged in."""
    if recipient is not None and recipient.tenant:
        return recipient.tenant, recipient.tenant_name
    identity = session.identity
    return ("", "") if identity is None else (identity.tenant, identity.tenant_name)


def _so_far(session: Session, tx: Transaction | None) -> list[StageOutcome]:
    """The judgements from before a tenant was known, in the order of the stages."""
    return [*session.judgements.values(), *(tx.judgements.values() if tx is not None else ())]


def _outcome(dispositions: Sequence[Disposition]) -> str:
    words = {each.outcome for each in dispositions}
    return words.pop() if len(words) == 1 else "mixed"


def _destination(recipient: str, destination: Destination) -> DestinationRecord:
    match destination:
        case IntoMailbox(account, mailbox, flags, keywords):
            return DestinationRecord(recipient, "mailbox", account, mailbox, list(flag_names(flags, keywords)))
        case IntoQuarantine(reason):
            return DestinationRecord(recipient, "quarantine", why=reason)
        case Relay(address):
            return DestinationRecord(recipient, "relay", address=str(address))
        case Discarded(reason):
            return DestinationRecord(recipient, "discard", why=reason)
        case ReadAsReport(job):
            return DestinationRecord(recipient, "report", why=f"about job {job}" if job else "about the message in it")
        case AlreadyServed(account, by):
            return DestinationRecord(recipient, "already_served", account, why=f"by the copy for {by}")
