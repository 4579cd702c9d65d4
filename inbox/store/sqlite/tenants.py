"""Tenants and domains in SQLite."""

from __future__ import annotations

import sqlite3

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import DomainOverrides, HostedDomain, Tenant
from inbox.store.sqlite import rows
from inbox.store.sqlite.gateway import Gateway

_DOMAIN_SELECT = f"""
    SELECT d.fqdn, h.is_active, o.id, o.name, o.is_active, o.created_at,
           {", ".join("h." + name for name in rows.OVERRIDE_FIELDS)}
    FROM has_domain h JOIN domain d ON d.id = h."out" JOIN organization o ON o.id = h."in"
"""


class SqliteTenants:
    """``Tenants`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def add(self, name: str) -> Tenant:
        created = Tenant(self._ids.new(), name, True, self._clock.now())

        def work(db: sqlite3.Connection) -> Tenant:
            added = db.execute(
                f"INSERT INTO organization ({rows.ORGANIZATION}) VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING",
                (created.id, created.name, created.created_at),
            )
            if not added.rowcount:
                raise AlreadyExists(f"tenant {name} exists")
            return created

        return await self._gateway.write(work)

    async def by_name(self, name: str) -> Tenant | None:
        def work(db: sqlite3.Connection) -> Tenant | None:
            row = db.execute(f"SELECT {rows.ORGANIZATION} FROM organization WHERE name = ?", (name,)).fetchone()
            return rows.tenant(row) if row else None

        return await self._gateway.read(work)

    async def all(self) -> list[Tenant]:
        def work(db: sqlite3.Connection) -> list[Tenant]:
            found = db.execute(f"SELECT {rows.ORGANIZATION} FROM organization ORDER BY name")
            return [rows.tenant(row) for row in found]

        return await self._gateway.read(work)

    async def add_domain(self, tenant: str, fqdn: str, overrides: DomainOverrides | None = None) -> HostedDomain:
        given = overrides or DomainOverrides()
        new_id = self._ids.new()

        def work(db: sqlite3.Connection) -> HostedDomain:
            row = db.execute(f"SELECT {rows.ORGANIZATION} FROM organization WHERE id = ?", (tenant,)).fetchone()
            if row is None:
                raise NotFound(f"no tenant {tenant}")
            db.execute("INSERT INTO domain (id, fqdn) VALUES (?, ?) ON CONFLICT DO NOTHING", (new_id, fqdn))
            (domain,) = db.execute("SELECT id FROM domain WHERE fqdn = ?", (fqdn,)).fetchone()
            marks = ", ".join("?" * (2 + len(rows.OVERRIDE_FIELDS)))
            added = db.execute(
                f'INSERT INTO has_domain ("in", "out", {rows.OVERRIDE_COLUMNS}) VALUES ({marks}) '
                "ON CONFLICT DO NOTHING",
                (tenant, domain, *rows.overrides_to_row(given)),
            )
            if not added.rowcount:
                raise AlreadyExists(f"domain {fqdn} is already hosted")
            return HostedDomain(rows.tenant(row), fqdn, given)

        return await self._gateway.write(work)

    async def set_domain_overrides(self, tenant: str, fqdn: str, overrides: DomainOverrides) -> None:
        assignments = ", ".join(f"{name} = ?" for name in rows.OVERRIDE_FIELDS)

        def work(db: sqlite3.Connection) -> None:
            changed = db.execute(
                f"UPDATE has_domain SET {assignments} "
                'WHERE "in" = ? AND "out" = (SELECT id FROM domain WHERE fqdn = ?)',
                (*rows.overrides_to_row(overrides), tenant, fqdn),
            )
            if not changed.rowcount:
                raise NotFound(f"no domain {fqdn} of {tenant}")

        await self._gateway.write(work)

    async def domain(self, fqdn: str) -> HostedDomain | None:
        def work(db: sqlite3.Connection) -> HostedDomain | None:
            sql = f"{_DOMAIN_SELECT} WHERE d.fqdn = ? AND h.is_active AND o.is_active"
            row = db.execute(sql, (fqdn,)).fetchone()
            return rows.hosted_domain(row) if row else None

        return await self._gateway.read(work)

    async def hosted(self, fqdn: str) -> HostedDomain | None:
        def work(db: sqlite3.Connection) -> HostedDomain | None:
            row = db.execute(f"{_DOMAIN_SELECT} WHERE d.fqdn = ?", (fqdn,)).fetchone()
            return rows.hosted_domain(row) if row else None

        return await self._gateway.read(work)

    async def domains(self, tenant: str | None = None) -> list[HostedDomain]:
        def work(db: sqlite3.Connection) -> list[HostedDomain]:
            where, values = (' WHERE h."in" = ?', (tenant,)) if tenant is not None else ("", ())
            found = db.execute(f"{_DOMAIN_SELECT}{where} ORDER BY d.fqdn", values)
            return [rows.hosted_domain(row) for row in found]

        return await self._gateway.read(work)
