"""The story of a message that comes in, from the connection to the mailbox.

Read :meth:`Pipeline.data` first: it is the whole of it. Up to the line where it files the message nothing has
been promised; behind it, we owe a delivery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from inbox.base.clock import Clock
from inbox.base.errors import InboxError, PolicyError, StoreError
from inbox.base.ids import Ids
from inbox.base.limits import MAX_RECEIVED
from inbox.dns.lookups import Lookups, network, work_for
from inbox.flow.copies import CopyMaker
from inbox.flow.destinations import Destinations
from inbox.flow.edits import edited, holds_nul, set_apart
from inbox.flow.groups import Group, apply_verdict, combined_refusal, group_recipients
from inbox.flow.judge import WHY_LENGTH, Judge
from inbox.flow.recipients import SUSPENDED, Recipients
from inbox.flow.recording import LOGGED_RECIPIENTS, Recorder, whom
from inbox.flow.replies import HEADER_TOO_LONG, NUL_REFUSED, refusal_of
from inbox.flow.trace import count_received
from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.flags import FlagError
from inbox.mail.headers import header_block, is_too_long
from inbox.mail.message import Message
from inbox.mail.nul import NulFree
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Recipient, Session, Transaction
from inbox.plugin.api.facts import DkimFact, DmarcFact, Facts, SpfFact
from inbox.plugin.api.services import Log
from inbox.plugin.engine.dispatcher import Memo
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Defer, Redirect
from inbox.store.ports import Decisions
from inbox.store.ports.decisions import AlreadyFiled
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Copy, Ingest

TROUBLE = Reply(451, "4.3.0", "Local problem, try again later")
_LATER = Defer(TROUBLE.code, TROUBLE.enhanced, TROUBLE.text)
#: What plugins cannot see they cannot judge, and a mail client would show it.
LOOP = Reply(554, "5.4.6", "Too many hops, this message is in a loop")


class Pipeline:
    """``Receiving`` of ``inbox.flow.doors``: judges what comes in, and files what is accepted."""

    def __init__(
        self,
        judge: Judge,
        recipients: Recipients,
        copies: CopyMaker,
        ingest: Ingest,
        destinations: Destinations,
        decisions: Decisions,
        clock: Clock,
        ids: Ids,
        log: Log,
    ) -> None:
        self._judge = judge
        self._recipients = recipients
        self._copies = copies
        self._ingest = ingest
        self._destinations = destinations
        self._recorder = Recorder(judge, decisions, clock, ids, log)
        self._clock = clock
        self._ids = ids
        self._log = log

    # -- before the message -------------------------------------------------------------------------------------

    async def connect(self, session: Session) -> Reply | None:
        """The ``connect`` hooks, before the banner."""
        return await self._session_stage(Stage.CONNECT, session)

    async def helo(self, session: Session) -> Reply | None:
        """The ``helo`` hooks."""
        return await self._session_stage(Stage.HELO, session)

    async def mail(
        self, session: Session, sender: Address | None, params: dict[str, str]
    ) -> tuple[Reply, Transaction | None]:
        """The ``mail`` hooks; a new transaction if they let it pass."""
        session.lookups = None
        _count_lookups(session)
        tx = Transaction(
            self._ids.new(), session, sender, params, started_at=self._clock.now(), facts=Facts(session.facts)
        )
        judgement = await self._judge.judge(Stage.MAIL, self._judge.for_server(), tx=tx)
        tx.judgements[Stage.MAIL] = judgement
        refusal = refusal_of(judgement.verdict)
        if refusal is not None:
            return await self._recorder.refused(session, tx, refusal, Stage.MAIL), None
        return Reply(250, "2.1.0", "Sender ok"), tx

    async def rcpt(self, tx: Transaction, address: Address, notify: frozenset[str], orcpt: str | None) -> Reply:
        """Finds the tenant, runs its ``rcpt`` hooks, and refuses whom no plugin knows a mailbox for."""
        recipient = Recipient(address, notify=notify, orcpt=orcpt)
        why = ""
        _count_lookups(tx.session)
        try:
            refusal = await self._recipients.admit(tx, recipient)
        except (StoreError, PolicyError) as error:
            about = {"id": tx.id, "address": str(address), "tenant": recipient.tenant_name}
            why = str(error)
            self._log.error("recipient_not_looked_up", **about, error=why[:WHY_LENGTH])
            refusal = Reply.of(error)
        if refusal is SUSPENDED:
            why = "the tenant or the domain is disabled (inbox tenant list, inbox domain list)"
        if refusal is not None:
            return await self._recorder.refused(tx.session, tx, refusal, Stage.RCPT, recipient, why)
        tx.recipients.append(recipient)
        return Reply(250, "2.1.5", "Recipient ok")

    async def refused(self, session: Session, tx: Transaction | None, reply: Reply, stage: str) -> Reply:
        """Records a refusal of the server's own."""
        return await self._recorder.refused(session, tx, reply, Stage(stage))

    async def flush(self, *, everything: bool = False) -> None:
        """Writes what is only counted; ``everything`` when the server stops."""
        await self._recorder.flush(everything=everything)

    async def _session_stage(self, stage: Stage, session: Session) -> Reply | None:
        _count_lookups(session)
        judgement = await self._judge.judge(stage, self._judge.for_server(), session=session)
        session.judgements[stage] = judgement
        refusal = refusal_of(judgement.verdict)
        return None if refusal is None else await self._recorder.refused(session, None, refusal, stage)

    # -- the message --------------------------------------------------------------------------------------------

    async def data(self, tx: Transaction, content: Content) -> list[Reply]:
        """Judges the message for each tenant, makes each recipient's copies, files them all, and answers."""
        content = set_apart(content)
        tx.message = Message(content)
        _count_lookups(tx.session)
        groups = group_recipients(tx)
        nul = await holds_nul(content)
        unfit = NUL_REFUSED if nul and self._judge.refuses_nul else _unfit(content)
        if unfit is not None:
            return await self._refuse_all(tx, groups, unfit)

        await self._judge_groups(groups)
        if nul:
            content = NulFree(content)  # hooks see the message as it came, for signatures are over that
        received = self._clock.now()
        served: set[str] = set()
        await together(self._prepare(group, content, received, served) for group in groups)
        one_reply_for_all = tx.session.door is not Door.LMTP
        if one_reply_for_all:
            everybody = [each for group in groups for each in group.dispositions]
            refusal = combined_refusal(everybody)
            if refusal is not None:
                return await self._refuse_all(tx, groups, refusal)
            try:
                await self._quarantine_refused(groups, content, received)
            except StoreError as error:
                return await self._not_filed(tx, groups, error)

        return await self._file(tx, groups, content, received)

    async def _judge_groups(self, groups: list[Group]) -> None:
        """Runs each tenant's ``data`` plan on its own; what does not depend on the tenant is found out once."""
        memo = Memo()

        async def judge(group: Group) -> None:
            judgement = await self._judge.judge(Stage.DATA, group.policy, memo=memo, tx=group.transaction)
            group.judgements.append(judgement)
            apply_verdict(group, judgement.verdict)
            if isinstance(judgement.verdict, Redirect):
                await self._recipients.redirect(group, judgement.verdict.to)
            await self._recipients.apply_edits(group, judgement.edits)

        await together(judge(group) for group in groups)

    async def _prepare(self, group: Group, content: Content, received: float, served: set[str]) -> None:
        """Makes the tenant's version of the message and its recipients' copies, through ``store`` and ``deliver``."""
        try:
            edits = [edit for judgement in group.judgements for edit in judgement.edits]
            group.content = edited(content, edits)
            await self._copies.make(group, served, received)
        except (ValueError, FlagError) as error:
            # A plugin asked for what no header or flag can be: its author must hear of it, and nothing is lost.
            self._log.error("edit_impossible", id=group.transaction.id, tenant=group.tenant_name, error=str(error))
            apply_verdict(group, _LATER)
        except StoreError as error:
            about = {"id": group.transaction.id, "tenant": group.tenant_name}
            self._log.error("delivery_not_prepared", **about, error=str(error))
            self._destinations.forget()
            apply_verdict(group, _LATER)
        # A defect of ours, or of a plugin that came through all checks: it must not cost other tenants their mail.
        except Exception:  # noqa: BLE001
            self._log.error("delivery_not_prepared", id=group.transaction.id, tenant=group.tenant_name, exc_info=True)
            apply_verdict(group, _LATER)

    async def _quarantine_refused(self, groups: list[Group], content: Content, received: float) -> None:
        """Somebody takes the message, so it gets a 250: the others' copies are quarantined, for nobody is bounced."""
        for group in groups:
            if any(each.refusal is not None for each in group.dispositions):
                group.content = group.content or content
                await self._copies.quarantine_refused(group, received)

    async def _file(self, tx: Transaction, groups: list[Group], content: Content, received: float) -> list[Reply]:
        positive = self._judge.with_id(Reply(250, "2.0.0", "OK"), tx.id)
        records = self._recorder.judged(tx, groups, positive)
        try:
            # From here on we owe a delivery.
            placed = await self._ingest.accept(Accepted(self._messages(groups, received), tuple(records)))
        except InboxError as error:
            return await self._not_filed(tx, groups, error)
        self._tell(tx, groups, content.size, [place.already for places in placed for place in places if place.already])
        return _replies(self._judge, tx, groups, positive)

    def _messages(self, groups: list[Group], received: float) -> tuple[AcceptedMessage, ...]:
        """Copies of one tenant that share a content share a blob."""
        messages: list[AcceptedMessage] = []
        new_id, now = self._ids.new, self._clock.now()
        for group in groups:
            by_content: dict[int, tuple[Content, list[Copy]]] = {}
            for disposition in group.dispositions:
                # LMTP: a refused recipient has no copy, though one was made before its tenant's hooks failed.
                for content, copy in disposition.copies if disposition.refusal is None else ():
                    by_content.setdefault(id(content), (content, []))[1].append(copy)
            results = _results(group.transaction.facts)
            messages += [
                AcceptedMessage(new_id(), group.tenant, content, tuple(copies), received, now, *results)
                for content, copies in by_content.values()
            ]
        return tuple(messages)

    def _tell(self, tx: Transaction, groups: list[Group], size: int, known: list[AlreadyFiled]) -> None:
        """One line in the log for what was taken; over LMTP, one more for each recipient that was refused. ``known``
        are the copies that were recognised as retries."""
        everybody = [each for group in groups for each in group.dispositions]
        refused = [each for each in everybody if each.refusal is not None]
        if len(refused) < len(everybody):
            outcome = "/".join(sorted({each.outcome for each in everybody}))
            taken = [each.recipient for each in everybody if each.refusal is None]
            about = whom([str(each.address) for each in taken], [each.tenant_name for each in taken])
            fields = {"sender": str(tx.sender or ""), **about, "size": size, "peer": str(tx.session.peer)}
            if known:
                fields["already_filed"] = [
                    f"{one.recipient} as {one.transaction} in {one.mailbox}" for one in known[:LOGGED_RECIPIENTS]
                ]
            self._log.info("accepted", id=tx.id, outcome=outcome, **fields)
        for each in refused:
            assert each.refusal is not None, "chosen so"
            to, tenant = (str(each.recipient.address),), (each.recipient.tenant_name,)
            self._recorder.tell(tx.id, tx.session, tx, each.refusal, Stage.DATA, to, tenant)

    async def _not_filed(self, tx: Transaction, groups: list[Group], error: InboxError) -> list[Reply]:
        """Nothing was promised and nothing was filed: the client is asked to come again."""
        about = whom([str(recipient.address) for recipient in tx.recipients], _tenants(groups))
        self._log.error("message_not_filed", id=tx.id, **about, error=str(error))
        self._destinations.forget()
        return await self._refuse_all(tx, groups, TROUBLE if error.code >= 500 else Reply.of(error))

    async def _refuse_all(self, tx: Transaction, groups: list[Group], refusal: Reply) -> list[Reply]:
        """Refuses whatever was not refused before, and records it."""
        for group in groups:
            for disposition in group.dispositions:
                disposition.refusal = disposition.refusal or refusal
        reply = await self._recorder.refused_message(tx, groups, refusal)
        return [reply] * (len(tx.recipients) if tx.session.door is Door.LMTP else 1)


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Waits for all of it, at once; most messages have one recipient's worth, which needs no task of its own."""
    pieces = list(work)
    if len(pieces) == 1:
        await pieces[0]
    else:
        await asyncio.gather(*pieces)


