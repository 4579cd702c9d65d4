"""Rows of the outbound queue in SurrealDB.

The field ``turn`` of a job's row is its key in ``outbound_turn``, which has one record for each job that is due,
waiting, leased or dead. A row and its turn are always written together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from inbox.store.job_states import history_of
from inbox.store.packed_jobs import (
    job_texts,
    packed,
    packed_states,
    unpacked_history,
    unpacked_recipients,
    unpacked_states,
)
from inbox.store.ports.hosting import Scope
from inbox.store.ports.queue import LONGEST_LEASE, DeliveryRecord, Finished, Job, Lease, QueuedJob
from inbox.store.surreal.job_counts import COUNT_JOBS
from inbox.store.surreal.rows import address_id, organization_id
from inbox.store.surreal.values import LAST, Keys, RecordId, micros
from inbox.store.texts import clean
from inbox.store.turns import Turn, first_due, lane_of

#: Writes the rows and turns of :func:`job_values` and their ``count_values``, inside a transaction that counts them in
#: ``copies`` of their message.
ADD_JOBS: Final = f"""
INSERT INTO outbound_queue $jobs RETURN NONE;
INSERT INTO outbound_turn $turns RETURN NONE;
{COUNT_JOBS}"""

Row = dict[str, Any]
Key = tuple[Any, ...]

_COLUMN_OF: Final = {"id": "job_id", "job_class": "class", "transaction": "decision", "tenant": "org_id"}
_JOB: Final = {one.name: _COLUMN_OF.get(one.name, one.name) for one in fields(Job)}
_STATE: Final = (
    "status", "attempts", "next_attempt_at", "last_error", "hold_reason", "lease_owner", "lease_until", "fence",
    "dot_sent_at", "died_at", "signed",
)  # fmt: skip


def job_id(tenant: str, job: str) -> RecordId:
    return RecordId("outbound_queue", (tenant, job))


def turn_id(key: Sequence[Any]) -> RecordId:
    return RecordId("outbound_turn", tuple(key))


def turn_to_row(key: Sequence[Any]) -> Row:
    """Returns the record of a turn. Its fields repeat parts of its id, because there are indexes of fields only."""
    if key[0] != "r":
        return {"id": list(key), "kind": key[0], "at": key[1]}
    kind, tenant, lane, rank, at, _ = key
    return {"id": list(key), "kind": kind, "tenant": tenant, "lane": lane, "rank": rank, "at": at}


def of_tenant(table: str, tenant: str | None) -> Keys:
    """Returns the records of a tenant, or of all tenants, in a table whose keys begin with the tenant."""
    return Keys(table, [""], [LAST]) if tenant is None else Keys(table, [tenant], [tenant, LAST])


#: Finds the account of the address that :func:`jobs_of` binds.
ACCOUNT_OF_ADDRESS: Final = "(SELECT VALUE record::id(account) FROM ONLY $address WHERE organization = $organization)"


def jobs_of(scope: Scope) -> tuple[str, Row]:
    """Returns a condition for the jobs of a tenant, sent from a domain, or of an account (``$account``), and its
    values."""
    where = "true"
    if scope.domain is not None:
        where = "sender_domain = $domain"
    elif scope.account is not None:
        where = "(sender = $sender OR actor_account = $account)"
    return where, {
        "keys": of_tenant("outbound_queue", scope.tenant),
        "domain": clean(scope.domain or ""),
        "sender": clean(scope.account or ""),
        "address": address_id(scope.account or ""),
        "organization": organization_id(scope.tenant),
    }


def job_values(
    tenant: str, email: str, jobs: Iterable[Job], lease: Lease | None = None, now: float = 0.0
) -> dict[str, list[Row]]:
    """Returns the values to bind for ADD_JOBS: rows and turns of the jobs of one message; with ``lease``, a worker has
    leased them, beginning ``now`` by the database's time."""
    found = [_new(tenant, email, job, lease, now) for job in jobs]
    return {"jobs": found, "turns": [turn_to_row(row["turn"]) for row in found]}


def _new(tenant: str, email: str, job: Job, lease: Lease | None, now: float) -> Row:
    job = job_texts(job)
    ready, due = first_due(job)
    row: Row = {column: getattr(job, name) for name, column in _JOB.items()}
    row |= {
        "id": [tenant, job.id],
        "org_id": tenant,
        "payload_kind": "email",
        "payload": RecordId("email", email),
        "sender_domain": job.sender.rpartition("@")[2].lower(),
        "lane": lane_of(job.domain, job.job_class),
        "recipients": packed(job.recipients),
        "status": "queued",
        "attempts": 0,
        "fence": 0,
        "version": 0,
        "alive_since": job.created_at,
        "next_attempt_at": due,
        "waits_since": None if ready else job.created_at,
    }
    if lease is not None and ready:
        row |= {
            "status": "processing",
            "attempts": 1,
            "fence": 1,
            "lease_owner": lease.owner,
            "lease_until": now + min(lease.seconds, LONGEST_LEASE),
        }
    row["turn"] = turn_of(row, due if ready else job.created_at)
    return row


def turn_of(row: Mapping[str, Any], now: float) -> Key | None:
    """Returns the job's current turn; None while it is held."""
    tenant, job = row["org_id"], row["job_id"]
    if row["status"] == "dead":
        return "d", micros(row["died_at"]), tenant, job
    if row["status"] == "processing":
        return "l", micros(row["lease_until"]), tenant, job
    if row.get("hold_reason") is not None:
        return None
    if row["next_attempt_at"] <= now:
        return "r", tenant, row["lane"], -row["priority"], micros(row["next_attempt_at"]), job
    return "w", micros(row["next_attempt_at"]), tenant, job


def row_to_turn(key: Key) -> Turn:
    """Returns a due job, from its key."""
    _, tenant, lane, rank, at, job = key
    return Turn(tenant, lane, rank, at, job)


def row_to_job(row: Mapping[str, Any]) -> QueuedJob:
    """Converts a row with the ``blob_path`` and ``message_size`` of its message."""
    values = {name: row[column] for name, column in _JOB.items() if row.get(column) is not None}
    recipients = values["recipients"] = unpacked_recipients(values["recipients"])
    state = {name: row[name] for name in _STATE if row.get(name) is not None}
    states = unpacked_states(row.get("states") or "", len(recipients))
    return QueuedJob(
        Job(**values), row["org_id"], row["payload"].key, row.get("blob_path") or "", states,
        history=unpacked_history(row.get("history") or ""), size=row.get("message_size") or 0, **state,
    )  # fmt: skip


def delivery_row(job: Mapping[str, Any], finished: Finished, at: float) -> Row:
    copied = ("sender", "domain", "recipients", "decision", "actor_account", "shared_inbox", "job_id", "org_id")
    return {
        "id": [job["org_id"], job["job_id"]],
        "delivered_at": at,
        "email": job["payload"].key,
        "states": packed_states(finished.states),
        "history": packed(history_of(finished)),
        **{name: job.get(name) for name in copied},
    }


def row_to_delivery(row: Mapping[str, Any]) -> DeliveryRecord:
    values: dict[str, Any] = {one.name: row.get(_COLUMN_OF.get(one.name, one.name)) for one in fields(DeliveryRecord)}
    recipients = unpacked_recipients(values["recipients"])
    values |= {
        "recipients": recipients,
        "states": unpacked_states(values["states"], len(recipients)),
        "history": unpacked_history(values["history"]),
    }
    return DeliveryRecord(**values)
