"""Disabling, renaming and removing tenants, domains and accounts in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from inbox.base.errors import AlreadyExists, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import Alias
from inbox.store.bus import Bus
from inbox.store.ports.hosting import STEP, Cleared, Holdings, InUse, Kept, Scope
from inbox.store.sqlite import removing, rows
from inbox.store.sqlite.accounts import address_id
from inbox.store.sqlite.gateway import Gateway

_ACTIVATE: Final = {
    "tenant": "UPDATE organization SET is_active = :active WHERE id = :tenant AND is_active != :active",
    "domain": 'UPDATE has_domain SET is_active = :active WHERE "in" = :tenant AND is_active != :active '
    'AND "out" = (SELECT id FROM domain WHERE fqdn = :domain)',
    "account": "UPDATE account SET is_active = :active WHERE organization = :tenant AND address = :account "
    "AND is_active != :active",
}
#: Rows that a tenant must not have when it is removed.
_OF_TENANT: Final = {
    'has_domain WHERE "in"': "domains",
    "email_address WHERE organization": "addresses",
    "outbound_queue WHERE org_id": "mail in the queue",
    "outbound_delivery WHERE org_id": "records of deliveries",
    "api_key WHERE org_id": "API keys",
    "webhook WHERE org_id": "webhooks",
    "webhook_message WHERE org_id": "messages of webhooks",
    "suppression WHERE org_id": "entries of the suppression list",
    "idempotency_key WHERE org_id": "idempotency keys",
    "plugin_state WHERE tenant": "entries of plugins",
}
_WITHOUT_ACCESS: Final = """
    SELECT wanted.value FROM json_each(?) wanted WHERE NOT EXISTS (
        SELECT 1 FROM account a JOIN organization o ON o.id = a.organization
        JOIN email_address e ON e.id = a.email_address JOIN domain d ON d.fqdn = e.domain
        JOIN has_domain h ON h."out" = d.id AND h."in" = a.organization
        WHERE a.id = wanted.value AND a.is_active AND o.is_active AND h.is_active)"""


class SqliteHosting:
    """``Hosting`` of ``inbox.store.ports.hosting``."""

    def __init__(self, gateway: Gateway, ids: Ids, bus: Bus) -> None:
        self._gateway = gateway
        self._ids = ids
        self._bus = bus

    async def set_active(self, scope: Scope, active: bool) -> bool:
        kind = "account" if scope.account is not None else "domain" if scope.domain is not None else "tenant"
        values = {"tenant": scope.tenant, "domain": scope.domain, "account": scope.account, "active": int(active)}

        def work(db: sqlite3.Connection) -> bool:
            removing.check(db, scope)
            return bool(db.execute(_ACTIVATE[kind], values).rowcount)

        return await self._gateway.write(work)

    async def without_access(self, accounts: Sequence[str]) -> set[str]:
        text = rows.words_to_text(list(accounts))
        return await self._gateway.read(lambda db: {row[0] for row in db.execute(_WITHOUT_ACCESS, (text,))})

    async def rename_tenant(self, tenant: str, name: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM organization WHERE name = ?", (name,)).fetchone():
                raise AlreadyExists(f"tenant {name} exists")
            if not db.execute("UPDATE organization SET name = ? WHERE id = ?", (name, tenant)).rowcount:
                raise NotFound(f"no tenant {tenant}")

        await self._gateway.write(work)

    async def rename_account(self, tenant: str, address: str, to: str, *, keep_alias: bool) -> None:
        new_id = self._ids.new()

        def work(db: sqlite3.Connection) -> None:
            removing.check(db, Scope(tenant, account=address))
            if not rows.hosts(db, tenant, to.rpartition("@")[2]):
                raise NotFound(f"the tenant does not host the domain of {to}")
            _move(db, tenant, address, to, new_id if keep_alias else None)

        await self._gateway.write(work)

    async def move_addresses(self, tenant: str, fqdn: str, to: str, *, keep_alias: bool) -> int:
        new_ids = [self._ids.new() for _ in range(STEP if keep_alias else 0)]
        # A reader finds them: skipping many moved addresses must not block the writer.
        left = await self._gateway.read(lambda db: _unmoved(db, tenant, fqdn, to if keep_alias else None))

        def work(db: sqlite3.Connection) -> int:
            for number, username in enumerate(left):
                old, new = f"{username}@{fqdn}", f"{username}@{to}"
                if address_id(db, tenant, old) is not None:
                    _move(db, tenant, old, new, new_ids[number] if keep_alias else None)
            return len(left)

        def check(db: sqlite3.Connection) -> None:
            removing.check(db, Scope(tenant, fqdn))
            removing.check(db, Scope(tenant, to))

        await self._gateway.read(check)
        return await self._gateway.write(work) if left else 0

    async def remove_aliases_to(self, tenant: str, address: str) -> int:
        def work(db: sqlite3.Connection) -> int:
            found = address_id(db, tenant, address)
            return 0 if found is None else removing.remove_aliases_to(db, found)

        return await self._gateway.write(work)

    async def remove_alias(self, tenant: str, address: str, target: str | None = None) -> list[Alias]:
        def work(db: sqlite3.Connection) -> list[Alias]:
            source = address_id(db, tenant, address)
            pairs = None if source is None else removing.remove_alias(db, source, target)
            if pairs is None:
                raise NotFound(f"no alias {address}" + (f" to {target}" if target is not None else ""))
            return [Alias(tenant, address, name) for name in pairs]

        return await self._gateway.write(work)

    async def count(self, scope: Scope) -> Holdings:
        return await self._gateway.read(lambda db: removing.count(db, scope))

    async def clear_mailbox(self, tenant: str, mailbox: str) -> Cleared:
        cleared = await self._gateway.write(lambda db: removing.clear_mailbox(db, tenant, mailbox))
        self._bus.publish((mailbox,))
        return cleared

    async def forget(self, tenant: str, kind: Kept, fqdn: str | None = None) -> int:
        # A reader finds the rows, so that a long search does not block the writer.
        found = await self._gateway.read(lambda db: removing.find_kept(db, tenant, kind, fqdn))
        if not found:
            return 0
        return await self._gateway.write(lambda db: removing.forget(db, kind, found))

    async def end_account(self, tenant: str, address: str) -> int:
        def work(db: sqlite3.Connection) -> list[str]:
            row = db.execute(
                "SELECT id, email_address FROM account WHERE organization = ? AND address = ?", (tenant, address)
            ).fetchone()
            if row is None:
                raise NotFound(f"no account {address}")
            account, own = row
            if db.execute('SELECT 1 FROM has_alias WHERE "out" = ? LIMIT 1', (own,)).fetchone():
                raise InUse(f"an alias points to {address}")
            boxes = removing.end_mailboxes(db, account)
            db.execute("DELETE FROM account WHERE id = ?", (account,))
            db.execute("DELETE FROM email_address WHERE id = ?", (own,))
            return boxes

        boxes = await self._gateway.write(work)
        self._bus.publish(boxes)
        return len(boxes)

    async def end_domain(self, tenant: str, fqdn: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            removing.check(db, Scope(tenant, fqdn))
            for table in ("email_address WHERE organization", "dkim_key WHERE tenant"):
                if db.execute(f"SELECT 1 FROM {table} = ? AND domain = ? LIMIT 1", (tenant, fqdn)).fetchone():
                    raise InUse(f"{fqdn} has addresses or signing keys")
            db.execute('DELETE FROM has_domain WHERE "out" = (SELECT id FROM domain WHERE fqdn = ?)', (fqdn,))
            db.execute("DELETE FROM domain WHERE fqdn = ?", (fqdn,))

        await self._gateway.write(work)

    async def end_tenant(self, tenant: str) -> int:
        def work(db: sqlite3.Connection) -> list[str]:
            removing.check(db, Scope(tenant))
            for table, what in _OF_TENANT.items():
                if db.execute(f"SELECT 1 FROM {table} = ? LIMIT 1", (tenant,)).fetchone():
                    raise InUse(f"tenant {tenant} has {what}")
            boxes = removing.end_mailboxes(db, tenant)
            db.execute("DELETE FROM organization WHERE id = ?", (tenant,))
            return boxes

        boxes = await self._gateway.write(work)
        self._bus.publish(boxes)
        return len(boxes)


def _move(db: sqlite3.Connection, tenant: str, address: str, to: str, alias_id: str | None) -> None:
    """Renames an address; references to its row stay valid. ``alias_id``: the old name becomes an alias with this
    id."""
    username, _, domain = to.rpartition("@")
    if db.execute("SELECT 1 FROM email_address WHERE username = ? AND domain = ?", (username, domain)).fetchone():
        raise AlreadyExists(f"address {to} is taken")
    own = address_id(db, tenant, address)
    db.execute("UPDATE email_address SET username = ?, domain = ? WHERE id = ?", (username, domain, own))
    db.execute("UPDATE account SET address = ? WHERE email_address = ?", (to, own))
    if alias_id is not None:
        username, _, domain = address.rpartition("@")
        db.execute(
            "INSERT INTO email_address (id, organization, username, domain, alias) VALUES (?, ?, ?, ?, ?)",
            (alias_id, tenant, username, domain, own),
        )
        db.execute('INSERT INTO has_alias ("in", "out") VALUES (?, ?)', (alias_id, own))


def _unmoved(db: sqlite3.Connection, tenant: str, fqdn: str, moved_to: str | None) -> list[str]:
    """Returns up to STEP local parts of a domain, without those that were moved to ``moved_to`` and stayed as an
    alias."""
    sql = "SELECT username FROM email_address e WHERE organization = ? AND domain = ?"
    values: list[object] = [tenant, fqdn]
    if moved_to is not None:
        sql += (
            ' AND NOT EXISTS (SELECT 1 FROM has_alias h JOIN email_address t ON t.id = h."out" '
            'WHERE h."in" = e.id AND t.username = e.username AND t.domain = ?)'
        )
        values.append(moved_to)
    return [username for (username,) in db.execute(f"{sql} LIMIT ?", (*values, STEP))]
