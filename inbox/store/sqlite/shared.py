"""Shared inboxes in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from inbox.base.clock import Clock
from inbox.base.errors import LimitReached, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import Account
from inbox.store.ports.shared import MEMBERS, Member, Membership, SharedEvent, SharedInbox
from inbox.store.sqlite.accounts import NewAccount, add_account
from inbox.store.sqlite.gateway import Gateway
from inbox.store.texts import clean

_INBOX: Final = "s.id, s.organization, s.address, s.domain, s.display_name, s.mailbox, s.is_active"
_MEMBERSHIP: Final = (
    f"SELECT m.role, m.can_send_as, m.can_assign, {_INBOX} FROM has_shared_inbox_member m "
    'JOIN shared_inbox s ON s.id = m."in" '
    'WHERE m."out" = ? AND s.organization = ? AND m.is_active AND s.is_active'
)
#: Events that one transaction removes.
_PRUNED: Final = 1000


class SqliteSharedInboxes:
    """``SharedInboxes`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def add(self, tenant: str, address: str, display_name: str) -> SharedInbox:
        account = Account(self._ids.new(), tenant, address, "", True, self._clock.now(), is_shared=True)
        new = NewAccount(account, self._ids)
        domain, name = address.rpartition("@")[2], clean(display_name)

        def work(db: sqlite3.Connection) -> SharedInbox:
            add_account(db, new)
            made = SharedInbox(account.id, tenant, address, domain, name, new.mailboxes[0])
            db.execute(
                "INSERT INTO shared_inbox (id, organization, address, domain, display_name, mailbox) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (made.id, tenant, address, domain, name, made.mailbox),
            )
            return made

        return await self._gateway.write(work, tenant=tenant)

    async def by_address(self, tenant: str, address: str) -> SharedInbox | None:
        def work(db: sqlite3.Connection) -> SharedInbox | None:
            sql = f"SELECT {_INBOX} FROM shared_inbox s WHERE s.address = ? AND s.organization = ?"
            row = db.execute(sql, (address, tenant)).fetchone()
            return None if row is None else _inbox(row)

        return await self._gateway.read(work)

    async def all(self, tenant: str | None = None) -> list[SharedInbox]:
        where, values = (" WHERE s.organization = ?", (tenant,)) if tenant is not None else ("", ())
        sql = f"SELECT {_INBOX} FROM shared_inbox s{where} ORDER BY s.address"
        return await self._gateway.read(lambda db: [_inbox(row) for row in db.execute(sql, values)])

    async def set_member(self, tenant: str, inbox: str, member: Member) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            _require(db, tenant, inbox)
            found = db.execute(
                "SELECT 1 FROM account WHERE id = ? AND organization = ? AND NOT is_shared", (member.account, tenant)
            )
            if found.fetchone() is None:
                raise NotFound(f"no account {member.address}")
            there = _members(db, inbox)
            if member.account not in there and len(there) >= MEMBERS:
                raise LimitReached(f"a shared inbox may have {MEMBERS} members")
            db.execute(
                'INSERT OR REPLACE INTO has_shared_inbox_member ("in", "out", role, can_send_as, can_assign, is_active)'
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    inbox, member.account, member.role, int(member.can_send_as), int(member.can_assign),
                    int(member.is_active),
                ),
            )  # fmt: skip
            return member.account not in there

        return await self._gateway.write(work, tenant=tenant)

    async def remove_member(self, tenant: str, inbox: str, account: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            _require(db, tenant, inbox)
            sql = 'DELETE FROM has_shared_inbox_member WHERE "in" = ? AND "out" = ?'
            if not db.execute(sql, (inbox, account)).rowcount:
                raise NotFound(f"{account} is no member of {inbox}")

        await self._gateway.write(work, tenant=tenant)

    async def members(self, tenant: str, inbox: str) -> list[Member]:
        sql = (
            "SELECT a.id, a.address, m.role, m.can_send_as, m.can_assign, m.is_active FROM has_shared_inbox_member m "
            'JOIN shared_inbox s ON s.id = m."in" JOIN account a ON a.id = m."out" '
            "WHERE s.id = ? AND s.organization = ? ORDER BY a.address"
        )

        def work(db: sqlite3.Connection) -> list[Member]:
            return [
                Member(account, address, role, bool(send), bool(assign), bool(active))
                for account, address, role, send, assign, active in db.execute(sql, (inbox, tenant))
            ]

        return await self._gateway.read(work)

    async def memberships(self, tenant: str, account: str) -> list[Membership]:
        sql = f"{_MEMBERSHIP} ORDER BY s.address"
        return await self._gateway.read(lambda db: [_membership(row) for row in db.execute(sql, (account, tenant))])

    async def membership(self, tenant: str, inbox: str, account: str) -> Membership | None:
        def work(db: sqlite3.Connection) -> Membership | None:
            row = db.execute(f"{_MEMBERSHIP} AND s.id = ?", (account, tenant, inbox)).fetchone()
            return None if row is None else _membership(row)

        return await self._gateway.read(work)

    async def events(self, tenant: str, inbox: str, limit: int = 100) -> Sequence[SharedEvent]:
        sql = (
            "SELECT e.shared_inbox, e.actor, e.event_type, e.created_at, e.email, e.email_delivery "
            "FROM shared_inbox_event e JOIN shared_inbox s ON s.id = e.shared_inbox "
            "WHERE s.id = ? AND s.organization = ? ORDER BY e.created_at DESC, e.id DESC LIMIT ?"
        )
        return await self._gateway.read(
            lambda db: [SharedEvent(*row) for row in db.execute(sql, (inbox, tenant, limit))]
        )

    async def prune(self, before: float) -> int:
        removed = 0
        sql = (
            "DELETE FROM shared_inbox_event WHERE id IN "
            "(SELECT id FROM shared_inbox_event WHERE created_at < ? LIMIT ?)"
        )
        while count := await self._gateway.write(lambda db: db.execute(sql, (before, _PRUNED)).rowcount):
            removed += count
        return removed


def add_event(db: sqlite3.Connection, tenant: str, email: str, event: SharedEvent) -> None:
    """Records an event about a message once, in the caller's transaction. An inbox of another tenant, or one that was
    removed, gets none."""
    key = f"{event.shared_inbox}:{email}:{event.event_type}:{event.actor}"
    db.execute(
        "INSERT OR IGNORE INTO shared_inbox_event (id, shared_inbox, actor, event_type, email, created_at) "
        "SELECT ?, id, ?, ?, ?, ? FROM shared_inbox WHERE id = ? AND organization = ?",
        (key, event.actor, event.event_type, email, event.created_at, event.shared_inbox, tenant),
    )


def _require(db: sqlite3.Connection, tenant: str, inbox: str) -> None:
    sql = "SELECT 1 FROM shared_inbox WHERE id = ? AND organization = ?"
    if db.execute(sql, (inbox, tenant)).fetchone() is None:
        raise NotFound(f"no shared inbox {inbox}")


def _members(db: sqlite3.Connection, inbox: str) -> set[str]:
    return {row[0] for row in db.execute('SELECT "out" FROM has_shared_inbox_member WHERE "in" = ?', (inbox,))}


def _inbox(row: Sequence[Any]) -> SharedInbox:
    id_, tenant, address, domain, name, mailbox, active = row
    return SharedInbox(id_, tenant, address, domain, name, mailbox, bool(active))


def _membership(row: Sequence[Any]) -> Membership:
    role, send, assign, *inbox = row
    return Membership(_inbox(inbox), role, bool(send), bool(assign))
