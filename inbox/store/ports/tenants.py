"""The port of tenants and the domains that they host."""

from __future__ import annotations

from typing import Protocol

from inbox.mail.tenancy import DomainOverrides, HostedDomain, Tenant


class Tenants(Protocol):
    """Tenants and the domains that they host."""

    async def add(self, name: str) -> Tenant:
        """Raises AlreadyExists."""
        ...

    async def by_name(self, name: str) -> Tenant | None: ...

    async def all(self) -> list[Tenant]:
        """All, by name."""
        ...

    async def add_domain(self, tenant: str, fqdn: str, overrides: DomainOverrides | None = None) -> HostedDomain:
        """Raises AlreadyExists if any tenant hosts it, NotFound if there is no such tenant."""
        ...

    async def set_domain_overrides(self, tenant: str, fqdn: str, overrides: DomainOverrides) -> None:
        """Replaces all override fields. Raises NotFound."""
        ...

    async def domain(self, fqdn: str) -> HostedDomain | None:
        """The active hosting of ``fqdn`` (canonical), of any tenant."""
        ...

    async def hosted(self, fqdn: str) -> HostedDomain | None:
        """The hosting of ``fqdn`` (canonical), of any tenant, active or not."""
        ...

    async def domains(self, tenant: str | None = None) -> list[HostedDomain]:
        """All of one tenant, or of all tenants (for the operator), by name."""
        ...
