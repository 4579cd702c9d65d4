"""Port of tenants and the domains that they host."""

from __future__ import annotations

from typing import Protocol

from inbox.mail.tenancy import DomainOverrides, HostedDomain, Tenant


class Tenants(Protocol):
    """Tenants and the domains that they host."""

    async def add(self, name: str) -> Tenant:
        """Adds a tenant. Raises AlreadyExists."""
        ...

    async def by_name(self, name: str) -> Tenant | None: ...

    async def all(self) -> list[Tenant]:
        """Returns all tenants, by name."""
        ...

    async def add_domain(self, tenant: str, fqdn: str, overrides: DomainOverrides | None = None) -> HostedDomain:
        """Adds a hosted domain. Raises AlreadyExists if any tenant hosts it, NotFound if there is no such tenant."""
        ...

    async def set_domain_overrides(self, tenant: str, fqdn: str, overrides: DomainOverrides) -> None:
        """Replaces all override fields. Raises NotFound."""
        ...

    async def domain(self, fqdn: str) -> HostedDomain | None:
        """Returns the active hosted domain ``fqdn`` (canonical) of any tenant."""
        ...

    async def hosted(self, fqdn: str) -> HostedDomain | None:
        """Returns the hosted domain ``fqdn`` (canonical) of any tenant, active or not."""
        ...

    async def domains(self, tenant: str | None = None) -> list[HostedDomain]:
        """Returns all domains of one tenant, or (for the operator) of all tenants, by name."""
        ...
