"""The one way in: every door judges and stores a message through :meth:`Acceptance.accept`.

A message is judged separately for each tenant. Each step takes the shares of the tenants and returns new ones, until
each recipient is refused or has its destinations; then everything is stored in one transaction. Before that nothing
is promised; after it, the server is responsible for delivery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from inbox.base.errors import InboxError, KeyTaken, StoreError
from inbox.base.limits import MAX_RECEIVED
from inbox.flow.deliveries import Deliveries
from inbox.flow.destinations import SENT, IntoMailbox
from inbox.flow.door_rules import DoorRules
from inbox.flow.edits import holds_nul
from inbox.flow.envelope import Envelope
from inbox.flow.forwarding import Forwarding
from inbox.flow.judge import Judge
from inbox.flow.local_delivery import LocalDelivery
from inbox.flow.mailbox_finder import MailboxFinder
from inbox.flow.outbound.handover import Handover
from inbox.flow.outbound.late_reports import LateReports
from inbox.flow.recipients import Recipients
from inbox.flow.recording import Recorder, whom
from inbox.flow.replies import HEADER_TOO_LONG, KEY_IN_USE, LOOP, NUL_REFUSED, TROUBLE
from inbox.flow.shares import (
    Disposition,
    TenantShare,
    after_verdict,
    combined_refusal,
    into_junk,
    is_refused,
    quarantined,
    refused,
    served_once,
    split,
    view_for,
)
from inbox.flow.submission.permission import SendAs
from inbox.flow.trace import count_received
from inbox.mail.address import Address
from inbox.mail.content import Content, PrefixedContent
from inbox.mail.flags import Flag
from inbox.mail.headers import is_too_long
from inbox.mail.message import Message
from inbox.mail.nul import NulFree
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Recipient
from inbox.plugin.api.services import Log
from inbox.plugin.engine.dispatcher import Memo
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import AddRecipient, Discard, DropRecipient, Quarantine, Redirect, Reject, Verdict
from inbox.store.ports.idempotency import IdempotencyKey
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Ingest
from inbox.store.ports.messages import Placed


class SentCopy(msgspec.Struct, frozen=True):
    """A copy for the user who submits the message, or for the shared inbox in whose name it is sent.

    Attributes:
        account: the address of the account or shared inbox.
        domain: its hosted domain.
        policy: in force for the account.
        hidden: the header fields that only the author may see (Bcc), with their line ends.
        shared: the permission to send as a shared inbox.
    """

    account: str
    domain: HostedDomain
    policy: EffectivePolicy
    hidden: bytes = b""
    shared: SendAs | None = None


class Authored(msgspec.Struct, frozen=True):
    """Choices of the author of a submitted message.

    Attributes:
        sent: the copy that the author keeps; None: the server stores none.
        key: the author's idempotency key.
        hides_client: Received omits the author's computer.
        tags: stored with the message of the author's tenant.
    """

    sent: SentCopy | None = None
    key: IdempotencyKey | None = None
    hides_client: bool = False
    tags: tuple[str, ...] = ()


#: Of a message from outside.
NOT_AUTHORED: Final = Authored()


class Incoming(msgspec.Struct, frozen=True):
    """A whole message at a door.

    Attributes:
        positive: the reply if the message is accepted.
        internal_date: seconds since the epoch; None: now.
        authored: of a submitted message.
    """

    envelope: Envelope
    content: Content
    rules: DoorRules
    positive: Reply
    internal_date: float | None = None
    authored: Authored = NOT_AUTHORED


class Answered(msgspec.Struct, frozen=True):
    """The result: ``reply`` is positive and the message is durable, or it refuses the message for all recipients.

    ``placed`` are the copies in the order of the recipients. ``error`` is the reason if storing failed.
    """

    shares: list[TenantShare]
    reply: Reply
    placed: list[Placed]
    error: InboxError | None = None


class Acceptance:
    """Judges messages and stores what is accepted."""

    def __init__(
        self,
        judge: Judge,
        recipients: Recipients,
        local: LocalDelivery,
        mailboxes: MailboxFinder,
        deliveries: Deliveries,
        ingest: Ingest,
        recorder: Recorder,
        log: Log,
        forwarding: Forwarding,
        handover: Handover | None = None,
        reports: LateReports | None = None,
    ) -> None:
        self._judge = judge
        self._recipients = recipients
        self._local = local
        self._mailboxes = mailboxes
        self._deliveries = deliveries
        self._ingest = ingest
        self._recorder = recorder
        self._log = log
        self._forwarding = forwarding
        self._handover = handover or Handover()
        self._reports = reports

    async def accept(self, incoming: Incoming) -> Answered:
        """Judges the message for each tenant, finds each recipient's destinations, stores it, or refuses it.

        Never raises because of a plugin or a store.
        """
        rules, content = incoming.rules, incoming.content
        message = incoming.envelope.transaction.message = Message(content)
        shares = split(incoming.envelope, content, hides_client=incoming.authored.hides_client)
        nul = await holds_nul(content)
        unfit = NUL_REFUSED if nul and self._judge.refuses_nul else _unfit(message, rules)
        if unfit is not None:
            return await self._refuse(incoming, shares, unfit)

        memo = Memo()
        author = _author_tenant(incoming.envelope)
        shares = await _each(shares, lambda share: self._judged(share, rules, memo, author))
        if nul:  # hooks see the message as received, because signatures cover that
            shares = [replace(share, content=NulFree(content)) for share in shares]
        shares = await _each(shares, lambda share: self._prepared(share, rules))
        if len(shares) > 1:
            shares = served_once(shares)

        if not rules.answers_each_recipient:
            refusal = combined_refusal(shares, author)
            if refusal is not None:
                return await self._refuse(incoming, shares, refusal)
            try:
                shares = await self._quarantined(shares)
                if incoming.authored.sent is not None:
                    shares = await self._with_sent(incoming, incoming.authored.sent, shares)
            except StoreError as error:
                return await self._not_stored(incoming, shares, error)
        return await self._store(incoming, shares)

    async def _judged(self, share: TenantShare, rules: DoorRules, memo: Memo, author: str) -> TenantShare:
        """Runs the tenant's ``data`` plan; results that do not depend on the tenant are computed once (``memo``)."""
        judgement = await self._judge.judge(Stage.DATA, share.policy, memo=memo, tx=share.transaction)
        share = replace(share, judgements=(*share.judgements, judgement))
        # A tenant's quarantine is hidden from users of other tenants, too.
        withholds = rules.withholds or share.tenant != author
        verdict = judgement.verdict if withholds else _open(judgement.verdict)
        if is_refused(verdict):
            return after_verdict(share, verdict)
        if rules.client_names_mailbox:
            return replace(share, overruled=_overruled(judgement))
        share = await self._recipients.changed(share, judgement)
        if judgement.action.junk:
            share = into_junk(share)
        return after_verdict(share, verdict)

    async def _prepared(self, share: TenantShare, rules: DoorRules) -> TenantShare:
        return await self._forwarding.prepare(await self._local.prepare(share, rules))

    async def _quarantined(self, shares: Sequence[TenantShare]) -> list[TenantShare]:
        """Quarantines the copies that are refused: another recipient accepts, so the reply is positive.

        Raises:
            StoreError: the quarantine cannot be found.
        """
        return [
            await self._local.found(quarantined(share))
            if any(each.refusal is not None for each in share.dispositions)
            else share
            for share in shares
        ]

    async def _with_sent(self, incoming: Incoming, sent: SentCopy, shares: list[TenantShare]) -> list[TenantShare]:
        """Adds the author's copy to the share of its tenant, or as a share of its own. No hook judges it.

        Raises:
            StoreError: the mailbox cannot be found.
        """
        tenant = sent.domain.tenant
        recipient = Recipient(Address.parse(sent.account), tenant.id, tenant.name)
        own = next((share for share in shares if share.tenant == tenant.id), None)
        if own is None:
            view = view_for(incoming.envelope.transaction, tenant, [])
            own = TenantShare(sent.domain, view, sent.policy, incoming.content, ())
            shares = [*shares, own]
        content = PrefixedContent(sent.hidden, own.content) if sent.hidden else None
        into = IntoMailbox(sent.account, SENT, Flag.SEEN, content=content, traced=False)
        copy = await self._local.found(replace(own, dispositions=(Disposition(recipient, (into,)),)))
        added = replace(own, dispositions=(*own.dispositions, *copy.dispositions))
        return [added if share is own else share for share in shares]

    async def _store(self, incoming: Incoming, shares: list[TenantShare]) -> Answered:
        tx = incoming.envelope.transaction
        if self._reports is not None:
            try:
                await self._reports.read(shares, incoming.content)
            except InboxError as error:
                return await self._not_stored(incoming, shares, error)
        sent, key = incoming.authored.sent, incoming.authored.key
        shared = None if sent is None else sent.shared
        traced = incoming.rules.adds_trace
        messages = self._deliveries.messages(
            tx, shares, incoming.internal_date, traced=traced, shared=shared, idempotency_key=key
        )
        if incoming.authored.tags:
            messages = _tagged(messages, incoming)
        messages = tuple([self._handover.leased(message) for message in messages])
        records = self._recorder.judged(tx, shares, incoming.positive)
        try:
            # From here on the server is responsible for delivery.
            placed = await self._ingest.accept(Accepted(messages, tuple(records), key))
        except KeyTaken as error:
            return Answered(shares, KEY_IN_USE, [], error)
        except InboxError as error:
            return await self._not_stored(incoming, shares, error)
        self._handover.take(messages)
        self._recorder.accepted(tx, shares, records, incoming.positive)
        return Answered(shares, incoming.positive, [place for places in placed for place in places])

    async def _not_stored(self, incoming: Incoming, shares: list[TenantShare], error: InboxError) -> Answered:
        """Defers the message: nothing was promised and nothing was stored."""
        tx = incoming.envelope.transaction
        about = whom(
            [str(each.recipient.address) for each in incoming.envelope.recipients],
            [share.tenant_name for share in shares],
        )
        self._log.error("message_not_filed", id=tx.id, **about, error=str(error))
        self._mailboxes.forget()
        refusal = TROUBLE if error.code >= 500 else Reply.of(error)
        return replace(await self._refuse(incoming, shares, refusal), error=error)

    async def _refuse(self, incoming: Incoming, shares: list[TenantShare], refusal: Reply) -> Answered:
        """Refuses all recipients that were not refused before, and records it."""
        shares = [refused(share, refusal) for share in shares]
        reply = await self._recorder.refused_message(incoming.envelope, shares, refusal)
        return Answered(shares, reply, [])


