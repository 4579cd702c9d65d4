"""Operations on mailbox entries that the repositories share; each keeps the mailbox's counters correct.

The caller holds the transaction and has checked that the mailboxes belong to the tenant.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from inbox.base.errors import NotFound
from inbox.mail.flags import Flag
from inbox.store.sqlite.rows import words_to_text

#: The maximum number of uids in one statement.
CHUNK: Final = 1000
_SEEN: Final = int(Flag.SEEN)
_COPIED: Final = (
    '"in", flags, keywords, status, assignee, tags, priority, due_at, received_at, prepended, recipient, reason, size'
)


def uids_json(uids: Sequence[int]) -> str:
    """Returns uids for ``json_each``, which needs one parameter for any number of them."""
    return "[" + ",".join(map(str, uids)) + "]"


def claim_uids(
    db: sqlite3.Connection, tenant: str, mailbox: str, count: int, unseen: int, size: int
) -> tuple[int, int, str | None]:
    """Reserves uids for ``count`` entries. Returns the first uid, the new modseq and the mailbox's account.

    Raises:
        NotFound: the tenant has no such mailbox.
    """
    row = db.execute(
        "UPDATE mailbox SET next_uid = next_uid + ?1, modseq = modseq + 1, messages = messages + ?1, "
        "unseen = unseen + ?2, size = size + ?3 WHERE id = ?4 AND organization = ?5 "
        "RETURNING next_uid, modseq, account",
        (count, unseen, size, mailbox, tenant),
    ).fetchone()
    if row is None:
        raise NotFound(f"no mailbox {mailbox}")
    return row[0] - count, row[1], row[2]


def check(db: sqlite3.Connection, tenant: str, mailbox: str) -> int:
    """Returns the mailbox's modseq. Raises NotFound unless the mailbox belongs to this tenant."""
    row = db.execute("SELECT modseq FROM mailbox WHERE id = ? AND organization = ?", (mailbox, tenant)).fetchone()
    if row is None:
        raise NotFound(f"no mailbox {mailbox}")
    return int(row[0])


def next_modseq(db: sqlite3.Connection, mailbox: str) -> int:
    """Returns a new modseq for one change of a mailbox."""
    (modseq,) = db.execute(
        "UPDATE mailbox SET modseq = modseq + 1 WHERE id = ? RETURNING modseq", (mailbox,)
    ).fetchone()
    return int(modseq)


def delete_entries(
    db: sqlite3.Connection, mailbox: str, uids: Sequence[int], *, only: int = 0, remember: bool = True
) -> list[int]:
    """Removes entries, records their uids as expunged, and removes messages that no mailbox and no job refers to any
    more.

    Returns the uids that were removed, in order.

    Args:
        only: entries without all of these flags stay.
        remember: False if no client will ask for the changes of the mailbox.
    """
    gone: list[int] = []
    modseq = 0
    for start in range(0, len(uids), CHUNK):
        rows = db.execute(
            'DELETE FROM has_email_delivery WHERE "out" = ? AND uid IN (SELECT value FROM json_each(?)) '
            'AND flags & ? = ? RETURNING uid, "in", flags, size',
            (mailbox, uids_json(uids[start : start + CHUNK]), only, only),
        ).fetchall()
        if not rows:
            continue
        modseq = modseq or next_modseq(db, mailbox)
        db.execute(
            "UPDATE mailbox SET messages = messages - ?, unseen = unseen - ?, size = size - ? WHERE id = ?",
            (len(rows), sum(not row[2] & _SEEN for row in rows), sum(row[3] for row in rows), mailbox),
        )
        if remember:
            db.executemany(
                "INSERT OR REPLACE INTO expunged (mailbox, modseq, uid) VALUES (?, ?, ?)",
                [(mailbox, modseq, row[0]) for row in rows],
            )
        db.execute(
            "DELETE FROM email WHERE id IN (SELECT value FROM json_each(?)) "
            'AND NOT EXISTS (SELECT 1 FROM has_email_delivery d WHERE d."in" = email.id) '
            "AND NOT EXISTS (SELECT 1 FROM outbound_queue q WHERE q.payload = email.id)",
            (words_to_text(list({row[1] for row in rows})),),
        )
        gone.extend(row[0] for row in rows)
    return sorted(gone)


def copy_entries(
    db: sqlite3.Connection, tenant: str, source: str, uids: Sequence[int], target: str
) -> list[tuple[int, int]]:
    """Copies entries with their flags. Returns (old uid, new uid), by old uid."""
    there = db.execute(
        'SELECT uid, flags, size FROM has_email_delivery WHERE "out" = ? AND uid IN (SELECT value FROM json_each(?)) '
        "ORDER BY uid",
        (source, uids_json(uids)),
    ).fetchall()
    if not there:
        return []
    unseen = sum(not row[1] & _SEEN for row in there)
    first, modseq, _ = claim_uids(db, tenant, target, len(there), unseen, sum(row[2] for row in there))
    pairs = [(row[0], first + index) for index, row in enumerate(there)]
    db.executemany(
        f'INSERT INTO has_email_delivery ("out", uid, modseq, {_COPIED}) '
        f'SELECT ?, ?, ?, {_COPIED} FROM has_email_delivery WHERE "out" = ? AND uid = ?',
        [(target, new, modseq, source, old) for old, new in pairs],
    )
    return pairs


def move_entries(db: sqlite3.Connection, source: str, uids: Sequence[int], target: str) -> list[tuple[int, int]]:
    """Copies, then removes from the source."""
    (tenant,) = db.execute("SELECT organization FROM mailbox WHERE id = ?", (source,)).fetchone()
    pairs = copy_entries(db, tenant, source, uids, target)
    delete_entries(db, source, [old for old, _ in pairs])
    return pairs
