"""The protocols through which servers use the flow: receiving mail, logging in, appending.

Servers depend on these and not on the classes behind them; a test of a server passes its own class.
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
    """SMTP and LMTP: the stages of a transaction. None of these raises; a failure is a 4xx reply."""

    async def connect(self, session: Session) -> Reply | None:
        """Called before the banner. A reply (4xx or 5xx) refuses: send it in its place and close. None: continue."""
        ...

    async def helo(self, session: Session) -> Reply | None:
        """``session.helo`` is set. A reply refuses the EHLO/HELO/LHLO. None: continue."""
        ...

    async def mail(
        self, session: Session, sender: Address | None, params: dict[str, str]
    ) -> tuple[Reply, Envelope | None]:
        """Returns an envelope if the reply is positive. ``params``: MAIL parameters by upper-case keyword, checked."""
        ...

    async def rcpt(self, envelope: Envelope, address: Address, notify: frozenset[str], orcpt: str | None) -> Reply:
        """Adds to ``envelope.recipients`` if the reply is positive."""
        ...

    async def data(self, envelope: Envelope, content: Content) -> list[Reply]:
        """Judges and stores the message. One reply (SMTP), or one for each of ``envelope.recipients``, in order (LMTP).

        Runs to its end even if the client disconnects: the caller shields it from cancellation.
        """
        ...

    async def refused(self, session: Session, envelope: Envelope | None, reply: Reply, stage: str) -> Reply:
        """Records a refusal that the server itself decided (size, syntax of the data, too many recipients).

        Returns the reply with the short id of its decision record in it.
        """
        ...


class Login(Protocol):
    """Checks credentials, for IMAP and every other protocol with passwords."""

    async def login(self, session: Session, address: str, password: str) -> Identity:
        """Returns the identity if the password is right and no ``auth`` hook objects.

        A failure is delayed; attempts are limited for each peer and each account.

        Raises:
            AuthenticationFailed: wrong password, disabled account, refused or limited; only the log has the reason.
            StoreUnavailable: the account cannot be looked up now.
        """
        ...


class SaslLogin(Login, Protocol):
    """The other ways to log in, with the same counters, hooks and delay."""

    @property
    def accepts_tokens(self) -> bool:
        """Whether :meth:`bearer` may succeed: servers offer OAUTHBEARER and XOAUTH2 only then."""
        ...

    async def bearer(self, session: Session, address: str, token: str) -> Identity:
        """Logs in with an OAuth 2.0 access token; ``address`` is empty if the client named none. Raises as
        :meth:`login`."""
        ...

    def scram(self, session: Session) -> ScramExchange:
        """Begins a login with SCRAM-SHA-256 (RFC 7677)."""
        ...


class ScramExchange(Protocol):
    """A login in two steps. Both may raise AuthenticationFailed and StoreUnavailable, as :meth:`Login.login`."""

    async def challenge(self, message: bytes) -> bytes:
        """The server's first message, for the client's first."""
        ...

    async def finish(self, message: bytes) -> tuple[Identity, bytes]:
        """The identity, and the server's final message, for the client's final one."""
        ...


class Appending(Protocol):
    """IMAP APPEND, with the same ``data``, ``store`` and ``deliver`` hooks as at any other door."""

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

        The client named the mailbox, so no rule files the message elsewhere; flags of rules are added to the
        client's.

        Raises:
            InboxError: a hook refused it, the mailbox was deleted, or storage failed; ``text`` is for the client.
        """
        ...
