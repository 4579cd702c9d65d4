"""The stages of a submitted message: those of :class:`~inbox.flow.pipeline.Pipeline`, and the duties of RFC 6409.

The account must own the sender addresses, the message is completed, and it must keep the limits of submission. The
pipeline then judges it: recipients whom this server hosts get their copies immediately, others become jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from inbox.base.clock import Clock
from inbox.base.errors import InboxError, StoreError, StoreUnavailable
from inbox.base.ids import Ids
from inbox.flow.accept import SentCopy
from inbox.flow.destinations import Relay
from inbox.flow.envelope import Envelope
from inbox.flow.judge import Judge
from inbox.flow.pipeline import Pipeline
from inbox.flow.replies import TROUBLE
from inbox.flow.submission.limits import Limits
from inbox.flow.submission.permission import SendAs
from inbox.flow.submission.repairs import hidden_fields, repaired
from inbox.flow.submission.senders import Senders
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.headers import Headers, header_block
from inbox.mail.release import release_time
from inbox.mail.reply import Reply
from inbox.mail.sevenbit import in_seven_bits
from inbox.plugin.api.context import Identity, Session, Transaction
from inbox.plugin.api.services import Log

_LOGIN_FIRST: Final = Reply(530, "5.7.0", "Authentication required")
#: RFC 3463 §3.4: X.3.3, the system is not capable of the selected feature.
_NOT_HELD: Final = Reply(
    550, "5.3.3", "Mail to this domain is delivered at once and cannot be held, send it without HOLDFOR and HOLDUNTIL"
)


class Submission:
    """``Receiving`` of ``inbox.flow.ports`` for users who are logged in."""

    def __init__(
        self,
        pipeline: Pipeline,
        judge: Judge,
        directory: AddressDirectory,
        senders: Senders,
        limits: Limits,
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
        refusal = await self._checked(session, self._senders.refusal_of_sender(session.identity, sender))
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
        tx = envelope.transaction
        identity = _identity(tx.session)
        headers = Headers.parse(header_block(content)[0])
        try:
            author = await self._senders.author(identity, headers, tx.sender)
            refusal = author if isinstance(author, Reply) else None
            refusal = refusal or await self._limits.refusal_of_message(identity, envelope, content)
            shared = author if isinstance(author, SendAs) and author.shared_inbox is not None else None
            sent = await self._sent_copy(identity, headers, shared)
        except InboxError as error:
            self._log.error("submission_not_checked", id=tx.id, account=identity.address, error=str(error))
            refusal = TROUBLE if error.code >= 500 else Reply.of(error)
        if refusal is not None:
            return [await self.refused(tx.session, envelope, refusal, "data")]
        return await self._pipeline.data(envelope, await self._completed(tx, identity, content, headers), sent)

    async def _completed(self, tx: Transaction, identity: Identity, content: Content, headers: Headers) -> Content:
        """The message with its missing fields and without its hidden ones, by setting as 7-bit text."""
        author = str(tx.sender) if tx.sender is not None else identity.address
        message_id = f"<{self._ids.new()}@{self._server_name}>"
        complete = repaired(content, headers, author, message_id, self._clock.now())
        settings = self._judge.for_server().server.submission
        if settings.seven_bit and tx.params.get("BODY", "").upper() == "8BITMIME":
            complete = await asyncio.to_thread(in_seven_bits, complete)
            tx.params["BODY"] = "7BIT"
        return complete

    async def _sent_copy(self, identity: Identity, headers: Headers, shared: SendAs | None) -> SentCopy | None:
        """The copy for the account, by setting. A shared inbox always gets one: its members see what others sent.

        Raises StoreUnavailable, PolicyError.
        """
        if shared is None and not self._judge.for_server().server.submission.save_sent:
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
        policy = self._judge.for_recipient(domain, owner)
        return SentCopy(owner, domain, policy, hidden_fields(headers), shared)

    async def _checked(self, session: Session, check: Awaitable[Reply | None]) -> Reply | None:
        """The refusal that a check gives; a temporary one if the database does not answer."""
        try:
            return await check
        except StoreError as error:
            self._log.error("submission_not_checked", id=session.id, error=str(error))
            return TROUBLE


def _identity(session: Session) -> Identity:
    if session.identity is None:
        raise RuntimeError("a message was submitted without a login")
    return session.identity
