"""From accounts and names to mailboxes: found once and kept for a moment, created if missing."""

from __future__ import annotations

from typing import Protocol

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.base.kept import Kept
from inbox.flow.destinations import INBOX, QUARANTINE
from inbox.mail.tenancy import Mailbox
from inbox.store.ports import Accounts, Mailboxes

KEPT_SECONDS = 2.0
KEPT_ENTRIES = 10_000


class MailboxFinder(Protocol):
    """Finds the mailboxes that copies go to."""

    async def mailbox(self, tenant: str, account: str, name: str) -> Mailbox:
        """The mailbox ``name`` of the account with the address ``account``; it is created if it is missing.

        An account that has as many mailboxes as it may have gets its message in INBOX instead.

        Raises:
            NotFound: the tenant has no such account (any more).
            StoreUnavailable
        """
        ...

    async def quarantine(self, tenant: str) -> Mailbox:
        """The tenant's quarantine; it is created with the first message for it. Raises StoreUnavailable."""
        ...

    def forget(self) -> None:
        """Drops what is kept: a mailbox turned out to be gone."""
        ...


class StoredMailboxFinder:
    """``MailboxFinder`` over the database."""

    def __init__(self, accounts: Accounts, mailboxes: Mailboxes, clock: Clock) -> None:
        self._accounts = accounts
        self._mailboxes = mailboxes
        self._kept: Kept[Mailbox] = Kept(clock, KEPT_SECONDS, KEPT_ENTRIES)

    async def mailbox(self, tenant: str, account: str, name: str) -> Mailbox:
        """See the protocol."""
        key = (tenant, account, name)
        kept = self._kept.get(key)
        if kept is None:
            found = await self._accounts.by_address(account)
            if found is None or found.tenant != tenant or not found.is_active:
                raise NotFound(f"no account {account} of {tenant}")
            kept = await self._ensured(tenant, found.id, name)
            self._kept.put(key, kept)
        return kept

    async def quarantine(self, tenant: str) -> Mailbox:
        """See the protocol."""
        key = (tenant, "", QUARANTINE)
        kept = self._kept.get(key)
        if kept is None:
            kept = await self._ensured(tenant, None, QUARANTINE)
            self._kept.put(key, kept)
        return kept

    def forget(self) -> None:
        """See the protocol."""
        self._kept.clear()

    async def _ensured(self, tenant: str, account: str | None, name: str) -> Mailbox:
        found = await self._mailboxes.by_name(tenant, account, name)
        if found is None:
            try:
                found = await self._mailboxes.create(tenant, account, name, subscribed=account is not None)
            except AlreadyExists:
                # Another delivery created it meanwhile.
                found = await self._mailboxes.by_name(tenant, account, name)
            except LimitReached:
                # The message must not wait until the user removes a mailbox.
                found = await self._mailboxes.by_name(tenant, account, INBOX)
        if found is None:
            raise NotFound(f"mailbox {name} of {account or tenant} went away while it was looked up")
        return found
