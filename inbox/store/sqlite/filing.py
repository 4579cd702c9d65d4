"""Writing what arrived; the caller holds the transaction."""

from __future__ import annotations

import sqlite3

from inbox.mail.flags import Flag
from inbox.store.records import Arrival, Copy, Filing, Placed
from inbox.store.sqlite import rows
from inbox.store.sqlite.entries import claim_uids
from inbox.store.texts import clean, clean_or_none

_SEEN = int(Flag.SEEN)


def file_arrival(db: sqlite3.Connection, arrival: Arrival) -> list[list[Placed]]:
    """Writes mails, their entries and the decision records. Raises NotFound: a mailbox is gone."""
    placed = [_file(db, filing) for filing in arrival.filings]
    if arrival.decisions:
        rows.add_decisions(db, arrival.decisions)
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
    placed = []
    for copy in filing.copies:
        known = _recognised(db, email.tenant, email_id, copy) if filing.recognise else None
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


def _recognised(db: sqlite3.Connection, tenant: str, email: str, copy: Copy) -> Placed | None:
    """The copy of this mail that the same owner has already, for the same recipient if it is quarantined."""
    row = db.execute(
        'SELECT d."out", d.uid, d.modseq FROM has_email_delivery d JOIN mailbox m ON m.id = d."out" '
        'WHERE d."in" = ? AND m.owner = (SELECT owner FROM mailbox WHERE id = ? AND organization = ?) '
        "AND d.recipient IS ? LIMIT 1",
        (email, copy.mailbox, tenant, clean_or_none(copy.recipient)),
    ).fetchone()
    return Placed(row[0], email, row[1], row[2], fresh=False) if row else None
