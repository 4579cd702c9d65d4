"""From accounts to mailboxes: where a copy goes, found once and kept for a moment."""

from __future__ import annotations

from collections import OrderedDict

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.store.ports import Accounts, Mailboxes

#: The tenant's own mailbox for what was quarantined.
QUARANTINE = "Quarantine"
INBOX = "INBOX"
KEPT_SECONDS = 2.0
KEPT_ENTRIES = 10_000


class Destinations:
    """Looks mailboxes up by account address and name; creates those that a plugin names and that are missing."""

    def __init__(self, accounts: Accounts, mailboxes: Mailboxes, clock: Clock) -> None:
        self._accounts = accounts
        self._mailboxes = mailboxes
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str, str], tuple[float, str]] = OrderedDict()

    async def mailbox(self, tenant: str, account: str, name: str) -> str:
        """The id of an account's mailbox; it is created if it is missing.

        An account that has as many mailboxes as it may have gets its message in INBOX instead.

        Raises:
            NotFound: the tenant has no such account (any more).
            StoreUnavailable
        """
        key = (tenant, account, name)
        if (kept := self._look(key)) is not None:
            return kept
        found = await self._accounts.by_address(account)
        if found is None or found.organization != tenant or not found.is_active:
            raise NotFound(f"no account {account} of {tenant}")
        return self._keep(key, await self._ensure(tenant, found.id, name))

    async def quarantine(self, tenant: str) -> str:
        """The id of the tenant's quarantine; it is created with the first message for it."""
        key = (tenant, "", QUARANTINE)
        if (kept := self._look(key)) is not None:
            return kept
        return self._keep(key, await self._ensure(tenant, None, QUARANTINE))

    def forget(self) -> None:
        """Drops what is kept: a mailbox turned out to be gone."""
        self._kept.clear()

    async def _ensure(self, tenant: str, account: str | None, name: str) -> str:
        found = await self._mailboxes.by_name(tenant, account, name)
        if found is None:
            try:
                found = await self._mailboxes.create(tenant, account, name, subscribed=account is not None)
            except AlreadyExists:
                # Somebody else was faster.
                found = await self._mailboxes.by_name(tenant, account, name)
            except LimitReached:
                # The message must not wait until the user removes a mailbox.
                found = await self._mailboxes.by_name(tenant, account, INBOX)
        if found is None:
            raise NotFound(f"mailbox {name} of {account or tenant} went away while it was looked up")
        return found.id

    def _look(self, key: tuple[str, str, str]) -> str | None:
        found = self._kept.get(key)
        if found is None or found[0] < self._clock.monotonic():
            return None
        return found[1]

    def _keep(self, key: tuple[str, str, str], mailbox: str) -> str:
        self._kept[key] = (self._clock.monotonic() + KEPT_SECONDS, mailbox)
        if len(self._kept) > KEPT_ENTRIES:
            self._kept.popitem(last=False)
        return mailbox
