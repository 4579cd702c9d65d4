"""The stages of a submitted message: what :class:`~inbox.flow.pipeline.Pipeline` does, and the duties of RFC 6409.

The account must own the sender addresses, the message is completed, and it must keep the limits of submission. The
pipeline then judges it: recipients whom this server hosts get their copies at once, the others become jobs.
"""

from __future__ import annotations

from typing import Final

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.base.ids import Ids
from inbox.flow.envelope import Envelope
from inbox.flow.pipeline import Pipeline
from inbox.flow.replies import TROUBLE
from inbox.flow.submission.repairs import repaired
from inbox.flow.submission.senders import Senders
from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.headers import Headers, header_block
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Identity, Session
from inbox.plugin.api.services import Log

_LOGIN_FIRST: Final = Reply(530, "5.7.0", "Authentication required")


class Submission:
    """``Receiving`` of ``inbox.flow.ports`` for users who are logged in."""

    def __init__(
        self, pipeline: Pipeline, senders: Senders, server_name: str, clock: Clock, ids: Ids, log: Log
    ) -> None:
        self._pipeline = pipeline
        self._senders = senders
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
        refusal = await self._refusal_of_sender(session, sender)
        if refusal is not None:
            return await self.refused(session, None, refusal, "mail"), None
        return await self._pipeline.mail(session, sender, params)

    async def rcpt(self, envelope: Envelope, address: Address, notify: frozenset[str], orcpt: str | None) -> Reply:
        """As the pipeline; recipients whom this server does not host are allowed."""
        return await self._pipeline.rcpt(envelope, address, notify, orcpt)

    async def data(self, envelope: Envelope, content: Content) -> list[Reply]:
        """Checks and completes the message, then judges and stores it; one reply."""
        tx = envelope.transaction
        identity = _identity(tx.session)
        headers = Headers.parse(header_block(content)[0])
        refusal = await self._refusal_of_message(identity, headers)
        if refusal is not None:
            return [await self.refused(tx.session, envelope, refusal, "data")]
        author = str(tx.sender) if tx.sender is not None else identity.address
        message_id = f"<{self._ids.new()}@{self._server_name}>"
        complete = repaired(content, headers, author, message_id, self._clock.now())
        return await self._pipeline.data(envelope, complete)

    async def _refusal_of_sender(self, session: Session, sender: Address | None) -> Reply | None:
        if session.identity is None:
            return _LOGIN_FIRST
        try:
            return await self._senders.refusal_of_sender(session.identity, sender)
        except StoreError as error:
            self._log.error("sender_not_looked_up", account=session.identity.address, error=str(error))
            return TROUBLE

    async def _refusal_of_message(self, identity: Identity, headers: Headers) -> Reply | None:
        try:
            return await self._senders.refusal_of_author(identity, headers)
        except StoreError as error:
            self._log.error("sender_not_looked_up", account=identity.address, error=str(error))
            return TROUBLE


def _identity(session: Session) -> Identity:
    if session.identity is None:
        raise RuntimeError("a message was submitted without a login")
    return session.identity