async def _each(shares: list[TenantShare], work: Callable[[TenantShare], Awaitable[TenantShare]]) -> list[TenantShare]:
    """Runs ``work`` for all tenants concurrently; most messages have one tenant, which needs no task of its own."""
    if len(shares) == 1:
        return [await work(shares[0])]
    return list(await asyncio.gather(*(work(share) for share in shares)))


def _tagged(messages: tuple[AcceptedMessage, ...], incoming: Incoming) -> tuple[AcceptedMessage, ...]:
    """The messages with the author's tags, which other tenants do not see."""
    author, tags = _author_tenant(incoming.envelope), incoming.authored.tags
    return tuple([replace(each, tags=tags) if each.tenant == author else each for each in messages])


def _author_tenant(envelope: Envelope) -> str:
    """The id of the tenant whose user submits the message; empty for a message from outside."""
    identity = envelope.transaction.session.identity
    return "" if identity is None else identity.tenant


def _unfit(message: Message, rules: DoorRules) -> Reply | None:
    """The refusal of an invalid header section, for all recipients; None if it is valid."""
    block = message.headers.block
    if is_too_long(block, message.size):
        return HEADER_TOO_LONG  # plugins cannot judge what they cannot see, and a mail client would show it
    return LOOP if rules.adds_trace and count_received(block) > MAX_RECEIVED else None


def _open(verdict: Verdict) -> Verdict:
    """The verdict at a door whose client learns of every refusal."""
    match verdict:
        case Quarantine(reason) | Discard(reason):
            return Reject(550, "5.7.1", reason or "Refused by policy")
    return verdict


def _overruled(judgement: StageOutcome) -> tuple[str, ...]:
    """The actions that plugins asked for at ``data``, and that the client's choice of the mailbox overrules."""
    asked = [f"Redirect {judgement.verdict.to}"] if isinstance(judgement.verdict, Redirect) else []
    asked += ["threshold junk"] if judgement.action.junk else []
    asked += [
        f"{type(edit).__name__} {edit.address}"
        for edit in judgement.edits
        if isinstance(edit, AddRecipient | DropRecipient)
    ]
    return tuple(asked)
