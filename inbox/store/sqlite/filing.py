"""Writing what arrived; the caller holds the transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from inbox.base.limits import RETRY_COPIES
from inbox.mail.flags import Flag
from inbox.store import retries
from inbox.store.records import Arrival, Copy, EmailRecord, Filing, Placed
from inbox.store.sqlite import rows
from inbox.store.sqlite.entries import claim_uids
from inbox.store.texts import clean, clean_or_none

_SEEN = int(Flag.SEEN)
_DELETED = int(Flag.DELETED)


def file_arrival(db: sqlite3.Connection, arrival: Arrival, bodies: Sequence[bytes] | None = None) -> list[list[Placed]]:
    """Writes mails, their entries and the decision records. ``bodies`` are those of the records, if they are packed
    already: then the transaction is shorter.

    Raises:
        NotFound: a mailbox is gone.
    """
    placed = [_file(db, filing) for filing in arrival.filings]
    if arrival.decisions:
        tenants = [filing.email.tenant for filing in arrival.filings]
        rows.add_decisions(db, retries.with_retries(arrival.decisions, zip(tenants, placed, strict=True)), bodies)
    return placed


def _file(db: sqlite3.Connection, filing: Filing) -> list[Placed]:
    email = filing.email
    added = db.execute(
        f"INSERT INTO email ({rows.EMAIL_COLUMNS}) VALUES ({rows.EMAIL_MARKS}) "
        "ON CONFLICT (organization, content_hash, message_id) DO NOTHING",
        rows.email_to_row(email),
    )
    if added.rowcount:
        return [_place(db, email.tenant, email.id, email.size, copy, email.internal_date) for copy in filing.copies]
    email_id, size = db.execute(
        "SELECT id, size FROM email WHERE organization = ? AND content_hash = ? AND message_id = ?",
        (email.tenant, email.content_hash, clean(email.message_id or "")),
    ).fetchone()
    if email.id != email_id:
        # Nobody will ask for the blob that came with it: the sweeper must not take that for a sign of a wrong database.
        db.execute("INSERT OR IGNORE INTO released_blob (blob_path, at) VALUES (?, unixepoch())", (email.blob_path,))
    placed = []
    for copy in filing.copies:
        known = _recognised(db, email, email_id, copy) if filing.recognise else None
        placed.append(known or _place(db, email.tenant, email_id, size, copy, email.internal_date))
    return placed


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
    """The copy of the mail ``email`` that makes ``copy`` of ``given`` a retry, if there is one."""
    envelope = retries.envelope_of(copy.prepended)
    if not envelope:
        return None
    mailboxes = db.execute(
        "SELECT id, name, special_use FROM mailbox "
        "WHERE owner = (SELECT owner FROM mailbox WHERE id = ? AND organization = ?)",
        (copy.mailbox, given.tenant),
    )
    for mailbox, name in retries.counting(mailboxes).items():
        # The newest come first: there may be very many, when a mail without any personal word went to all of a tenant.
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
