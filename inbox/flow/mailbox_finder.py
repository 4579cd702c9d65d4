"""Find the mailbox of an account by name; create it if it is missing; cache it briefly."""

from __future__ import annotations

from typing import Protocol

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.flow.destinations import INBOX, QUARANTINE
from inbox.identity.shared import SharedLookups
from inbox.mail.tenancy import Mailbox
from inbox.store.ports import Accounts, Mailboxes

KEPT_SECONDS = 2.0
KEPT_ENTRIES = 10_000


class MailboxFinder(Protocol):
    """Finds the mailboxes that copies go to."""

    async def mailbox(self, tenant: str, account: str, name: str) -> Mailbox:
        """The mailbox ``name`` of the account with the address ``account``; it is created if it is missing.

        If the account has the maximum number of mailboxes, INBOX is returned instead.

        Raises:
            NotFound: the tenant has no such account, or it was removed.
            StoreUnavailable
        """
        ...

    async def quarantine(self, tenant: str) -> Mailbox:
        """The tenant's quarantine; it is created with the first message for it. Raises StoreUnavailable."""
        ...

    def forget(self) -> None:
        """Clears the cache, after a cached mailbox turned out to be deleted."""
        ...


class StoredMailboxFinder:
    """``MailboxFinder`` over the database."""

    def __init__(self, accounts: Accounts, mailboxes: Mailboxes, clock: Clock) -> None:
        self._accounts = accounts
        self._mailboxes = mailboxes
        self._kept: SharedLookups[Mailbox] = SharedLookups(clock, KEPT_SECONDS, KEPT_ENTRIES)

    async def mailbox(self, tenant: str, account: str, name: str) -> Mailbox:
        """See the protocol."""

        async def look() -> Mailbox | None:
            found = await self._accounts.by_address(account)
            if found is None or found.tenant != tenant or not found.is_active:
                raise NotFound(f"no account {account} of {tenant}")
            return await self._ensured(tenant, found.id, name)

        return _existing(await self._kept.find((tenant, account, name), look), account, name)

    async def quarantine(self, tenant: str) -> Mailbox:
        """See the protocol."""
        found = await self._kept.find((tenant, "", QUARANTINE), lambda: self._ensured(tenant, None, QUARANTINE))
        return _existing(found, tenant, QUARANTINE)

    def forget(self) -> None:
        """See the protocol."""
        self._kept.clear()

    async def _ensured(self, tenant: str, account: str | None, name: str) -> Mailbox | None:
        found = await self._mailboxes.by_name(tenant, account, name)
        if found is None:
            try:
                found = await self._mailboxes.create(tenant, account, name, subscribed=account is not None)
            except AlreadyExists:
                # Another delivery has created it.
                found = await self._mailboxes.by_name(tenant, account, name)
            except LimitReached:
                # The message must not wait until the user deletes a mailbox.
                found = await self._mailboxes.by_name(tenant, account, INBOX)
        return found


def _existing(found: Mailbox | None, owner: str, name: str) -> Mailbox:
    if found is None:
        raise NotFound(f"mailbox {name} of {owner} was deleted during the look-up")
    return found
