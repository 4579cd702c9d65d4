"""Who an address belongs to: hosted domains, plus addresses, aliases.

Answers are kept for two seconds: a mail for a busy address does not ask the database for each recipient, and a
change by another process is seen almost at once. That there is nobody is never kept: a new account works at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from inbox.base.clock import Clock
from inbox.base.kept import Kept
from inbox.mail.tenancy import Account, HostedDomain, Organization

KEPT_SECONDS = 2.0
KEPT_ENTRIES = 10_000
PLUS_DELIMITER = "+"


class DomainBook(Protocol):
    """What the directory asks about domains."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...

    async def domains(self, tenant: str | None = None) -> Sequence[HostedDomain]: ...

    async def organizations(self) -> Sequence[Organization]: ...


class AddressBook(Protocol):
    """What the directory asks about addresses."""

    async def targets(self, tenant: str, address: str) -> list[Account]: ...

    async def first(self, tenant: str) -> Account | None: ...


class AddressDirectory:
    """Looks up domains and addresses."""

    def __init__(self, domains: DomainBook, addresses: AddressBook, clock: Clock) -> None:
        self._domain_book = domains
        self._address_book = addresses
        self._domains: Kept[HostedDomain] = Kept(clock, KEPT_SECONDS, KEPT_ENTRIES)
        self._targets: Kept[tuple[Account, ...]] = Kept(clock, KEPT_SECONDS, KEPT_ENTRIES)
        self._populated = False

    async def domain(self, fqdn: str) -> HostedDomain | None:
        """The active hosting of a canonical domain name. Raises StoreUnavailable."""
        kept = self._domains.get((fqdn,))
        if kept is not None:
            return kept
        found = await self._domain_book.domain(fqdn)
        if found is not None:
            self._domains.put((fqdn,), found)
        return found

    async def is_empty(self) -> bool:
        """True if there is no tenant at all, as in a database that was made a moment ago. Raises StoreUnavailable."""
        self._populated = self._populated or bool(await self._domain_book.organizations())
        return not self._populated

    async def accounts(self, domain: HostedDomain, key: str) -> tuple[tuple[Account, ...], str | None]:
        """The active accounts behind the address ``key`` (``Address.key``), and the plus detail if it was cut off.

        The address as it stands comes first: ``ann+x@`` may be an address of its own. Raises StoreUnavailable.
        """
        tenant = domain.organization.id
        found = await self._lookup(tenant, key)
        overrides = domain.overrides
        delimiter = overrides.plus_delimiter or PLUS_DELIMITER
        local, _, fqdn = key.rpartition("@")
        if found or overrides.plus_addressing_enabled is False or delimiter not in local:
            return found, None
        base, _, detail = local.partition(delimiter)
        if not base:
            return (), None
        return await self._lookup(tenant, f"{base}@{fqdn}"), detail

    async def first_account(self, tenant: str) -> Account | None:
        """The tenant's oldest active account: its postmaster, if nobody else is. Raises StoreUnavailable."""
        kept = self._targets.get((tenant, ""))
        if kept is not None:
            return kept[0]
        found = await self._address_book.first(tenant)
        if found is not None:
            self._targets.put((tenant, ""), (found,))
        return found

    async def home(self, server_name: str) -> HostedDomain | None:
        """The hosted domain that answers for the server itself: the one that its name is in, or a domain of the oldest
        tenant that has any. Raises StoreUnavailable.
        """
        name = server_name
        while name:
            if (found := await self.domain(name)) is not None:
                return found
            _, _, name = name.partition(".")
        for tenant in sorted(await self._domain_book.organizations(), key=lambda each: (each.created_at, each.name)):
            hosted = [each for each in await self._domain_book.domains(tenant.id) if each.is_active]
            if tenant.is_active and hosted:
                return hosted[0]
        return None

    def forget(self) -> None:
        """Drops what is kept, after a change."""
        self._domains.clear()
        self._targets.clear()

    async def _lookup(self, tenant: str, key: str) -> tuple[Account, ...]:
        kept = self._targets.get((tenant, key))
        if kept is not None:
            return kept
        found = tuple(await self._address_book.targets(tenant, key))
        if found:
            self._targets.put((tenant, key), found)
        return found
