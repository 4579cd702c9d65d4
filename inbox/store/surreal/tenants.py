"""Tenants and domains in SurrealDB."""

from __future__ import annotations

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import DomainOverrides, HostedDomain, Tenant
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import RecordId
from inbox.store.texts import clean

_ADD_ORGANIZATION = """
CREATE $name_id SET organization = $id RETURN NONE;
CREATE $id SET name = $name, is_active = true, created_at = $now, tree = 0 RETURN NONE;
RETURN true"""

#: INSERT RELATION silently replaces an existing edge, so that is checked first.
_ADD_DOMAIN = """
LET $organization = (SELECT * FROM ONLY $in);
IF $organization IS NONE { THROW 'inbox gone tenant' };
IF (SELECT VALUE id FROM ONLY $id) IS NOT NONE { THROW 'inbox taken' };
UPSERT $out SET fqdn = $fqdn RETURN NONE;
INSERT RELATION INTO has_domain $edge RETURN NONE;
RETURN $organization"""


class SurrealTenants:
    """``Tenants`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def add(self, name: str) -> Tenant:
        made = Tenant(self._ids.new(), name, True, self._clock.now())
        try:
            await self._gateway.write(
                _ADD_ORGANIZATION,
                id=rows.organization_id(made.id),
                name_id=_name_id(name),
                name=clean(name),
                now=made.created_at,
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"tenant {name} exists") from error
        return made

    async def by_name(self, name: str) -> Tenant | None:
        (found,) = await self._gateway.query("SELECT VALUE organization.* FROM ONLY $id", id=_name_id(name))
        return rows.row_to_tenant(found) if found else None

    async def all(self) -> list[Tenant]:
        (found,) = await self._gateway.query("SELECT * FROM organization")
        return sorted(map(rows.row_to_tenant, found), key=lambda one: one.name)

    async def add_domain(self, tenant: str, fqdn: str, overrides: DomainOverrides | None = None) -> HostedDomain:
        given = overrides or DomainOverrides()
        organization, domain = rows.organization_id(tenant), RecordId("domain", clean(fqdn))
        edge = {
            **rows.overrides_to_row(given),
            "id": clean(fqdn),
            "in": organization,
            "out": domain,
            "is_active": True,
        }
        try:
            found = await self._gateway.write(
                _ADD_DOMAIN, **{"in": organization}, id=rows.domain_edge(fqdn), out=domain, fqdn=clean(fqdn), edge=edge
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"domain {fqdn} is already hosted") from error
        return HostedDomain(rows.row_to_tenant(found), fqdn, given)

    async def set_domain_overrides(self, tenant: str, fqdn: str, overrides: DomainOverrides) -> None:
        changed = await self._gateway.write(
            "RETURN (UPDATE $id MERGE $overrides WHERE in = $organization RETURN VALUE id)",
            id=rows.domain_edge(fqdn),
            organization=rows.organization_id(tenant),
            overrides=rows.overrides_to_row(overrides),
        )
        if not changed:
            raise NotFound(f"no domain {fqdn} of {tenant}")

    async def domain(self, fqdn: str) -> HostedDomain | None:
        hosted = await self.hosted(fqdn)
        return hosted if hosted and hosted.is_active and hosted.tenant.is_active else None

    async def hosted(self, fqdn: str) -> HostedDomain | None:
        (found,) = await self._gateway.query("SELECT *, in.* AS organization FROM ONLY $id", id=rows.domain_edge(fqdn))
        return rows.row_to_hosted_domain(found) if found else None

    async def domains(self, tenant: str | None = None) -> list[HostedDomain]:
        sql = "SELECT *, in.* AS organization FROM has_domain"
        if tenant is None:
            (found,) = await self._gateway.query(sql)
        else:
            (found,) = await self._gateway.query(f"{sql} WHERE in = $in", **{"in": rows.organization_id(tenant)})
        return sorted(map(rows.row_to_hosted_domain, found), key=lambda one: one.fqdn)


def _name_id(name: str) -> RecordId:
    return RecordId("organization_name", clean(name))
