"""The stages of an inbound message, from the connection to the mailbox.

Each method is a stage: it asks the hooks and answers the server. :meth:`Pipeline.data` hands the whole message to
``inbox.flow.accept``, which judges and stores messages from every door.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from inbox.base.clock import Clock
from inbox.base.errors import PolicyError, StoreError
from inbox.base.ids import Ids
from inbox.dns.lookups import Lookups, network, work_for
from inbox.flow.accept import NOT_AUTHORED, Acceptance, Answered, Authored, Incoming
from inbox.flow.door_rules import LMTP, SMTP, SUBMISSION, DoorRules
from inbox.flow.edits import set_apart
from inbox.flow.envelope import Envelope, NotAdmitted
from inbox.flow.judge import WHY_LENGTH, Judge
from inbox.flow.recipients import Recipients
from inbox.flow.recording import LOGGED_RECIPIENTS, Recorder, whom
from inbox.flow.replies import refusal_of
from inbox.flow.shares import Disposition
from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Recipient, Session, Transaction
from inbox.plugin.api.facts import Facts
from inbox.plugin.api.services import Log
from inbox.policy.stages import Stage

_RULES: Final[Mapping[Door, DoorRules]] = {Door.LMTP: LMTP, Door.SUBMISSION: SUBMISSION, Door.API: SUBMISSION}


class Pipeline:
    """``Receiving`` of ``inbox.flow.ports``: judges messages and stores those that are accepted."""

    def __init__(
        self,
        judge: Judge,
        recipients: Recipients,
        acceptance: Acceptance,
        recorder: Recorder,
        clock: Clock,
        ids: Ids,
        log: Log,
    ) -> None:
        self._judge = judge
        self._recipients = recipients
        self._acceptance = acceptance
        self._recorder = recorder
        self._clock = clock
        self._ids = ids
        self._log = log

    # -- before the message -------------------------------------------------------------------------------------

    async def connect(self, session: Session) -> Reply | None:
        """Runs the ``connect`` hooks, before the banner."""
        return await self._session_stage(Stage.CONNECT, session)

    async def helo(self, session: Session) -> Reply | None:
        """Runs the ``helo`` hooks."""
        return await self._session_stage(Stage.HELO, session)

    async def mail(
        self, session: Session, sender: Address | None, params: dict[str, str]
    ) -> tuple[Reply, Envelope | None]:
        """Runs the ``mail`` hooks; returns a new envelope if none of them refuses."""
        session.lookups = None
        _count_lookups(session)
        # A session of the API is for one message, and its id is that of the request.
        name = session.id if session.door is Door.API else self._ids.new()
        tx = Transaction(name, session, sender, params, started_at=self._clock.now(), facts=Facts(session.facts))
        judgement = await self._judge.judge(Stage.MAIL, self._judge.for_server(), tx=tx)
        tx.judgements[Stage.MAIL] = judgement
        refusal = refusal_of(judgement.verdict)
        if refusal is not None:
            return await self._recorder.refused(session, tx, refusal, Stage.MAIL), None
        return Reply(250, "2.1.0", "Sender ok"), Envelope(tx)

    async def rcpt(self, envelope: Envelope, address: Address, notify: frozenset[str], orcpt: str | None) -> Reply:
        """Finds the tenant, runs its ``rcpt`` hooks, and refuses recipients for whom no plugin found an account."""
        tx, recipient = envelope.transaction, Recipient(address, notify=notify, orcpt=orcpt)
        _count_lookups(tx.session)
        try:
            admitted = await self._recipients.admit(envelope, recipient)
        except (StoreError, PolicyError) as error:
            about = {"id": tx.id, "address": str(address), "tenant": recipient.tenant_name}
            self._log.error("recipient_not_looked_up", **about, error=str(error)[:WHY_LENGTH])
            admitted = NotAdmitted(Reply.of(error), why=str(error))
        if isinstance(admitted, NotAdmitted):
            return await self._recorder.not_admitted(tx, recipient, admitted)
        envelope.recipients.append(admitted)
        return Reply(250, "2.1.5", "Recipient ok")

    async def refused(self, session: Session, envelope: Envelope | None, reply: Reply, stage: str) -> Reply:
        """Records a refusal by the server itself."""
        tx = None if envelope is None else envelope.transaction
        return await self._recorder.refused(session, tx, reply, Stage(stage))

    async def flush(self, *, everything: bool = False) -> None:
        """Writes the counts of refusals; ``everything`` when the server stops."""
        await self._recorder.flush(everything=everything)

    async def _session_stage(self, stage: Stage, session: Session) -> Reply | None:
        _count_lookups(session)
        judgement = await self._judge.judge(stage, self._judge.for_server(), session=session)
        session.judgements[stage] = judgement
        refusal = refusal_of(judgement.verdict)
        return None if refusal is None else await self._recorder.refused(session, None, refusal, stage)

    # -- the message --------------------------------------------------------------------------------------------

    def accepted(self, transaction: str) -> Reply:
        """The reply to a message that a transaction accepted."""
        return self._judge.with_id(Reply(250, "2.0.0", "OK"), transaction)

    async def data(
        self,
        envelope: Envelope,
        content: Content,
        authored: Authored = NOT_AUTHORED,
    ) -> list[Reply]:
        """Judges and stores the message; one reply, or over LMTP one for each recipient.

        The reply is ``KEY_IN_USE`` if a stored message has the idempotency key of ``authored``.
        """
        tx = envelope.transaction
        _count_lookups(tx.session)
        rules = _RULES.get(tx.session.door, SMTP)
        incoming = Incoming(envelope, set_apart(content), rules, self.accepted(tx.id), authored=authored)
        answered = await self._acceptance.accept(incoming)
        if answered.reply.positive:
            self._log_accepted(tx, answered, content.size)
        return self._replies(envelope, answered) if rules.answers_each_recipient else [answered.reply]

    def _replies(self, envelope: Envelope, answered: Answered) -> list[Reply]:
        if not answered.reply.positive:
            return [answered.reply] * len(envelope.recipients)
        by_recipient = {id(each.recipient): each.refusal for each in _everybody(answered)}
        replies = []
        for admitted in envelope.recipients:
            refusal = by_recipient[id(admitted.recipient)]
            with_id = answered.reply if refusal is None else self._judge.with_id(refusal, envelope.transaction.id)
            replies.append(with_id)
        return replies

    def _log_accepted(self, tx: Transaction, answered: Answered, size: int) -> None:
        """Logs the accepted message in one line; over LMTP, also each refused recipient."""
        # A recipient elsewhere has no tenant; the share's is the sender's.
        tenants = [(share.tenant_name, each) for share in answered.shares for each in share.dispositions]
        everybody = [each for _, each in tenants]
        taken = [(name, each) for name, each in tenants if each.refusal is None]
        if taken:
            outcome = "/".join(sorted({each.outcome for each in everybody}))
            about = whom([str(each.recipient.address) for _, each in taken], [name for name, _ in taken])
            fields = {"sender": str(tx.sender or ""), **about, "size": size, "peer": str(tx.session.peer)}
            retries = [place.already for place in answered.placed if place.already is not None]
            if retries:
                fields["already_filed"] = [
                    f"{one.recipient} as {one.transaction} in {one.mailbox}" for one in retries[:LOGGED_RECIPIENTS]
                ]
            self._log.info("accepted", id=tx.id, outcome=outcome, **fields)
        for name, each in tenants:
            if each.refusal is not None:
                to = (str(each.recipient.address),)
                self._recorder.log_refusal(tx.id, tx.session, tx, each.refusal, Stage.DATA, to, (name,))


def _everybody(answered: Answered) -> Iterator[Disposition]:
    for share in answered.shares:
        yield from share.dispositions


def _count_lookups(session: Session) -> None:
    """Counts slow DNS look-ups of this task against the session's message and its peer's network."""
    if session.lookups is None:
        session.lookups = Lookups(network(session.peer))
    work_for(session.lookups)
