"""Mailboxes with their counters, for an administrator: those of an account, or all of a tenant."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from inbox.base.errors import NotFound
from inbox.mail.tenancy import Account, Mailbox, Tenant
from inbox.store.ports import Accounts, Mailboxes
from inbox.store.ports.mailboxes import MailboxStatus


class Holding(NamedTuple):
    """A mailbox of ``owner``: the address of an account, or ``tenant NAME``."""

    owner: str
    mailbox: Mailbox
    status: MailboxStatus


class Holdings:
    """Reads mailboxes of any owner. Every method may raise ``StoreUnavailable``."""

    def __init__(self, accounts: Accounts, mailboxes: Mailboxes) -> None:
        self._accounts = accounts
        self._mailboxes = mailboxes

    async def of_account(self, account: Account) -> list[Holding]:
        """The mailboxes of one account, by name."""
        return await self._of(account.address, account.tenant, account.id)

    async def of_tenant(self, tenant: Tenant) -> list[Holding]:
        """The mailboxes of all accounts of a tenant, then its own: the quarantine."""
        found: list[Holding] = []
        for account in await self._accounts.all(tenant.id):
            found += await self.of_account(account)
        return [*found, *await self._of(f"tenant {tenant.name}", tenant.id, None)]

    async def _of(self, owner: str, tenant: str, account: str | None) -> list[Holding]:
        found: list[Holding] = []
        for mailbox in await self._mailboxes.all(tenant, account):
            with contextlib.suppress(NotFound):  # deleted a moment ago
                found.append(Holding(owner, mailbox, await self._mailboxes.status(tenant, mailbox.id)))
        return found
