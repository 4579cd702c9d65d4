"""IMAP APPEND: judges and stores a message that its owner adds to a mailbox, like every other message.

The message is stored unchanged in the mailbox that the client named (``door_rules.APPEND``): rules may refuse it, add
flags, or transform the copy. A rule that would file it elsewhere, or for other recipients, is overruled; the decision
record notes this.
"""

from __future__ import annotations

from inbox.base.clock import Clock
from inbox.base.errors import AuthenticationFailed, InboxError, PolicyError
from inbox.base.ids import Ids
from inbox.flow.accept import Acceptance, Incoming
from inbox.flow.destinations import IntoMailbox
from inbox.flow.door_rules import APPEND
from inbox.flow.envelope import Admitted, Envelope
from inbox.flow.judge import Judge
from inbox.flow.recording import Recorder
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.flags import Flag
from inbox.mail.message import Message
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain, Mailbox
from inbox.plugin.api.context import Identity, Recipient, Session, Transaction
from inbox.plugin.api.facts import Facts
from inbox.policy.stages import Stage
from inbox.store.ports.messages import Placed

_APPENDED = Reply(250, "2.0.0", "Appended")


class Refused(InboxError):
    """A rule refused the message; ``text`` is the text for the client."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.code} {reply.enhanced} {reply.text}")
        self.code, self.status, self.text = reply.code, reply.enhanced, reply.text


class MailboxAppending:
    """``Appending`` of ``inbox.flow.ports``."""

    def __init__(
        self,
        judge: Judge,
        directory: AddressDirectory,
        acceptance: Acceptance,
        recorder: Recorder,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._judge = judge
        self._directory = directory
        self._acceptance = acceptance
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
        """Judges and stores one message; see the protocol."""
        identity = session.identity
        if identity is None or mailbox.account != identity.account or mailbox.tenant != identity.tenant:
            raise AuthenticationFailed("a message was appended to another account's mailbox")
        owner = Address.parse(identity.address)
        domain = await self._directory.domain(owner.domain)
        if domain is None or domain.tenant.id != identity.tenant:
            raise AuthenticationFailed(f"{owner.domain} is no longer hosted")
        into = IntoMailbox(identity.address, mailbox.name, Flag(flags), keywords, mailbox.id)
        envelope = await self._envelope(session, identity, domain, Message(content), into)
        incoming = Incoming(envelope, content, APPEND, _APPENDED, internal_date)
        answered = await self._acceptance.accept(incoming)
        if answered.error is not None:
            raise answered.error
        if not answered.reply.positive:
            raise Refused(answered.reply)
        (placed,) = answered.placed
        return placed

    async def _envelope(
        self, session: Session, identity: Identity, domain: HostedDomain, message: Message, into: IntoMailbox
    ) -> Envelope:
        """The owner is both sender and recipient. Raises Refused: the tenant's policy is invalid."""
        owner = Address.parse(identity.address)
        recipient = Recipient(owner, identity.tenant, identity.tenant_name)
        tx = Transaction(
            self._ids.new(),
            session,
            owner,
            message=message,
            tenant=identity.tenant,
            tenant_name=identity.tenant_name,
            started_at=self._clock.now(),
            facts=Facts(session.facts),
        )
        try:
            policy = self._judge.for_recipient(domain, owner.key)
        except PolicyError as error:
            reply = await self._recorder.refused(session, tx, Reply.of(error), Stage.DATA, recipient, why=str(error))
            raise Refused(reply) from error
        return Envelope(tx, [Admitted(recipient, domain, policy, None, (into,))])
