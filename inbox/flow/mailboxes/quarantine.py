"""The quarantine of a tenant, for its administrator: list, release, delete. Users have no access to it
(``resolver``)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from inbox.base.clock import Clock
from inbox.base.errors import NotFound
from inbox.flow.trace import transaction_of
from inbox.identity.directory import AddressDirectory
from inbox.mail.tenancy import QUARANTINE, Account, Mailbox, Tenant
from inbox.store.ports import Database
from inbox.store.ports.messages import StoredMessage


class Quarantined(NamedTuple):
    """One quarantined copy."""

    tenant: Tenant
    mailbox: Mailbox
    message: StoredMessage

    @property
    def uid(self) -> int:
        return self.message.entry.uid

    @property
    def sender(self) -> str:
        """The envelope sender, or the addresses of the From field."""
        return self.message.email.sender_address or ", ".join(self.message.email.from_)

    @property
    def decision(self) -> str:
        """The id of the decision record that explains why the copy is quarantined."""
        return transaction_of(self.message.prepended)


class Quarantine:
    """Use cases of an administrator for quarantined mail. Every method may raise ``StoreUnavailable``."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._tenants = database.tenants
        self._mailboxes = database.mailboxes
        self._messages = database.messages
        self._directory = AddressDirectory(database.tenants, database.accounts, clock)

    async def tenants(self, name: str | None = None) -> list[Tenant]:
        """The tenant of this name, or all of them. Raises NotFound."""
        if name is None:
            return await self._tenants.all()
        found = await self._tenants.by_name(name)
        if found is None:
            raise NotFound(f"no tenant {name}")
        return [found]

    async def of(self, tenant: Tenant) -> AsyncIterator[Quarantined]:
        """All quarantined copies of a tenant, sorted by uid, without their header sections."""
        mailbox = await self._mailboxes.by_name(tenant.id, None, QUARANTINE)
        if mailbox is None:
            return
        uids = [entry.uid for entry in await self._messages.entries(tenant.id, mailbox.id)]
        async for message in self._messages.fetch(tenant.id, mailbox.id, uids, texts=False):
            yield Quarantined(tenant, mailbox, message)

    async def find(self, tenant: Tenant, uid: int) -> Quarantined:
        """One quarantined copy. Raises NotFound."""
        mailbox = await self._mailboxes.by_name(tenant.id, None, QUARANTINE)
        if mailbox is not None:
            async for message in self._messages.fetch(tenant.id, mailbox.id, [uid]):
                return Quarantined(tenant, mailbox, message)
        raise NotFound(f"nothing in quarantine under {tenant.name}/{uid}")

    async def release(self, held: Quarantined) -> Account:
        """Delivers a copy into the INBOX of its recipient, and returns the recipient's account.

        Raises:
            NotFound: the recipient's address no longer belongs to an account of the tenant, or the copy is gone.
        """
        account = await self._recipient(held)
        inbox = await self._mailboxes.by_name(held.tenant.id, account.id, "INBOX")
        if inbox is None:
            raise NotFound(f"{account.address} has no INBOX")
        await self._messages.release(held.tenant.id, held.mailbox.id, held.uid, inbox.id)
        return account

    async def delete(self, held: Quarantined) -> None:
        """Deletes a copy; it is not an error if the copy is gone already."""
        await self._messages.remove(held.tenant.id, held.mailbox.id, [held.uid])

    async def _recipient(self, held: Quarantined) -> Account:
        """The account for which the copy was quarantined: the one with the recipient's address, or to which the address
        leads now."""
        address = held.message.recipient or ""
        hosted = await self._tenants.domain(address.rpartition("@")[2])
        if hosted is not None and hosted.tenant.id == held.tenant.id:
            accounts, _ = await self._directory.accounts(hosted, address)
            if accounts:
                return accounts[0]
        raise NotFound(f"{address or 'its recipient'} no longer belongs to an account of {held.tenant.name}")
