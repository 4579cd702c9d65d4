"""Writes accepted messages into SQLite."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence

from inbox.base.limits import RETRY_COPIES
from inbox.mail.flags import Flag
from inbox.store import retries
from inbox.store.bus import Bus
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage, MessageWriter
from inbox.store.ports.messages import EmailRecord, Placed
from inbox.store.room import Room
from inbox.store.sqlite import rows
from inbox.store.sqlite.entries import claim_uids
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.idempotency import add_key
from inbox.store.sqlite.jobs import add_jobs
from inbox.store.sqlite.shared import add_event
from inbox.store.texts import clean, clean_or_none

_SEEN = int(Flag.SEEN)
_DELETED = int(Flag.DELETED)


class SqliteMessageWriter:
    """``MessageWriter`` of ``inbox.store.ports``.

    Args:
        room: refuses mail before the disk is full.
        worker: the process that writes instead of this one, if there is one.
    """

    def __init__(self, gateway: Gateway, bus: Bus, room: Room, worker: MessageWriter | None = None) -> None:
        self._gateway = gateway
        self._bus = bus
        self._room = room
        self._worker = worker

    async def write(self, indexed: Indexed) -> list[list[Placed]]:
        self._room.check()
        placed = await self._written(indexed)
        self._bus.publish_written(indexed.messages, placed)
        return placed

    async def _written(self, indexed: Indexed) -> list[list[Placed]]:
        if self._worker is not None:
            # A lone surrogate cannot be sent to another process, so this process writes the message.
            with contextlib.suppress(UnicodeEncodeError):
                return await self._worker.write(indexed)
        return await self._gateway.write(lambda db: write_indexed(db, indexed), tenant=_tenant_of(indexed))


def write_indexed(
    db: sqlite3.Connection, indexed: Indexed, bodies: Sequence[bytes] | None = None
) -> list[list[Placed]]:
    """Writes messages, their entries and the decision records, in the caller's transaction.

    Args:
        bodies: the bodies of the decision records if they are already packed, which makes the transaction shorter.

    Raises:
        NotFound: a mailbox does not exist, or the tenant of a job is gone or disabled.
        AlreadyExists: a job with the same id exists.
        KeyTaken: a message with the same idempotency key was accepted before.
    """
    if indexed.key is not None:
        add_key(db, indexed.key)
    placed = [_write(db, message) for message in indexed.messages]
    if indexed.decisions:
        tenants = [message.email.tenant for message in indexed.messages]
        rows.add_decisions(db, retries.with_retries(indexed.decisions, zip(tenants, placed, strict=True)), bodies)
    return placed


def _write(db: sqlite3.Connection, message: IndexedMessage) -> list[Placed]:
    email = message.email
    added = db.execute(
        f"INSERT INTO email ({rows.EMAIL_COLUMNS}) VALUES ({rows.EMAIL_MARKS}) "
        "ON CONFLICT (organization, content_hash, message_id) DO NOTHING",
        rows.email_to_row(email),
    )
    if added.rowcount:
        add_jobs(db, email.tenant, email.id, message.jobs, message.lease)
        if message.event is not None:
            add_event(db, email.tenant, email.id, message.event)
        return [_place(db, email.tenant, email.id, email.size, copy, email.internal_date) for copy in message.copies]
    email_id, size = db.execute(
        "SELECT id, size FROM email WHERE organization = ? AND content_hash = ? AND message_id = ?",
        (email.tenant, email.content_hash, clean(email.message_id or "")),
    ).fetchone()
    if email.id != email_id:
        # The new blob will never be referenced: the sweeper must not treat it as evidence of a wrong database.
        db.execute("INSERT OR IGNORE INTO released_blob (blob_path, at) VALUES (?, unixepoch())", (email.blob_path,))
        if message.copies:
            rows.complete_email(db, email_id, email)
    add_jobs(db, email.tenant, email_id, message.jobs, message.lease)
    if message.event is not None:
        add_event(db, email.tenant, email_id, message.event)
    # All copies are compared before any is written: one of two copies for the same account must not be recognised as
    # the other.
    known = [_recognised(db, email, email_id, copy) if message.recognise else None for copy in message.copies]
    return [
        one or _place(db, email.tenant, email_id, size, copy, email.internal_date)
        for one, copy in zip(known, message.copies, strict=True)
    ]


def _place(db: sqlite3.Connection, tenant: str, email: str, size: int, copy: Copy, received_at: float) -> Placed:
    whole = size + len(copy.prepended)
    uid, modseq, _ = claim_uids(db, tenant, copy.mailbox, 1, int(not copy.flags & _SEEN), whole)
    db.execute(
        'INSERT INTO has_email_delivery ("in", "out", uid, modseq, flags, keywords, status, received_at, prepended, '
        "recipient, reason, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            email, copy.mailbox, uid, modseq, copy.flags, rows.words_to_text(copy.keywords), copy.status, received_at,
            copy.prepended, clean_or_none(copy.recipient), clean_or_none(copy.reason), whole,
        ),
    )  # fmt: skip
    return Placed(copy.mailbox, email, uid, modseq)


def _recognised(db: sqlite3.Connection, given: EmailRecord, email: str, copy: Copy) -> Placed | None:
    """Returns the existing copy of the message ``email`` that makes ``copy`` of ``given`` a retry, if there is one."""
    envelope = retries.envelope_of(copy.prepended)
    if not envelope:
        return None
    mailboxes = db.execute(
        "SELECT id, name, special_use FROM mailbox "
        "WHERE owner = (SELECT owner FROM mailbox WHERE id = ? AND organization = ?)",
        (copy.mailbox, given.tenant),
    )
    for mailbox, name in retries.counting(mailboxes).items():
        # The newest are read first: there may be very many when an identical message went to all accounts of a tenant.
        row = db.execute(
            "SELECT uid, modseq, prepended, received_at FROM (SELECT * FROM has_email_delivery "
            'WHERE "in" = ? AND "out" = ? ORDER BY uid DESC LIMIT ?) WHERE NOT flags & ? AND recipient IS ? '
            "AND received_at BETWEEN ? AND ? AND substr(prepended, 1, ?) = ? LIMIT 1",
            (
                email, mailbox, RETRY_COPIES, _DELETED, clean_or_none(copy.recipient),
                *retries.window(given.internal_date), len(envelope), envelope,
            ),
        ).fetchone()  # fmt: skip
        if row is not None:
            uid, modseq, prepended, received_at = row
            return Placed(mailbox, email, uid, modseq, retries.already_filed(name, uid, prepended, received_at))
    return None


def _tenant_of(indexed: Indexed) -> str:
    """Returns the tenant whose share of the writer a transaction uses."""
    return indexed.messages[0].email.tenant if indexed.messages else ""
