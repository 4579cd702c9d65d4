"""The directory: resolves an address to accounts through hosted domains, aliases, plus addresses and catch-alls.

It looks up an address as given, then without its plus detail, then as ``@domain``, the alias that is the domain's
catch-all; ``postmaster`` resolves to the address that the domain names, not to the catch-all. Mail for a disabled
account never goes to the catch-all. An alias may also have targets at other servers (``Reached.forwards``).

Answers are cached for two seconds: mail for a busy address does not query the database for each recipient, and a change
by another process takes effect almost immediately. A miss is never cached, so a new account works immediately; only
for mail that leaves, a domain that is not hosted is remembered as long (:meth:`AddressDirectory.is_elsewhere`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.kept import Kept
from inbox.identity.shared import SharedLookups
from inbox.mail.tenancy import Account, HostedDomain, Tenant

KEPT_SECONDS = 2.0
KEPT_ENTRIES = 10_000
PLUS_DELIMITER = "+"
POSTMASTER = "postmaster"


class DomainBook(Protocol):
    """Storage interface of the directory for domains."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...

    async def hosted(self, fqdn: str) -> HostedDomain | None: ...

    async def domains(self, tenant: str | None = None) -> Sequence[HostedDomain]: ...

    async def all(self) -> Sequence[Tenant]: ...


class Reached(Protocol):
    """The result of looking an address up: active accounts, and addresses at domains that are not hosted here."""

    @property
    def accounts(self) -> tuple[Account, ...]: ...

    @property
    def forwards(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class _Nothing:
    """The result of looking an unknown address up."""

    accounts: tuple[Account, ...] = ()
    forwards: tuple[str, ...] = ()


_NOTHING: Final = _Nothing()


class AddressBook(Protocol):
    """Storage interface of the directory for addresses."""

    async def reach(self, tenant: str, address: str) -> Reached: ...

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]: ...

    async def first(self, tenant: str) -> Account | None: ...


class AddressDirectory:
    """Looks up domains and addresses."""

    def __init__(self, domains: DomainBook, addresses: AddressBook, clock: Clock) -> None:
        self._domain_book = domains
        self._address_book = addresses
        self._domains: SharedLookups[HostedDomain] = SharedLookups(clock, KEPT_SECONDS, KEPT_ENTRIES)
        self._reached: SharedLookups[Reached] = SharedLookups(clock, KEPT_SECONDS, KEPT_ENTRIES)
        self._first: SharedLookups[Account] = SharedLookups(clock, KEPT_SECONDS, KEPT_ENTRIES)
        self._elsewhere: Kept[bool] = Kept(clock, KEPT_SECONDS, KEPT_ENTRIES)
        self._populated = False

    async def domain(self, fqdn: str) -> HostedDomain | None:
        """The active hosting of a canonical domain name. Raises StoreUnavailable."""
        return await self._domains.find((fqdn,), lambda: self._domain_book.domain(fqdn))

    async def suspended(self, fqdn: str) -> HostedDomain | None:
        """The hosting of a domain that is disabled itself or whose tenant is disabled. Raises StoreUnavailable."""
        found = await self._domain_book.hosted(fqdn)
        return None if found is None or (found.is_active and found.tenant.is_active) else found

    def is_elsewhere(self, fqdn: str) -> bool:
        """Whether :meth:`note_elsewhere` named the domain a moment ago. For sessions that may send anywhere: without
        it, each message to a busy domain would query the database twice. What is sent to a domain in the moment in
        which it is added leaves as it did before."""
        return self._elsewhere.get((fqdn,)) is not None

    def note_elsewhere(self, fqdn: str) -> None:
        """The domain is neither hosted nor disabled."""
        self._elsewhere.put((fqdn,), True)

    async def is_empty(self) -> bool:
        """True if there are no tenants, as in a new database. Raises StoreUnavailable."""
        self._populated = self._populated or bool(await self._domain_book.all())
        return not self._populated

    async def accounts(self, domain: HostedDomain, key: str) -> tuple[tuple[Account, ...], str | None]:
        """The accounts of :meth:`reach`, and the plus detail if it was removed. Raises StoreUnavailable."""
        reached, detail = await self.reach(domain, key)
        return reached.accounts, detail

    async def reach(self, domain: HostedDomain, key: str) -> tuple[Reached, str | None]:
        """The active accounts and the targets outside behind the address ``key`` (``Address.key``), and the plus detail
        if it was removed.

        The address as given comes first: ``ann+x@`` may be a separate address. Raises StoreUnavailable.
        """
        found, detail = await self.named(domain, key)
        if _leads(found) or await self.is_disabled(domain, key):
            return found, detail
        local, _, fqdn = key.rpartition("@")
        postmaster = domain.overrides.postmaster
        if local == POSTMASTER:
            # The policy's address comes before any catch-all.
            return (found if postmaster is None else await self._lookup(domain.tenant.id, postmaster)), None
        return await self._lookup(domain.tenant.id, f"@{fqdn}"), None

    async def named(self, domain: HostedDomain, key: str) -> tuple[Reached, str | None]:
        """As :meth:`reach`, but only an address that exists: neither the catch-all nor the domain's postmaster
        replaces an unknown one. Raises StoreUnavailable.
        """
        found = await self._lookup(domain.tenant.id, key)
        if _leads(found):
            return found, None
        base, detail = _without_detail(domain, key)
        if detail is not None:
            without = await self._lookup(domain.tenant.id, base)
            if _leads(without):
                return without, detail
        return found, None

    async def is_disabled(self, domain: HostedDomain, key: str) -> bool:
        """True if the address resolves to disabled accounts only. Raises StoreUnavailable."""
        tenant = domain.tenant.id
        if await self._address_book.targets(tenant, key, active=False):
            return True
        base, detail = _without_detail(domain, key)
        return detail is not None and bool(await self._address_book.targets(tenant, base, active=False))

    async def first_account(self, tenant: str) -> Account | None:
        """The tenant's oldest active account: its postmaster by default. Raises StoreUnavailable."""
        return await self._first.find((tenant,), lambda: self._address_book.first(tenant))

    async def home(self, server_name: str) -> HostedDomain | None:
        """The hosted domain that receives mail for the server itself: the one that contains its name, or a domain of
        the oldest tenant that has one. Raises StoreUnavailable.
        """
        name = server_name
        while name:
            if (found := await self.domain(name)) is not None:
                return found
            _, _, name = name.partition(".")
        for tenant in sorted(await self._domain_book.all(), key=lambda each: (each.created_at, each.name)):
            hosted = [each for each in await self._domain_book.domains(tenant.id) if each.is_active]
            if tenant.is_active and hosted:
                return hosted[0]
        return None

    def forget(self) -> None:
        """Clears the cache after a change."""
        self._domains.clear()
        self._reached.clear()
        self._first.clear()
        self._elsewhere.clear()

    async def _lookup(self, tenant: str, key: str) -> Reached:
        async def look() -> Reached | None:
            found = await self._address_book.reach(tenant, key)
            return found if _leads(found) else None

        return await self._reached.find((tenant, key), look) or _NOTHING


def _leads(found: Reached) -> bool:
    return bool(found.accounts or found.forwards)


def _without_detail(domain: HostedDomain, key: str) -> tuple[str, str | None]:
    """The address without its plus detail, and the detail; None if it has none or the domain does not use details."""
    overrides = domain.overrides
    local, _, fqdn = key.rpartition("@")
    base, delimiter, detail = local.partition(overrides.plus_delimiter or PLUS_DELIMITER)
    if overrides.plus_addressing_enabled is False or not delimiter or not base:
        return key, None
    return f"{base}@{fqdn}", detail
