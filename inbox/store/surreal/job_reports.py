"""Reports that come after the attempts of a job, in SurrealDB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inbox.base.errors import StoreUnavailable
from inbox.store.job_states import amended
from inbox.store.packed_jobs import packed, packed_states, unpacked_history, unpacked_recipients, unpacked_states
from inbox.store.ports.queue import AttemptRecord, RecipientState

#: Changes a delivery if its history is still the one that was read.
AMEND_DELIVERY: Final = """
LET $now = (SELECT VALUE history FROM ONLY $id);
IF $now != $seen { THROW 'inbox stale' };
UPDATE $id MERGE $values RETURN NONE;
RETURN true"""


def values_after(
    row: Mapping[str, Any], later: Mapping[int, RecipientState], record: AttemptRecord
) -> dict[str, str] | None:
    """The fields of a job's or delivery's row that ``amend`` changes; None if the report is recorded already.

    Raises:
        StoreUnavailable: a worker holds the job.
    """
    if row.get("status") == "processing":
        raise StoreUnavailable(f"job {row['job_id']} is being delivered, try again later")
    states = unpacked_states(row.get("states") or "", len(unpacked_recipients(row["recipients"])))
    changed = amended(states, unpacked_history(row.get("history") or ""), later, record)
    return None if changed is None else {"states": packed_states(changed[0]), "history": packed(changed[1])}
