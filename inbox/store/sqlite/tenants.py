"""Tenants, domains, accounts and aliases in SQLite."""

from __future__ import annotations

import sqlite3

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import DEFAULT_MAILBOXES, Account, Alias, DomainOverrides, HostedDomain, Tenant
from inbox.store.sqlite import rows
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.mailboxes import create_mailbox

#: An alias may point to an alias; longer chains than this are cut, as are loops.
ALIAS_DEPTH = 8

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
                raise AlreadyExists(f"domain {fqdn} is hosted already")
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


class SqliteAccounts:
    """``Accounts`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def add(self, tenant: str, address: str, password_hash: str) -> Account:
        account = Account(self._ids.new(), tenant, address, password_hash, True, self._clock.now())
        address_id = self._ids.new()
        mailbox_ids = [self._ids.new() for _ in DEFAULT_MAILBOXES]

        def work(db: sqlite3.Connection) -> Account:
            _hosted(db, tenant, address)
            username, _, domain = address.rpartition("@")
            added = db.execute(
                "INSERT INTO email_address (id, organization, username, domain) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (address_id, tenant, username, domain),
            )
            if not added.rowcount:
                raise AlreadyExists(f"address {address} is taken")
            db.execute(
                "INSERT INTO account (id, organization, email_address, address, password_hash, is_active, created_at) "
                "VALUES (?, ?, ?, ?, ?, 1, ?)",
                (account.id, tenant, address_id, address, password_hash, account.created_at),
            )
            for mailbox_id, (name, special_use) in zip(mailbox_ids, DEFAULT_MAILBOXES, strict=True):
                create_mailbox(
                    db, mailbox_id, tenant, account.id, name, special_use, account.created_at, subscribed=True
                )
            return account

        return await self._gateway.write(work)

    async def by_address(self, address: str) -> Account | None:
        def work(db: sqlite3.Connection) -> Account | None:
            row = db.execute(f"SELECT {rows.ACCOUNT} FROM account WHERE address = ?", (address,)).fetchone()
            return rows.account(row) if row else None

        return await self._gateway.read(work)

    async def all(self, tenant: str | None = None) -> list[Account]:
        def work(db: sqlite3.Connection) -> list[Account]:
            where, values = (" WHERE organization = ?", (tenant,)) if tenant is not None else ("", ())
            found = db.execute(f"SELECT {rows.ACCOUNT} FROM account{where} ORDER BY address", values)
            return [rows.account(row) for row in found]

        return await self._gateway.read(work)

    async def first(self, tenant: str) -> Account | None:
        def work(db: sqlite3.Connection) -> Account | None:
            sql = f"""SELECT {rows.ACCOUNT} FROM account WHERE organization = ? AND is_active
                      ORDER BY created_at, address LIMIT 1"""
            row = db.execute(sql, (tenant,)).fetchone()
            return rows.account(row) if row else None

        return await self._gateway.read(work)

    async def set_password(self, tenant: str, address: str, password_hash: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            changed = db.execute(
                "UPDATE account SET password_hash = ? WHERE organization = ? AND address = ?",
                (password_hash, tenant, address),
            )
            if not changed.rowcount:
                raise NotFound(f"no account {address}")

        await self._gateway.write(work)

    async def add_alias(self, tenant: str, address: str, target: str) -> Alias:
        new_id = self._ids.new()

        def work(db: sqlite3.Connection) -> Alias:
            _hosted(db, tenant, address)
            to = address_id(db, tenant, target)
            if to is None:
                raise NotFound(f"no address {target}")
            username, _, domain = address.rpartition("@")
            db.execute(
                "INSERT INTO email_address (id, organization, username, domain, alias) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (new_id, tenant, username, domain, to),
            )
            source = address_id(db, tenant, address)
            if db.execute("SELECT 1 FROM account WHERE address = ?", (address,)).fetchone():
                raise AlreadyExists(f"address {address} belongs to an account")
            added = db.execute('INSERT INTO has_alias ("in", "out") VALUES (?, ?) ON CONFLICT DO NOTHING', (source, to))
            if not added.rowcount:
                raise AlreadyExists(f"alias {address} to {target} exists")
            return Alias(tenant, address, target)

        return await self._gateway.write(work)

    async def aliases(self, tenant: str | None = None) -> list[Alias]:
        sql = """SELECT s.organization, s.username || '@' || s.domain AS source, t.username || '@' || t.domain AS target
                 FROM has_alias h JOIN email_address s ON s.id = h."in" JOIN email_address t ON t.id = h."out" """

        def work(db: sqlite3.Connection) -> list[Alias]:
            where, values = ("WHERE s.organization = ? ", (tenant,)) if tenant is not None else ("", ())
            return [Alias(*row) for row in db.execute(f"{sql}{where}ORDER BY source, target", values)]

        return await self._gateway.read(work)

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        # UNION drops duplicates, so a loop ends by itself; the depth limits a chain.
        sql = f"""
            WITH RECURSIVE reached (id, depth) AS (
                SELECT id, 0 FROM email_address
                WHERE organization = :tenant AND username = :username AND domain = :domain
                UNION
                SELECT h."out", depth + 1 FROM reached JOIN has_alias h ON h."in" = reached.id
                WHERE depth < {ALIAS_DEPTH}
            )
            SELECT DISTINCT {", ".join("a." + name for name in rows.ACCOUNT.split(", "))}
            FROM reached JOIN account a ON a.email_address = reached.id
            WHERE a.organization = :tenant AND a.is_active = :active ORDER BY a.address
        """
        username, _, domain = address.rpartition("@")
        values = {"tenant": tenant, "username": username, "domain": domain, "active": int(active)}

        def work(db: sqlite3.Connection) -> list[Account]:
            return [rows.account(row) for row in db.execute(sql, values)]

        return await self._gateway.read(work)


def _hosted(db: sqlite3.Connection, tenant: str, address: str) -> None:
    if not rows.hosts(db, tenant, address.rpartition("@")[2]):
        raise NotFound(f"the tenant does not host the domain of {address}")


def address_id(db: sqlite3.Connection, tenant: str, address: str) -> str | None:
    """Returns the id of one of the tenant's addresses."""
    username, _, domain = address.rpartition("@")
    row = db.execute(
        "SELECT id FROM email_address WHERE organization = ? AND username = ? AND domain = ?",
        (tenant, username, domain),
    ).fetchone()
    return str(row[0]) if row else None
