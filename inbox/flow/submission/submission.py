"""The stages of a submitted message: those of :class:`~inbox.flow.pipeline.Pipeline`, and the duties of RFC 6409.

The account must own the sender addresses, the message is completed, and it must keep the limits of submission. The
pipeline then judges it: recipients whom this server hosts get their copies immediately, others become jobs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import Final, NamedTuple

from inbox.base.clock import Clock
from inbox.base.errors import InboxError, StoreError, StoreUnavailable
from inbox.base.ids import Ids
from inbox.flow.accept import Authored, SentCopy
from inbox.flow.destinations import Relay
from inbox.flow.envelope import Envelope
from inbox.flow.judge import Judge
from inbox.flow.pipeline import Pipeline
from inbox.flow.replies import HEADER_TOO_LONG, KEY_IN_USE, TROUBLE
from inbox.flow.submission.idempotency import Idempotency, key_in, named, refusal_of_key
from inbox.flow.submission.limits import Limits
from inbox.flow.submission.permission import SendAs
from inbox.flow.submission.relaying import policy_of
from inbox.flow.submission.repairs import hidden_fields, repaired
from inbox.flow.submission.senders import Senders
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.headers import Headers, header_block, is_too_long
from inbox.mail.release import release_time
from inbox.mail.reply import Reply
from inbox.mail.sevenbit import in_seven_bits
from inbox.plugin.api.context import Identity, Session, Transaction
from inbox.plugin.api.services import Log
from inbox.policy.submission import SubmissionPolicy
from inbox.store.ports import IdempotencyKey

_LOGIN_FIRST: Final = Reply(530, "5.7.0", "Authentication required")
#: RFC 3463 §3.4: X.3.3, the system is not capable of the selected feature.
_NOT_HELD: Final = Reply(
    550, "5.3.3", "Mail to this domain is delivered at once and cannot be held, send it without HOLDFOR and HOLDUNTIL"
)
#: RFC 6758: priority-value [CFWS].
_PRIORITY: Final = re.compile(rb"\s*(-?[1-9]|0)\s*(?:\([^()]*\)\s*)?\Z")


class Submitted(NamedTuple):
    """The answer to a submission.

    ``transaction`` is the id under which ``inbox explain`` finds the message: that of the first submission if it was
    accepted before with the same idempotency key.
    """

    reply: Reply
    transaction: str


class Submission:
    """``Receiving`` of ``inbox.flow.ports`` for users who are logged in."""

    def __init__(
        self,
        pipeline: Pipeline,
        judge: Judge,
        directory: AddressDirectory,
        senders: Senders,
        limits: Limits,
        idempotency: Idempotency,
        server_name: str,
        clock: Clock,
        ids: Ids,
        log: Log,
    ) -> None:
        self._pipeline = pipeline
        self._judge = judge
        self._directory = directory
        self._senders = senders
        self._limits = limits
        self._idempotency = idempotency
        self._server_name = server_name
        self._clock = clock
        self._ids = ids
        self._log = log
        self.connect = pipeline.connect
        self.helo = pipeline.helo
        self.refused = pipeline.refused

    async def mail(
        self, session: Session, sender: Address | None, params: dict[str, str]
    ) -> tuple[Reply, Envelope | None]:
        """Refuses a sender that does not belong to the account; otherwise as the pipeline."""
        if session.identity is None:
            return await self.refused(session, None, _LOGIN_FIRST, "mail"), None
        identity = session.identity
        refusal = await self._checked(session, self._senders.refusal_of_sender(identity, sender))
        if refusal is None and (size := params.get("SIZE")):
            refusal = await self._checked(session, self._limits.refusal_of_size(identity, int(size)))
        if refusal is not None:
            return await self.refused(session, None, refusal, "mail"), None
        return await self._pipeline.mail(session, sender, params)

    async def rcpt(self, envelope: Envelope, address: Address, notify: frozenset[str], orcpt: str | None) -> Reply:
        """As the pipeline; recipients whom this server does not host are allowed, up to the domain's quota."""
        tx = envelope.transaction
        refusal = await self._checked(tx.session, self._limits.refusal_of_recipient(_identity(tx.session), envelope))
        if refusal is not None:
            return await self.refused(tx.session, envelope, refusal, "rcpt")
        reply = await self._pipeline.rcpt(envelope, address, notify, orcpt)
        if reply.positive and release_time(tx.params, tx.started_at) > self._clock.now():
            if all(isinstance(each, Relay) for each in envelope.recipients[-1].destinations):
                return reply
            envelope.recipients.pop()
            return await self.refused(tx.session, envelope, _NOT_HELD, "rcpt")
        return reply

    async def data(self, envelope: Envelope, content: Content) -> list[Reply]:
        """Checks and completes the message, then judges and stores it; one reply."""
        return [(await self.submit(envelope, content)).reply]

    async def submit(self, envelope: Envelope, content: Content, key: str | None = None) -> Submitted:
        """As :meth:`data`, with an idempotency key; without one, the message's field Idempotency-Key is used.

        A message that was accepted before with its key is not stored again: the reply is the first one.
        """
        tx = envelope.transaction
        identity = _identity(tx.session)
        block, _ = header_block(content)
        if is_too_long(block, content.size):
            # Before fields are removed: what is removed makes room, and a second From behind it would not be checked.
            return Submitted(await self.refused(tx.session, envelope, HEADER_TOO_LONG, "data"), tx.id)
        headers = Headers.parse(block)
        key = key_in(headers) if key is None else key
        if key is None:
            return Submitted(await self._judged(envelope, content, headers, None), tx.id)
        refusal = refusal_of_key(headers, key)
        if refusal is not None:
            return Submitted(await self.refused(tx.session, envelope, refusal, "data"), tx.id)
        made = await named(identity, envelope, content, headers, key)
        async with self._idempotency.turn(identity.tenant, key):
            before = await self._accepted_before(envelope, made)
            if before is not None:
                return before
            reply = await self._judged(envelope, content, headers, made)
            if reply is not KEY_IN_USE:
                return Submitted(reply, tx.id)
        # Another process was faster.
        return await self._accepted_before(envelope, made) or Submitted(reply, tx.id)

    async def submit_once(
        self, envelope: Envelope, content: Content, key: IdempotencyKey | None, tags: tuple[str, ...] = ()
    ) -> Submitted:
        """As :meth:`submit` for a message that this program composed, with a key that the caller has looked up.

        Args:
            tags: are stored with the message, and are not part of it.
        """
        headers = Headers.parse(header_block(content)[0])
        reply = await self._judged(envelope, content, headers, key, tags)
        if key is not None and reply is KEY_IN_USE:
            # Another process was faster.
            return await self._accepted_before(envelope, key) or Submitted(reply, envelope.transaction.id)
        return Submitted(reply, envelope.transaction.id)

    async def _accepted_before(self, envelope: Envelope, made: IdempotencyKey) -> Submitted | None:
        """The answer to a message whose key is known; None if it is not."""
        tx = envelope.transaction
        try:
            found = await self._idempotency.accepted_before(made)
        except StoreError as error:
            self._log.error("submission_not_checked", id=tx.id, error=str(error))
            found = TROUBLE
        if found is None:
            return None
        if isinstance(found, Reply):
            return Submitted(await self.refused(tx.session, envelope, found, "data"), tx.id)
        self._log.info("submission_repeated", id=tx.id, first=found, account=_identity(tx.session).address)
        return Submitted(self._pipeline.accepted(found), found)

    async def _judged(
        self,
        envelope: Envelope,
        content: Content,
        headers: Headers,
        key: IdempotencyKey | None,
        tags: tuple[str, ...] = (),
    ) -> Reply:
        tx = envelope.transaction
        identity = _identity(tx.session)
        try:
            author = await self._senders.author(identity, headers, tx.sender)
            refusal = author if isinstance(author, Reply) else None
            refusal = refusal or await self._limits.refusal_of_size(identity, content.size)
            refusal = refusal or await self._limits.refusal_of_message(identity, envelope, content)
            policy = await policy_of(self._directory, self._judge, identity)
            shared = author if isinstance(author, SendAs) and author.shared_inbox is not None else None
            sent = await self._sent_copy(identity, policy, headers, shared)
        except InboxError as error:
            self._log.error("submission_not_checked", id=tx.id, account=identity.address, error=str(error))
            refusal = TROUBLE if error.code >= 500 else Reply.of(error)
        if refusal is not None:
            return await self.refused(tx.session, envelope, refusal, "data")
        _take_priority(tx, headers)
        complete = await self._completed(tx, identity, policy, content, headers)
        (reply,) = await self._pipeline.data(envelope, complete, Authored(sent, key, policy.hide_client, tags))
        if not reply.positive:
            await self._limits.give_back(identity, envelope)
        return reply

    async def _completed(
        self, tx: Transaction, identity: Identity, policy: SubmissionPolicy, content: Content, headers: Headers
    ) -> Content:
        """The message with its missing fields and without its hidden ones, by setting as 7-bit text."""
        author = str(tx.sender) if tx.sender is not None else identity.address
        message_id = f"<{self._ids.new()}@{self._server_name}>"
        complete = repaired(content, headers, author, message_id, self._clock.now())
        if policy.seven_bit and tx.params.get("BODY", "").upper() == "8BITMIME":
            complete = await asyncio.to_thread(in_seven_bits, complete)
            tx.params["BODY"] = "7BIT"
        return complete

    async def _sent_copy(
        self, identity: Identity, policy: SubmissionPolicy, headers: Headers, shared: SendAs | None
    ) -> SentCopy | None:
        """The copy for the account, by setting. A shared inbox always gets one: its members see what others sent.

        Raises StoreUnavailable, PolicyError.
        """
        if shared is None and not policy.save_sent:
            return None
        address = identity.address if shared is None else shared.address
        domain = await self._directory.domain(address.rpartition("@")[2])
        if domain is None:
            raise StoreUnavailable(f"{address} was removed during the look-up")
        owner = address
        if shared is not None:
            # The sender may be an alias of the shared inbox.
            reached, _ = await self._directory.named(domain, address)
            owner = next((each.address for each in reached.accounts if each.id == shared.shared_inbox), address)
        return SentCopy(owner, domain, self._judge.for_recipient(domain, owner), hidden_fields(headers), shared)

    async def _checked(self, session: Session, check: Awaitable[Reply | None]) -> Reply | None:
        """The refusal that a check gives; a temporary one if the database does not answer or the policy is invalid."""
        try:
            return await check
        except InboxError as error:
            self._log.error("submission_not_checked", id=session.id, error=str(error))
            return TROUBLE if error.code >= 500 else Reply.of(error)


def _take_priority(tx: Transaction, headers: Headers) -> None:
    """Sets the priority from the field MT-Priority (RFC 6758), if the client gave none with MAIL."""
    values = headers.raw_all("mt-priority")
    found = _PRIORITY.match(values[0]) if len(values) == 1 else None
    if found is not None:
        tx.params.setdefault("MT-PRIORITY", found[1].decode())


def _identity(session: Session) -> Identity:
    if session.identity is None:
        raise RuntimeError("a message was submitted without a login")
    return session.identity
