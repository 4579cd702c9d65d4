"""Port of mailboxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from inbox.mail.tenancy import Mailbox


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """Counters of STATUS and SELECT."""

    mailbox: str
    messages: int
    unseen: int
    recent: int
    next_uid: int
    uid_validity: int
    modseq: int
    size: int


class Mailboxes(Protocol):
    """Mailboxes of an account, or (``account=None``) those that belong to the tenant itself.

    Names are Unicode with ``/`` as the hierarchy separator; ``INBOX`` is in capitals.
    """

    async def all(self, tenant: str, account: str | None) -> list[Mailbox]:
        """Returns all mailboxes, ordered by name."""
        ...

    async def by_name(self, tenant: str, account: str | None, name: str) -> Mailbox | None: ...

    async def get(self, tenant: str, mailbox: str) -> Mailbox | None: ...

    async def create(
        self,
        tenant: str,
        account: str | None,
        name: str,
        special_use: str | None = None,
        *,
        subscribed: bool = False,
    ) -> Mailbox:
        """Creates a mailbox and its missing parents. UIDVALIDITY never repeats in the installation. ``subscribed`` also
        subscribes the account to the name, not to the parents. Raises AlreadyExists."""
        ...

    async def delete(self, tenant: str, mailbox: str) -> None:
        """Deletes a mailbox with all its entries, in steps; children and the subscription stay (RFC 3501 §6.3.9). If
        the process ends before the last step, the mailbox is either gone or has fewer messages.

        Raises NotFound.
        """
        ...

    async def rename(self, tenant: str, mailbox: str, name: str) -> None:
        """Renames a mailbox and its children. All keep their UIDVALIDITY, which no other mailbox ever had, so that
        clients need not download them again. Subscriptions stay as they are. Renaming INBOX moves its messages into a
        new mailbox in steps (RFC 9051 §6.3.6); its children stay.

        Raises AlreadyExists, NotFound.
        """
        ...

    async def renumber(self) -> int:
        """Gives every mailbox of the installation a UIDVALIDITY that no mailbox ever had, in steps. Needed after the
        database was restored, because uids are then assigned a second time. Returns how many mailboxes there are."""
        ...

    async def subscribe(self, tenant: str, account: str, name: str, subscribed: bool) -> None:
        """Subscribes to a name or unsubscribes from it, whether or not a mailbox of that name exists.

        Raises:
            NotFound: the tenant has no such account.
            LimitReached: the account is subscribed to ``limits.SUBSCRIPTIONS`` names.
        """
        ...

    async def subscriptions(self, tenant: str, account: str) -> set[str]:
        """Returns the names that the account is subscribed to."""
        ...

    async def status(self, tenant: str, mailbox: str) -> MailboxStatus:
        """Returns the counters of a mailbox. Raises NotFound."""
        ...
