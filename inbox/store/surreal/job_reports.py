"""Reports that come after the attempts of a job, in SurrealDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from inbox.base.errors import StoreUnavailable
from inbox.store.job_states import amended
from inbox.store.packed_jobs import packed, packed_states, unpacked_history, unpacked_recipients, unpacked_states
from inbox.store.ports.queue import AttemptRecord, RecipientState
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.job_changes import JobChanges
from inbox.store.surreal.values import RecordId

#: Changes a delivery if its history is still the one that was read.
_AMEND_DELIVERY: Final = """
LET $now = (SELECT VALUE history FROM ONLY $id);
IF $now != $seen { THROW 'inbox stale' };
UPDATE $id MERGE $values RETURN NONE;
RETURN true"""


def _values_after(
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


def amending(later: Mapping[int, RecipientState], record: AttemptRecord) -> Callable[[JobChanges], None]:
    """The change of a job in the queue that records a report. Raises StoreUnavailable while a worker holds the job."""

    def work(changes: JobChanges) -> None:
        for one, row in changes.seen.items():
            if values := _values_after(row, later, record):
                changes.set(one, **values)

    return work


async def amend_delivery(
    gateway: Gateway, tenant: str, job: str, later: Mapping[int, RecipientState], record: AttemptRecord
) -> bool:
    """Records a report with a delivery. Returns False if there is none."""
    one = RecordId("outbound_delivery", (tenant, job))

    async def attempt() -> bool:
        (row,) = await gateway.query("SELECT * FROM ONLY $id", id=one)
        if row and (values := _values_after(row, later, record)):
            await gateway.transaction(_AMEND_DELIVERY, id=one, seen=row["history"], values=values)
        return bool(row)

    return await gateway.retried(attempt)