def _tenants(groups: Iterable[Group]) -> list[str]:
    return [group.tenant_name for group in groups]


def _count_lookups(session: Session) -> None:
    """Slow DNS look-ups of this task count for the session's message and its peer's network."""
    if session.lookups is None:
        session.lookups = Lookups(network(session.peer))
    work_for(session.lookups)


def _unfit(content: Content) -> Reply | None:
    """What is wrong with the header section, whoever the message is for."""
    block, _ = header_block(content)
    if is_too_long(block, content.size):
        return HEADER_TOO_LONG
    return LOOP if count_received(block) > MAX_RECEIVED else None


def _results(facts: Facts) -> tuple[str | None, str | None, str | None]:
    """What the mail's record keeps of who it is from: the results of SPF, DKIM and DMARC."""
    spf, dkim, dmarc = facts.get(SpfFact), facts.get(DkimFact), facts.get(DmarcFact)
    return (
        None if spf is None else spf.result.value,
        None if dkim is None else dkim.result.value,
        None if dmarc is None else dmarc.result.value,
    )


def _replies(judge: Judge, tx: Transaction, groups: list[Group], positive: Reply) -> list[Reply]:
    if tx.session.door is not Door.LMTP:
        return [positive]
    by_recipient = {id(each.recipient): each for group in groups for each in group.dispositions}
    replies = []
    for recipient in tx.recipients:
        refusal = by_recipient[id(recipient)].refusal
        replies.append(positive if refusal is None else judge.with_id(refusal, tx.id))
    return replies
