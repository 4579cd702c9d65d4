"""Mailboxes in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from inbox.base import limits
from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.base.ids import Ids
from inbox.base.limits import LATEST_UID_VALIDITY, SUBSCRIPTIONS
from inbox.mail.tenancy import Mailbox
from inbox.store.bus import Bus
from inbox.store.ports.mailboxes import MailboxStatus
from inbox.store.sqlite import rows
from inbox.store.sqlite.entries import check, delete_entries, move_entries
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.steps import each_slice, remove_in_steps


class SqliteMailboxes:
    """``Mailboxes`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids, bus: Bus) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids
        self._bus = bus

    async def all(self, tenant: str, account: str | None) -> list[Mailbox]:
        def work(db: sqlite3.Connection) -> list[Mailbox]:
            found = db.execute(
                f"SELECT {rows.MAILBOX} FROM mailbox WHERE organization = ? AND owner = ? ORDER BY name",
                (tenant, account or tenant),
            )
            return [rows.mailbox(row) for row in found]

        return await self._gateway.read(work)

    async def by_name(self, tenant: str, account: str | None, name: str) -> Mailbox | None:
        return await self._gateway.read(lambda db: _by_name(db, tenant, account, name))

    async def get(self, tenant: str, mailbox: str) -> Mailbox | None:
        return await self._gateway.read(lambda db: _get(db, tenant, mailbox))

    async def create(
        self,
        tenant: str,
        account: str | None,
        name: str,
        special_use: str | None = None,
        *,
        subscribed: bool = False,
    ) -> Mailbox:
        new_ids = [self._ids.new() for _ in name.split("/")]
        now = self._clock.now()

        def work(db: sqlite3.Connection) -> Mailbox:
            _check_owner(db, tenant, account)
            if _by_name(db, tenant, account, name) is not None:
                raise AlreadyExists(f"mailbox {name} exists")
            _create_parents(db, tenant, account, name, new_ids, now)
            create_mailbox(db, new_ids[-1], tenant, account, name, special_use, now, subscribed=subscribed)
            return _require(db, tenant, new_ids[-1])

        return await self._gateway.write(work, tenant=tenant)

    async def delete(self, tenant: str, mailbox: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            box = _require(db, tenant, mailbox)
            db.execute(
                "UPDATE mailbox SET parent = NULL WHERE owner = ? AND parent = ?", (box.account or tenant, mailbox)
            )
            # From here on the mailbox has no owner, so it cannot be found and its name is free; its entries are removed
            # in steps.
            db.execute("UPDATE mailbox SET organization = '', owner = '', name = id WHERE id = ?", (mailbox,))

        await self._gateway.write(work, tenant=tenant)
        self._bus.publish((mailbox,))
        await self._clear(tenant, mailbox)

    async def tidy(self) -> int:
        """Removes the remains of deleted mailboxes that an ended process left; returns how many there were."""
        deleted = "SELECT id FROM mailbox WHERE owner = ''"
        mailboxes = await self._gateway.read(lambda db: [mailbox for (mailbox,) in db.execute(deleted)])
        for mailbox in mailboxes:
            await self._clear("", mailbox)
        return len(mailboxes)

    async def _clear(self, tenant: str, mailbox: str) -> None:
        """Removes a deleted mailbox with its entries."""

        def entries(db: sqlite3.Connection, rows: int) -> int:
            some = db.execute('SELECT uid FROM has_email_delivery WHERE "out" = ? LIMIT ?', (mailbox, rows)).fetchall()
            return len(delete_entries(db, mailbox, [uid for (uid,) in some], remember=False))

        def expunged(db: sqlite3.Connection, rows: int) -> int:
            return db.execute(
                "DELETE FROM expunged WHERE mailbox = ?1 AND (modseq, uid) IN "
                "(SELECT modseq, uid FROM expunged WHERE mailbox = ?1 LIMIT ?2)",
                (mailbox, rows),
            ).rowcount

        await remove_in_steps(self._gateway, tenant, entries)
        await remove_in_steps(self._gateway, tenant, expunged)
        await self._gateway.write(lambda db: db.execute("DELETE FROM mailbox WHERE id = ?", (mailbox,)), tenant=tenant)

    async def rename(self, tenant: str, mailbox: str, name: str) -> None:
        new_ids = [self._ids.new() for _ in name.split("/")]
        now = self._clock.now()

        def work(db: sqlite3.Connection) -> list[str]:
            old = _require(db, tenant, mailbox)
            if _by_name(db, tenant, old.account, name) is not None:
                raise AlreadyExists(f"mailbox {name} exists")
            _create_parents(db, tenant, old.account, name, new_ids, now)
            if old.name == "INBOX":
                create_mailbox(db, new_ids[-1], tenant, old.account, name, None, now)
                return [mailbox, new_ids[-1]]
            owner = old.account or tenant
            children = db.execute(
                "SELECT id, name FROM mailbox WHERE owner = ? AND substr(name, 1, ?) = ?",
                (owner, len(old.name) + 1, old.name + "/"),
            ).fetchall()
            renamed = [(mailbox, name), *((child, name + path[len(old.name) :]) for child, path in children)]
            for child, path in renamed:
                if (found := _by_name(db, tenant, old.account, path)) is not None and found.id != child:
                    raise AlreadyExists(f"mailbox {path} exists")
                # No UIDVALIDITY is ever assigned twice, so the new name cannot get a previous one (RFC 9051 §2.3.1.1).
                db.execute("UPDATE mailbox SET name = ?, modseq = modseq + 1 WHERE id = ?", (path, child))
            parent = _by_name(db, tenant, old.account, name.rpartition("/")[0])
            db.execute("UPDATE mailbox SET parent = ? WHERE id = ?", (parent.id if parent else None, mailbox))
            return [child for child, _ in renamed]

        changed = await self._gateway.write(work, tenant=tenant)
        if new_ids[-1] in changed:
            await self._move_all(tenant, mailbox, new_ids[-1])
        self._bus.publish(changed)

    async def _move_all(self, tenant: str, source: str, target: str) -> None:
        def step(db: sqlite3.Connection, some: Sequence[int]) -> None:
            check(db, tenant, target)
            move_entries(db, source, some, target)

        sql = 'SELECT uid FROM has_email_delivery WHERE "out" = ? ORDER BY uid'
        uids = await self._gateway.read(lambda db: [uid for (uid,) in db.execute(sql, (source,))])
        async for _ in each_slice(self._gateway, tenant, uids, step):
            self._bus.publish((source, target))

    async def renumber(self) -> int:
        now = self._clock.now()

        def step(db: sqlite3.Connection, some: Sequence[str]) -> None:
            for mailbox in some:
                value = _next_uid_validity(db, now)
                db.execute("UPDATE mailbox SET uid_validity = ? WHERE id = ?", (value, mailbox))

        mailboxes = await self._gateway.read(lambda db: [one for (one,) in db.execute("SELECT id FROM mailbox")])
        async for _ in each_slice(self._gateway, "", mailboxes, step):
            pass
        return len(mailboxes)

    async def subscribe(self, tenant: str, account: str, name: str, subscribed: bool) -> None:
        def work(db: sqlite3.Connection) -> None:
            _check_owner(db, tenant, account)
            if not subscribed:
                db.execute("DELETE FROM subscription WHERE owner = ? AND name = ?", (account, name))
                return
            _subscribe(db, account, name)
            (count,) = db.execute("SELECT count(*) FROM subscription WHERE owner = ?", (account,)).fetchone()
            if count > SUBSCRIPTIONS:
                raise LimitReached(f"An account may subscribe to {SUBSCRIPTIONS} mailboxes")

        await self._gateway.write(work, tenant=tenant)

    async def subscriptions(self, tenant: str, account: str) -> set[str]:
        def work(db: sqlite3.Connection) -> set[str]:
            found = db.execute(
                "SELECT name FROM account JOIN subscription ON owner = id WHERE organization = ? AND id = ?",
                (tenant, account),
            )
            return {name for (name,) in found}

        return await self._gateway.read(work)

    async def status(self, tenant: str, mailbox: str) -> MailboxStatus:
        def work(db: sqlite3.Connection) -> MailboxStatus:
            row = db.execute(
                "SELECT messages, unseen, first_recent, next_uid, uid_validity, modseq, size FROM mailbox "
                "WHERE organization = ? AND id = ?",
                (tenant, mailbox),
            ).fetchone()
            if row is None:
                raise NotFound(f"no mailbox {mailbox}")
            (recent,) = db.execute(
                'SELECT count(*) FROM has_email_delivery WHERE "out" = ? AND uid >= ?', (mailbox, row[2])
            ).fetchone()
            return MailboxStatus(mailbox, row[0], row[1], recent, *row[3:])

        return await self._gateway.read(work)


def create_mailbox(
    db: sqlite3.Connection,
    mailbox_id: str,
    tenant: str,
    account: str | None,
    name: str,
    special_use: str | None,
    now: float,
    *,
    subscribed: bool = False,
) -> None:
    """Writes one mailbox; the caller holds the transaction and has checked the name.

    Raises:
        LimitReached: the owner already has :data:`inbox.base.limits.MAILBOXES`.
    """
    (count,) = db.execute("SELECT count(*) FROM mailbox WHERE owner = ?", (account or tenant,)).fetchone()
    if count >= limits.MAILBOXES:
        raise LimitReached(f"An account may have {limits.MAILBOXES} mailboxes")
    parent = _by_name(db, tenant, account, name.rpartition("/")[0])
    db.execute(
        "INSERT INTO mailbox (id, organization, owner, account, email_address, name, parent, special_use, uid_validity)"
        " VALUES (?, ?, ?, ?, (SELECT email_address FROM account WHERE id = ?), ?, ?, ?, ?)",
        (
            mailbox_id, tenant, account or tenant, account, account, name, parent.id if parent else None, special_use,
            _next_uid_validity(db, now),
        ),
    )  # fmt: skip
    if subscribed:
        _subscribe(db, account or tenant, name)


def _subscribe(db: sqlite3.Connection, owner: str, name: str) -> None:
    db.execute("INSERT INTO subscription (owner, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (owner, name))


def _create_parents(
    db: sqlite3.Connection, tenant: str, account: str | None, name: str, new_ids: list[str], now: float
) -> None:
    parts = name.split("/")
    for depth in range(1, len(parts)):
        path = "/".join(parts[:depth])
        if _by_name(db, tenant, account, path) is None:
            create_mailbox(db, new_ids[depth - 1], tenant, account, path, None, now)


def _next_uid_validity(db: sqlite3.Connection, now: float) -> int:
    """Returns a value that grows with time and never repeats in this installation, even if the clock is set back."""
    row = db.execute("SELECT value FROM meta WHERE key = 'uid_validity'").fetchone()
    value = max(min(int(now), LATEST_UID_VALIDITY), int(row[0]) + 1 if row else 1)
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('uid_validity', ?)", (str(value),))
    return value


def _check_owner(db: sqlite3.Connection, tenant: str, account: str | None) -> None:
    if account is None:
        found = db.execute("SELECT 1 FROM organization WHERE id = ?", (tenant,)).fetchone()
    else:
        found = db.execute("SELECT 1 FROM account WHERE organization = ? AND id = ?", (tenant, account)).fetchone()
    if found is None:
        raise NotFound(f"no owner {account or tenant}")


def _by_name(db: sqlite3.Connection, tenant: str, account: str | None, name: str) -> Mailbox | None:
    if not name:
        return None
    row = db.execute(
        f"SELECT {rows.MAILBOX} FROM mailbox WHERE organization = ? AND owner = ? AND name = ?",
        (tenant, account or tenant, name),
    ).fetchone()
    return rows.mailbox(row) if row else None


def _get(db: sqlite3.Connection, tenant: str, mailbox: str) -> Mailbox | None:
    row = db.execute(
        f"SELECT {rows.MAILBOX} FROM mailbox WHERE organization = ? AND id = ?", (tenant, mailbox)
    ).fetchone()
    return rows.mailbox(row) if row else None


def _require(db: sqlite3.Connection, tenant: str, mailbox: str) -> Mailbox:
    found = _get(db, tenant, mailbox)
    if found is None:
        raise NotFound(f"no mailbox {mailbox}")
    return found
