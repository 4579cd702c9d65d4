"""Mails and their entries in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Any

from inbox.base.clock import Clock
from inbox.base.errors import NotFound
from inbox.mail.flags import Flag, changed_flags, changed_keywords
from inbox.store.bus import Bus
from inbox.store.listing import Listing
from inbox.store.records import (
    Arrival,
    Column,
    Entry,
    MailboxChanges,
    Placed,
    StoredMessage,
    StoreMode,
)
from inbox.store.sqlite import reading, rows
from inbox.store.sqlite.clerk import Clerk
from inbox.store.sqlite.entries import (
    CHUNK,
    copy_entries,
    delete_entries,
    move_entries,
    next_modseq,
    uids_json,
)
from inbox.store.sqlite.filing import file_arrival
from inbox.store.sqlite.gateway import Gateway

_SEEN = int(Flag.SEEN)


class SqliteMessages:
    """``Messages`` of ``inbox.store.ports``.

    Args:
        clerk: files what arrives, if it is not to be done here.
    """

    def __init__(self, gateway: Gateway, clock: Clock, bus: Bus, clerk: Clerk | None = None) -> None:
        self._gateway = gateway
        self._clerk = clerk
        self._clock = clock
        self._bus = bus

    async def accept(self, arrival: Arrival) -> list[list[Placed]]:
        if self._clerk is not None:
            placed = await self._clerk.file(arrival)
        else:
            placed = await self._gateway.write(lambda db: file_arrival(db, arrival))
        self._bus.publish([place.mailbox for places in placed for place in places])
        return placed

    async def entries(self, tenant: str, mailbox: str) -> list[Entry]:
        def work(db: sqlite3.Connection) -> list[Entry]:
            _check(db, tenant, mailbox)
            found = db.execute(
                'SELECT uid, modseq, flags, keywords FROM has_email_delivery WHERE "out" = ? ORDER BY uid', (mailbox,)
            )
            return [rows.entry(row) for row in found]

        return await self._gateway.read(work)

    async def listing(self, tenant: str, mailbox: str) -> Listing:
        return await self._gateway.read(lambda db: reading.listing(db, mailbox, _check(db, tenant, mailbox)))

    async def changes(self, tenant: str, mailbox: str, since: int) -> MailboxChanges:
        def work(db: sqlite3.Connection) -> MailboxChanges:
            modseq = _check(db, tenant, mailbox)
            changed = db.execute(
                'SELECT uid, modseq, flags, keywords FROM has_email_delivery WHERE "out" = ? AND modseq > ? '
                # "+" keeps SQLite from reading the whole mailbox in the order of uids.
                "ORDER BY +uid",
                (mailbox, since),
            ).fetchall()
            gone = db.execute(
                "SELECT uid FROM expunged WHERE mailbox = ? AND modseq > ? ORDER BY uid", (mailbox, since)
            ).fetchall()
            return MailboxChanges(modseq, tuple(rows.entry(row) for row in changed), tuple(uid for (uid,) in gone))

        return await self._gateway.read(work)

    async def claim_recent(self, tenant: str, mailbox: str) -> int:
        def work(db: sqlite3.Connection) -> int:
            _check(db, tenant, mailbox)
            (first,) = db.execute("SELECT first_recent FROM mailbox WHERE id = ?", (mailbox,)).fetchone()
            db.execute("UPDATE mailbox SET first_recent = next_uid WHERE id = ?", (mailbox,))
            return int(first)

        return await self._gateway.write(work)

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
                _check(db, tenant, mailbox)
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
                _check(db, tenant, mailbox)
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
        def work(db: sqlite3.Connection) -> tuple[list[Entry], list[int]]:
            _check(db, tenant, mailbox)
            return _store(db, mailbox, uids, mode, flags, keywords, unchanged_since)

        result = await self._gateway.write(work)
        self._bus.publish((mailbox,))
        return result

    async def expunge(self, tenant: str, mailbox: str, uids: Sequence[int] | None = None) -> list[int]:
        def work(db: sqlite3.Connection) -> list[int]:
            _check(db, tenant, mailbox)
            sql = 'SELECT uid FROM has_email_delivery WHERE "out" = ? AND flags & ?'
            deleted = [uid for (uid,) in db.execute(sql, (mailbox, int(Flag.DELETED)))]
            if uids is not None:
                wanted = set(uids)
                deleted = [uid for uid in deleted if uid in wanted]
            return delete_entries(db, mailbox, deleted)

        gone = await self._gateway.write(work)
        self._bus.publish((mailbox,))
        return gone

    async def copy(
        self, tenant: str, source: str, uids: Sequence[int], target: str, *, move: bool = False
    ) -> list[tuple[int, int]]:
        def work(db: sqlite3.Connection) -> list[tuple[int, int]]:
            _check(db, tenant, source)
            _check(db, tenant, target)
            if move:
                return move_entries(db, source, uids, target)
            return copy_entries(db, tenant, source, uids, target)

        pairs = await self._gateway.write(work)
        self._bus.publish((source, target))
        return pairs

    async def release(self, tenant: str, quarantine: str, uid: int, target: str) -> Placed:
        now = self._clock.now()

        def work(db: sqlite3.Connection) -> Placed:
            _check(db, tenant, quarantine)
            _check(db, tenant, target)
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

        placed = await self._gateway.write(work)
        self._bus.publish((quarantine, target))
        return placed

    async def remove(self, tenant: str, mailbox: str, uids: Sequence[int]) -> list[int]:
        def work(db: sqlite3.Connection) -> list[int]:
            _check(db, tenant, mailbox)
            return delete_entries(db, mailbox, uids)

        gone = await self._gateway.write(work)
        self._bus.publish((mailbox,))
        return gone

    async def blob_in_use(self, blob_paths: Sequence[str]) -> set[str]:
        # Every key holds the mail's id as its fourth component (msg/{org}/{mailbox}/{id}.eml, att/…/{id}/…): a look
        # at the primary key, without an index on paths.
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


def _check(db: sqlite3.Connection, tenant: str, mailbox: str) -> int:
    """The mailbox's modseq; NotFound unless it is this tenant's."""
    row = db.execute("SELECT modseq FROM mailbox WHERE id = ? AND organization = ?", (mailbox, tenant)).fetchone()
    if row is None:
        raise NotFound(f"no mailbox {mailbox}")
    return int(row[0])


def _store(
    db: sqlite3.Connection,
    mailbox: str,
    uids: Sequence[int],
    mode: StoreMode,
    flags: int,
    keywords: tuple[str, ...],
    unchanged_since: int | None,
) -> tuple[list[Entry], list[int]]:
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
    return entries, modified


def _combined(old: Entry, mode: StoreMode, flags: int, keywords: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    return changed_flags(old.flags, mode, flags), changed_keywords(old.keywords, mode, keywords)
