"""The protocols through which servers use the flow: receiving mail, logging in, appending.

A server knows these and not the classes behind them; a test of a server passes a class of its own.
"""

from __future__ import annotations

from typing import Protocol

from inbox.flow.envelope import Envelope
from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.reply import Reply
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.context import Identity, Session
from inbox.store.ports.messages import Placed


class Receiving(Protocol):
    """SMTP and LMTP: the stages of a transaction. None of these raises; trouble is a 4xx reply."""

    async def connect(self, session: Session) -> Reply | None:
        """Before the banner. A reply refuses: send it in the banner's place (4xx or 5xx) and close. None: go on."""
        ...

    async def helo(self, session: Session) -> Reply | None:
        """``session.helo`` is set. A reply refuses the EHLO/HELO/LHLO. None: go on."""
        ...

    async def mail(
        self, session: Session, sender: Address | None, params: dict[str, str]
    ) -> tuple[Reply, Envelope | None]:
        """A new envelope if the reply is positive. ``params``: MAIL parameters by upper-case keyword, checked."""
        ...

    async def rcpt(self, envelope: Envelope, address: Address, notify: frozenset[str], orcpt: str | None) -> Reply:
        """Adds to ``envelope.recipients`` if the reply is positive."""
        ...

    async def data(self, envelope: Envelope, content: Content) -> list[Reply]:
        """The whole message. One reply (SMTP), or one for each of ``envelope.recipients``, in their order (LMTP).

        Runs to its end even when the client is gone: the caller shields it from cancellation.
        """
        ...

    async def refused(self, session: Session, envelope: Envelope | None, reply: Reply, stage: str) -> Reply:
        """Records a refusal that the server itself decided (size, syntax of the data, too many recipients).

        Returns the reply with the short id of its decision record in it.
        """
        ...


class Login(Protocol):
    """Checks credentials, behind IMAP and every other door that takes a password."""

    async def login(self, session: Session, address: str, password: str) -> Identity:
        """Who it is, once the password was right and the ``auth`` hooks said nothing against it.

        Costs time when it fails, and is limited for each peer and each account.

        Raises:
            AuthenticationFailed: wrong, disabled, refused or limited; the reason is only in the log.
            StoreUnavailable: nobody can say now.
        """
        ...


class Appending(Protocol):
    """IMAP APPEND: the same ``data``, ``store`` and ``deliver`` hooks as for any other door."""

    async def append(
        self,
        session: Session,
        mailbox: Mailbox,
        content: Content,
        flags: int,
        keywords: tuple[str, ...],
        internal_date: float | None,
    ) -> Placed:
        """Stores a message durably in ``mailbox``, which belongs to ``session.identity``.

        The client named the mailbox, so no rule files the message elsewhere; flags that rules add are added to the
        client's.

        Raises:
            InboxError: a hook refused it, the mailbox is gone, or storage failed; ``said`` is for the client.
        """
        ...
