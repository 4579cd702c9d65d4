"""Reports that come after the attempts of a job, in SQLite; the caller holds the transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from inbox.base.errors import StoreUnavailable
from inbox.store.job_states import amended
from inbox.store.packed_jobs import packed, packed_states, unpacked_history, unpacked_recipients, unpacked_states
from inbox.store.ports.queue import AttemptRecord, RecipientState

#: A job is in one of these tables.
_TABLES: Final = (("outbound_queue", "status"), ("outbound_delivery", "'delivered'"))


def amend(
    db: sqlite3.Connection, tenant: str, job: str, later: Mapping[int, RecipientState], record: AttemptRecord
) -> bool:
    """``JobReports.amend``. Raises StoreUnavailable."""
    for table, status in _TABLES:
        row = db.execute(
            f"SELECT {status}, recipients, states, history FROM {table} WHERE job_id = ? AND org_id = ?", (job, tenant)
        ).fetchone()
        if row is None:
            continue
        if row[0] == "processing":
            raise StoreUnavailable(f"job {job} is being delivered, try again later")
        states = unpacked_states(row[2], len(unpacked_recipients(row[1])))
        changed = amended(states, unpacked_history(row[3]), later, record)
        if changed is not None:
            db.execute(
                f"UPDATE {table} SET states = ?, history = ? WHERE job_id = ?",
                (packed_states(changed[0]), packed(changed[1]), job),
            )
        return True
    return False
