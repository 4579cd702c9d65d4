"""What the servers ask of the flow: one small protocol for each thing that comes through a door.

Servers know these and not what stands behind them; a test of a server passes a class of its own.
"""

from __future__ import annotations

from typing import Protocol

from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.reply import Reply
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.context import Identity, Session, Transaction
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
    ) -> tuple[Reply, Transaction | None]:
        """A new transaction if the reply is positive. ``params``: MAIL parameters by upper-case keyword, checked."""
        ...

    async def rcpt(self, tx: Transaction, address: Address, notify: frozenset[str], orcpt: str | None) -> Reply:
        """Adds to ``tx.recipients`` if the reply is positive."""
        ...

    async def data(self, tx: Transaction, content: Content) -> list[Reply]:
        """The whole message. One reply (SMTP), or one for each of ``tx.recipients``, in their order (LMTP).

        Runs to its end even when the client is gone: the caller shields it from cancellation.
        """
        ...

    async def refused(self, session: Session, tx: Transaction | None, reply: Reply, stage: str) -> Reply:
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
    """IMAP APPEND: the same ``data`` and ``store`` hooks as for any other door."""

    async def append(
        self,
        session: Session,
        mailbox: Mailbox,
        content: Content,
        flags: int,
        keywords: tuple[str, ...],
        internal_date: float | None,
    ) -> Placed:
        """Files a message durably into a mailbox of ``session.identity``.

        Raises:
            InboxError: a hook refused it, the mailbox is gone, or storage failed; ``said`` is for the client.
        """
        ...
