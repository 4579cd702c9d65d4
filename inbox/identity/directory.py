"""Who an address belongs to: hosted domains, plus addresses, aliases.

Answers are kept for two seconds: a mail for a busy address does not ask the database for each recipient, and a
change by another process is seen almost at once. That there is nobody is never kept: a new account works at once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

from inbox.base.clock import Clock
from inbox.mail.tenancy import Account, HostedDomain

KEPT_SECONDS = 2.0
KEPT_ENTRIES = 10_000
PLUS_DELIMITER = "+"
V = TypeVar("V")


class DomainBook(Protocol):
    """What the directory asks about domains."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...


class AddressBook(Protocol):
    """What the directory asks about addresses."""

    async def targets(self, tenant: str, address: str) -> list[Account]: ...


class _Kept(Generic[V]):
    """A small cache whose entries live for two seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[str, ...], tuple[float, V]] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> V | None:
        found = self._entries.get(key)
        if found is None:
            return None
        if found[0] < self._clock.monotonic():
            del self._entries[key]
            return None
        return found[1]

    def put(self, key: tuple[str, ...], value: V) -> None:
        self._entries[key] = (self._clock.monotonic() + KEPT_SECONDS, value)
        if len(self._entries) > KEPT_ENTRIES:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


class AddressDirectory:
    """Looks up domains and addresses."""

    def __init__(self, domains: DomainBook, addresses: AddressBook, clock: Clock) -> None:
        self._domain_book = domains
        self._address_book = addresses
        self._domains: _Kept[HostedDomain] = _Kept(clock)
        self._targets: _Kept[tuple[Account, ...]] = _Kept(clock)

    async def domain(self, fqdn: str) -> HostedDomain | None:
        """The active hosting of a canonical domain name. Raises StoreUnavailable."""
        kept = self._domains.get((fqdn,))
        if kept is not None:
            return kept
        found = await self._domain_book.domain(fqdn)
        if found is not None:
            self._domains.put((fqdn,), found)
        return found

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
