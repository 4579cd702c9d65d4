"""Stored messages and their entries in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from inbox.base.clock import Clock
from inbox.base.errors import NotFound
from inbox.base.ids import Ids
from inbox.mail.flags import Flag, changed_flags, changed_keywords
from inbox.store.bus import Bus
from inbox.store.listing import Listing
from inbox.store.ports.messages import Column, Entry, MailboxChanges, Placed, StoredMessage, StoreMode, StoreStep
from inbox.store.room import Room
from inbox.store.sqlite import copying, reading, rows
from inbox.store.sqlite.entries import (
    CHUNK,
    check,
    copy_entries,
    delete_entries,
    move_entries,
    next_modseq,
    uids_json,
)
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.steps import each_slice

_SEEN = int(Flag.SEEN)
_uid = attrgetter("uid")


class SqliteMessages:
    """``Messages`` of ``inbox.store.ports``.

    Args:
        room: refuses copies before the disk is full.
    """

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids, bus: Bus, room: Room) -> None:
        self._gateway = gateway
        self._room = room
        self._clock = clock
        self._ids = ids
        self._bus = bus

    async def entries(self, tenant: str, mailbox: str) -> list[Entry]:
        def work(db: sqlite3.Connection) -> list[Entry]:
            check(db, tenant, mailbox)
            found = db.execute(
                'SELECT uid, modseq, flags, keywords FROM has_email_delivery WHERE "out" = ? ORDER BY uid', (mailbox,)
            )
            return [rows.entry(row) for row in found]

        return await self._gateway.read(work)

    async def listing(self, tenant: str, mailbox: str) -> Listing:
        return await self._gateway.read(lambda db: reading.listing(db, mailbox, check(db, tenant, mailbox)))

    async def changes(self, tenant: str, mailbox: str, since: int) -> MailboxChanges:
        def work(after: int, db: sqlite3.Connection) -> reading.ChangesPage:
            return reading.changes(db, mailbox, check(db, tenant, mailbox), after)

        page = await self._gateway.read(partial(work, since))
        if page.complete:
            return page.changes
        changed = {entry.uid: entry for entry in page.changes.changed}
        gone = list(page.changes.expunged)
        while not page.complete:
            page = await self._gateway.read(partial(work, page.changes.modseq))
            changed.update((entry.uid, entry) for entry in page.changes.changed)
            gone += page.changes.expunged
        return MailboxChanges(page.changes.modseq, tuple(sorted(changed.values(), key=_uid)), tuple(sorted(gone)))

    async def claim_recent(self, tenant: str, mailbox: str) -> int:
        def work(db: sqlite3.Connection) -> int:
            check(db, tenant, mailbox)
            (first,) = db.execute("SELECT first_recent FROM mailbox WHERE id = ?", (mailbox,)).fetchone()
            db.execute("UPDATE mailbox SET first_recent = next_uid WHERE id = ?", (mailbox,))
            return int(first)

        return await self._gateway.write(work, tenant=tenant)

    async def fetch(
        self, tenant: str, mailbox: str, uids: Sequence[int], *, texts: bool = True
    ) -> AsyncIterator[StoredMessage]:
        sql = (
            "SELECT d.uid, d.modseq, d.flags, d.keywords, d.received_at, d.prepended, d.recipient, d.reason, "
            f'{rows.email_columns("e", texts=texts)} FROM has_email_delivery d JOIN email e ON e.id = d."in" '
            'WHERE d."out" = ? AND d.uid IN (SELECT value FROM json_each(?)) AND e.organization = ? ORDER BY d.uid'
        )
        ordered = sorted(set(uids))
        for start in range(0, len(ordered), reading.PAGE):
            page = uids_json(ordered[start : start + reading.PAGE])

            def work(db: sqlite3.Connection, page: str = page) -> list[StoredMessage]:
                check(db, tenant, mailbox)
                return [
                    StoredMessage(rows.entry(row), rows.row_to_email(row[8:]), *row[4:8])
                    for row in db.execute(sql, (mailbox, page, tenant))
                ]

            for message in await self._gateway.read(work):
                yield message

    async def columns(
        self, tenant: str, mailbox: str, uids: Sequence[int], names: Sequence[Column]
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        ordered = sorted(set(uids))
        size = reading.page_size(names)
        for start in range(0, len(ordered), size):
            page = ordered[start : start + size]

            def work(db: sqlite3.Connection, page: Sequence[int] = page) -> list[tuple[Any, ...]]:
                check(db, tenant, mailbox)
                return reading.columns(db, tenant, mailbox, page, names)

            yield await self._gateway.read(work)

    async def store(
        self,
        tenant: str,
        mailbox: str,
        uids: Sequence[int],
        mode: StoreMode,
        flags: int,
        keywords: tuple[str, ...] = (),
        *,
        unchanged_since: int | None = None,
    ) -> tuple[list[Entry], list[int]]:
        entries: list[Entry] = []
        modified: list[int] = []
        async for step in self.storing(tenant, mailbox, uids, mode, flags, keywords, unchanged_since=unchanged_since):
            entries += step.entries
            modified += step.left_alone
        return entries, modified

    async def storing(
        self,
        tenant: str,
        mailbox: str,
        uids: Sequence[int],
        mode: StoreMode,
        flags: int,
        keywords: tuple[str, ...] = (),
        *,
        unchanged_since: int | None = None,
    ) -> AsyncIterator[StoreStep]:
        def step(db: sqlite3.Connection, some: Sequence[int]) -> StoreStep:
            check(db, tenant, mailbox)
            return _store(db, mailbox, some, mode, flags, keywords, unchanged_since)

        if not uids:
            await self._gateway.read(lambda db: check(db, tenant, mailbox))
        async for result in each_slice(self._gateway, tenant, sorted(set(uids)), step):
            self._bus.publish((mailbox,))
            yield result

    async def expunge(self, tenant: str, mailbox: str, uids: Sequence[int] | None = None) -> list[int]:
        def find(db: sqlite3.Connection) -> list[int]:
            check(db, tenant, mailbox)
            sql = 'SELECT uid FROM has_email_delivery WHERE "out" = ? AND flags & ? ORDER BY uid'
            return [uid for (uid,) in db.execute(sql, (mailbox, int(Flag.DELETED)))]

        wanted = sorted(set(uids)) if uids is not None else await self._gateway.read(find)
        return await self._remove(tenant, mailbox, wanted, only=int(Flag.DELETED))

    async def copy(
        self, tenant: str, source: str, uids: Sequence[int], target: str, *, move: bool = False
    ) -> list[tuple[int, int]]:
        ordered = sorted(set(uids))
        if not move:
            self._room.check()
            name = self._ids.new()
            try:
                return await copying.copy(self._gateway, tenant, source, ordered, target, name, self._clock.now)
            finally:
                self._bus.publish((target,))

        def step(db: sqlite3.Connection, some: Sequence[int]) -> list[tuple[int, int]]:
            check(db, tenant, source)
            check(db, tenant, target)
            return move_entries(db, source, some, target)

        if not ordered:
            await self._gateway.read(lambda db: (check(db, tenant, source), check(db, tenant, target)))
        pairs = []
        async for moved in each_slice(self._gateway, tenant, ordered, step):
            self._bus.publish((source, target))
            pairs += moved
        return pairs

    async def release(self, tenant: str, quarantine: str, uid: int, target: str) -> Placed:
        now = self._clock.now()

        def work(db: sqlite3.Connection) -> Placed:
            check(db, tenant, quarantine)
            check(db, tenant, target)
            pairs = copy_entries(db, tenant, quarantine, [uid], target)
            if not pairs:
                raise NotFound(f"no quarantined message {uid}")
            delete_entries(db, quarantine, [uid])
            row = db.execute(
                "UPDATE has_email_delivery SET received_at = ?, recipient = NULL, reason = NULL, status = ? "
                'WHERE "out" = ? AND uid = ? RETURNING "in", modseq',
                (now, "open", target, pairs[0][1]),
            ).fetchone()
            return Placed(target, row[0], pairs[0][1], row[1])

        placed = await self._gateway.write(work, tenant=tenant)
        self._bus.publish((quarantine, target))
        return placed

    async def remove(self, tenant: str, mailbox: str, uids: Sequence[int]) -> list[int]:
        return await self._remove(tenant, mailbox, sorted(set(uids)))

    async def _remove(self, tenant: str, mailbox: str, uids: Sequence[int], *, only: int = 0) -> list[int]:
        def step(db: sqlite3.Connection, some: Sequence[int]) -> list[int]:
            check(db, tenant, mailbox)
            return delete_entries(db, mailbox, some, only=only)

        if not uids:
            await self._gateway.read(lambda db: check(db, tenant, mailbox))
        gone: list[int] = []
        async for some in each_slice(self._gateway, tenant, uids, step):
            self._bus.publish((mailbox,))
            gone += some
        return gone

    async def blob_in_use(self, blob_paths: Sequence[str]) -> set[str]:
        # Every key has the message's id as its fourth component (msg/{org}/{mailbox}/{id}.eml, att/…/{id}/…), so a
        # lookup by primary key suffices, without an index on paths.
        by_id: dict[str, list[str]] = {}
        for path in blob_paths:
            parts = path.split("/")
            if len(parts) > 3:
                by_id.setdefault(parts[3].partition(".")[0], []).append(path)

        def work(db: sqlite3.Connection) -> set[str]:
            used: set[str] = set()
            names = list(by_id)
            for start in range(0, len(names), CHUNK):
                found = db.execute(
                    "SELECT id, blob_path FROM email WHERE id IN (SELECT value FROM json_each(?))",
                    (rows.words_to_text(names[start : start + CHUNK]),),
                )
                for email, blob_path in found:
                    used.update(path for path in by_id[email] if path == blob_path or not path.startswith("msg/"))
            return used

        return await self._gateway.read(work)


def _store(
    db: sqlite3.Connection,
    mailbox: str,
    uids: Sequence[int],
    mode: StoreMode,
    flags: int,
    keywords: tuple[str, ...],
    unchanged_since: int | None,
) -> StoreStep:
    entries: list[Entry] = []
    modified: list[int] = []
    updates: list[tuple[int, str, int, str, int]] = []
    modseq = 0
    seen_more = 0
    for start in range(0, len(uids), CHUNK):
        found = db.execute(
            'SELECT uid, modseq, flags, keywords FROM has_email_delivery WHERE "out" = ? '
            "AND uid IN (SELECT value FROM json_each(?)) ORDER BY uid",
            (mailbox, uids_json(uids[start : start + CHUNK])),
        ).fetchall()
        for row in found:
            old = rows.entry(row)
            if unchanged_since is not None and old.modseq > unchanged_since:
                modified.append(old.uid)
                entries.append(old)
                continue
            new_flags, new_keywords = _combined(old, mode, flags, keywords)
            if (new_flags, new_keywords) == (old.flags, old.keywords):
                entries.append(old)
                continue
            modseq = modseq or next_modseq(db, mailbox)
            seen_more += (new_flags & _SEEN) - (old.flags & _SEEN)
            updates.append((new_flags, rows.words_to_text(new_keywords), modseq, mailbox, old.uid))
            entries.append(Entry(old.uid, modseq, new_flags, new_keywords))
    db.executemany(
        'UPDATE has_email_delivery SET flags = ?, keywords = ?, modseq = ? WHERE "out" = ? AND uid = ?', updates
    )
    if seen_more:
        db.execute("UPDATE mailbox SET unseen = unseen - ? WHERE id = ?", (seen_more, mailbox))
    return StoreStep(entries, modified, modseq)


def _combined(old: Entry, mode: StoreMode, flags: int, keywords: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    return changed_flags(old.flags, mode, flags), changed_keywords(old.keywords, mode, keywords)
