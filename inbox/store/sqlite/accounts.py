"""Accounts and aliases in SQLite."""

from __future__ import annotations

import sqlite3
from typing import Final

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import DEFAULT_MAILBOXES, Account, Alias
from inbox.store.ports.accounts import FORWARDS, Reached
from inbox.store.sqlite import rows
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.mailboxes import create_mailbox

#: An alias may point to an alias; longer chains than this are cut, as are loops.
ALIAS_DEPTH: Final = 8

#: Ids of all addresses that an address leads to. UNION drops duplicates, so a loop ends by itself; the depth limits a
#: chain.
_REACHED: Final = f"""
    WITH RECURSIVE reached (id, depth) AS (
        SELECT id, 0 FROM email_address
        WHERE organization = :tenant AND username = :username AND domain = :domain
        UNION
        SELECT h."out", depth + 1 FROM reached JOIN has_alias h ON h."in" = reached.id
        WHERE depth < {ALIAS_DEPTH}
    )"""
_TARGETS: Final = f"""{_REACHED}
    SELECT DISTINCT {", ".join("a." + name for name in rows.ACCOUNT.split(", "))}
    FROM reached JOIN account a ON a.email_address = reached.id
    WHERE a.organization = :tenant AND a.is_active = :active ORDER BY a.address
"""
_FORWARDS: Final = f"""{_REACHED}
    SELECT DISTINCT f.target FROM reached JOIN has_forward f ON f."in" = reached.id ORDER BY f.target
"""


class NewAccount:
    """An account that is about to be added, with the ids of its address and its mailboxes; the first is its INBOX."""

    def __init__(self, account: Account, ids: Ids) -> None:
        self.account = account
        self.address_id = ids.new()
        self.mailboxes = [ids.new() for _ in DEFAULT_MAILBOXES]


class SqliteAccounts:
    """``Accounts`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def add(self, tenant: str, address: str, password_hash: str, scram: str | None = None) -> Account:
        account = Account(self._ids.new(), tenant, address, password_hash, True, self._clock.now(), scram)
        new = NewAccount(account, self._ids)
        return await self._gateway.write(lambda db: add_account(db, new))

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
            sql = f"""SELECT {rows.ACCOUNT} FROM account WHERE organization = ? AND is_active AND NOT is_shared
                      ORDER BY created_at, address LIMIT 1"""
            row = db.execute(sql, (tenant,)).fetchone()
            return rows.account(row) if row else None

        return await self._gateway.read(work)

    async def set_password(self, tenant: str, address: str, password_hash: str, scram: str | None = None) -> None:
        def work(db: sqlite3.Connection) -> None:
            changed = db.execute(
                "UPDATE account SET password_hash = ?, scram = ? "
                "WHERE organization = ? AND address = ? AND NOT is_shared",
                (password_hash, scram, tenant, address),
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
                "ON CONFLICT DO UPDATE SET alias = coalesce(alias, excluded.alias)",
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

    async def add_forward(self, tenant: str, address: str, target: str) -> Alias:
        new_id = self._ids.new()

        def work(db: sqlite3.Connection) -> Alias:
            _hosted(db, tenant, address)
            fqdn = target.rpartition("@")[2]
            sql = 'SELECT 1 FROM has_domain h JOIN domain d ON d.id = h."out" WHERE d.fqdn = ?'
            if db.execute(sql, (fqdn,)).fetchone():
                raise AlreadyExists(f"{fqdn} is hosted here")
            if db.execute("SELECT 1 FROM account WHERE address = ?", (address,)).fetchone():
                raise AlreadyExists(f"address {address} belongs to an account")
            username, _, domain = address.rpartition("@")
            db.execute(
                "INSERT INTO email_address (id, organization, username, domain) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (new_id, tenant, username, domain),
            )
            source = address_id(db, tenant, address)
            (count,) = db.execute('SELECT count(*) FROM has_forward WHERE "in" = ?', (source,)).fetchone()
            if count >= FORWARDS:
                raise LimitReached(f"an alias may have {FORWARDS} targets outside")
            sql = 'INSERT INTO has_forward ("in", target) VALUES (?, ?) ON CONFLICT DO NOTHING'
            if not db.execute(sql, (source, target)).rowcount:
                raise AlreadyExists(f"alias {address} to {target} exists")
            return Alias(tenant, address, target)

        return await self._gateway.write(work)

    async def aliases(self, tenant: str | None = None) -> list[Alias]:
        where, values = ("WHERE s.organization = ?1 ", (tenant,)) if tenant is not None else ("", ())
        sql = f"""
            SELECT s.organization, s.username || '@' || s.domain AS source, t.username || '@' || t.domain AS target
            FROM has_alias h JOIN email_address s ON s.id = h."in" JOIN email_address t ON t.id = h."out" {where}
            UNION ALL
            SELECT s.organization, s.username || '@' || s.domain AS source, f.target AS target
            FROM has_forward f JOIN email_address s ON s.id = f."in" {where}
            ORDER BY source, target"""
        return await self._gateway.read(lambda db: [Alias(*row) for row in db.execute(sql, values)])

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        values = {**_parts(tenant, address), "active": int(active)}

        def work(db: sqlite3.Connection) -> list[Account]:
            return [rows.account(row) for row in db.execute(_TARGETS, values)]

        return await self._gateway.read(work)

    async def reach(self, tenant: str, address: str) -> Reached:
        values = {**_parts(tenant, address), "active": 1}

        def work(db: sqlite3.Connection) -> Reached:
            accounts = tuple([rows.account(row) for row in db.execute(_TARGETS, values)])
            return Reached(accounts, tuple([target for (target,) in db.execute(_FORWARDS, values)]))

        return await self._gateway.read(work)


def add_account(db: sqlite3.Connection, new: NewAccount) -> Account:
    """Writes the account, its address and its mailboxes in the caller's transaction.

    Raises:
        NotFound: the tenant does not host the domain.
        AlreadyExists: the address is taken.
    """
    made = new.account
    tenant = made.tenant
    _hosted(db, tenant, made.address)
    username, _, domain = made.address.rpartition("@")
    added = db.execute(
        "INSERT INTO email_address (id, organization, username, domain) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (new.address_id, tenant, username, domain),
    )
    if not added.rowcount:
        raise AlreadyExists(f"address {made.address} is taken")
    db.execute(
        "INSERT INTO account (id, organization, email_address, address, password_hash, is_active, created_at, scram, "
        "is_shared) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)",
        (
            made.id, tenant, new.address_id, made.address, made.password_hash, made.created_at, made.scram,
            int(made.is_shared),
        ),
    )  # fmt: skip
    for mailbox_id, (name, special_use) in zip(new.mailboxes, DEFAULT_MAILBOXES, strict=True):
        create_mailbox(db, mailbox_id, tenant, made.id, name, special_use, made.created_at, subscribed=True)
    return made


def _parts(tenant: str, address: str) -> dict[str, object]:
    username, _, domain = address.rpartition("@")
    return {"tenant": tenant, "username": username, "domain": domain}


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
