"""IMAP APPEND: a message that its owner puts into a mailbox goes through the same hooks as any other.

What the client gave is stored as it is: header edits are for mail that comes from outside. A verdict that would
quarantine or discard refuses, for its owner is there to be told.
"""

from __future__ import annotations

from inbox.base.clock import Clock
from inbox.base.errors import AuthenticationFailed, InboxError, PolicyError
from inbox.base.ids import Ids
from inbox.flow.edits import holds_nul
from inbox.flow.judge import Case, Judge
from inbox.flow.recording import Recorder
from inbox.flow.replies import HEADER_TOO_LONG, NUL_REFUSED, outcome_of, refusal_of
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address
from inbox.mail.content import Content, MemoryContent
from inbox.mail.headers import header_block, is_too_long
from inbox.mail.message import Message
from inbox.mail.nul import NulFree
from inbox.mail.reply import Reply
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.context import Delivery, Identity, Recipient, Session, Transaction
from inbox.plugin.api.facts import Facts
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Discard, Quarantine, Transform, Verdict
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Copy, Ingest
from inbox.store.ports.messages import Placed


class Refused(InboxError):
    """A hook refused the message; ``said`` is what it told the client."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.code} {reply.enhanced} {reply.text}")
        self.code, self.status, self.said = reply.code, reply.enhanced, reply.text


class MailboxAppending:
    """``Appending`` of ``inbox.flow.doors``."""

    def __init__(
        self, judge: Judge, directory: AddressDirectory, ingest: Ingest, recorder: Recorder, clock: Clock, ids: Ids
    ) -> None:
        self._judge = judge
        self._directory = directory
        self._ingest = ingest
        self._recorder = recorder
        self._clock = clock
        self._ids = ids

    async def append(
        self,
        session: Session,
        mailbox: Mailbox,
        content: Content,
        flags: int,
        keywords: tuple[str, ...],
        internal_date: float | None,
    ) -> Placed:
        """Judges and files one message; see the protocol."""
        identity = session.identity
        if identity is None or mailbox.account != identity.account or mailbox.organization != identity.tenant:
            raise AuthenticationFailed("a message was appended to a mailbox of somebody else")
        owner = Address.parse(identity.address)
        domain = await self._directory.domain(owner.domain)
        if domain is None or domain.organization.id != identity.tenant:
            raise AuthenticationFailed(f"{owner.domain} is not hosted any more")
        tx = self._transaction(session, identity, owner, content)
        nul = await self._check(tx, content)
        try:
            policy = self._judge.for_recipient(domain, owner.key)
        except PolicyError as error:
            raise await self._refused(tx, [], Reply.of(error), str(error)) from error
        stored, judgements = await self._judged(tx, identity, policy, mailbox.name)
        if nul:
            stored = NulFree(stored)
        now = self._clock.now()
        message = AcceptedMessage(
            self._ids.new(),
            identity.tenant,
            stored,
            (Copy(mailbox.id, flags, keywords),),
            internal_date if internal_date is not None else now,
            now,
            recognise=False,
        )
        record = self._record(tx, judgements, Reply(250, "2.0.0", "Appended"))
        placed = await self._ingest.accept(Accepted((message,), (record,)))
        return placed[0][0]

    async def _check(self, tx: Transaction, content: Content) -> bool:
        """Whether the message has NUL characters that are to be replaced. Raises Refused.

        The bound on header sections is the same at all doors: beyond it, fields would be hidden from the hooks.
        """
        nul = await holds_nul(content)
        if nul and self._judge.refuses_nul:
            raise await self._refused(tx, [], NUL_REFUSED)
        block, _ = header_block(content)
        if is_too_long(block, content.size):
            raise await self._refused(tx, [], HEADER_TOO_LONG)
        return nul

    def _transaction(self, session: Session, identity: Identity, owner: Address, content: Content) -> Transaction:
        """The owner writes to itself."""
        return Transaction(
            self._ids.new(),
            session,
            owner,
            {},
            [Recipient(owner, identity.tenant, identity.tenant_name)],
            Message(content),
            identity.tenant,
            identity.tenant_name,
            self._clock.now(),
            Facts(session.facts),
        )

    async def _judged(
        self, tx: Transaction, identity: Identity, policy: EffectivePolicy, mailbox: str
    ) -> tuple[Content, list[StageOutcome]]:
        """What is to be stored, and what the hooks said. Raises Refused."""
        assert tx.message is not None, "made with its message"
        stored: Content = tx.message.content
        delivery = Delivery(tx, tx.recipients[0], account=identity.address, mailbox=mailbox, facts=Facts(tx.facts))
        judgements: list[StageOutcome] = []
        for stage, arguments in (
            (Stage.DATA, {"tx": tx}),
            (Stage.STORE, {"delivery": delivery}),
            (Stage.DELIVER, {"delivery": delivery}),
        ):
            judgement = await self._judge.judge(stage, policy, **arguments)
            judgements.append(judgement)
            refusal = _refusal(judgement.verdict)
            if refusal is not None:
                raise await self._refused(tx, judgements, refusal)
            for edit in judgement.edits:
                if isinstance(edit, Transform):
                    stored = MemoryContent(edit.content)
        return stored, judgements

    async def _refused(self, tx: Transaction, judgements: list[StageOutcome], refusal: Reply, why: str = "") -> Refused:
        """Records a refusal; returns what is to be raised. ``why`` is for the operator."""
        reply = self._judge.with_id(refusal, tx.id)
        await self._recorder.write([self._record(tx, judgements, reply, why)])
        return Refused(reply)

    def _record(self, tx: Transaction, judgements: list[StageOutcome], reply: Reply, why: str = "") -> DecisionRecord:
        case = Case(
            tx.id,
            tx.session,
            tx,
            tx.tenant,
            tx.tenant_name,
            self._clock.now(),
            judgements,
            outcome_of(reply),
            reply,
            (str(tx.recipients[0].address),),
            Stage.DATA,
            why,
        )
        return self._judge.record(case)


def _refusal(verdict: Verdict) -> Reply | None:
    match verdict:
        case Quarantine(reason) | Discard(reason):
            return Reply(550, "5.7.1", reason or "Refused by policy")
    return refusal_of(verdict)
