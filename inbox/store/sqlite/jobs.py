"""Rows of the outbound queue in SQLite; the caller holds the transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Final

from inbox.base.errors import AlreadyExists, NotFound
from inbox.store.job_states import history_of
from inbox.store.packed_jobs import (
    job_texts,
    packed,
    packed_states,
    unpacked_history,
    unpacked_recipients,
    unpacked_states,
)
from inbox.store.ports.hosting import STEP, Scope
from inbox.store.ports.queue import LONGEST_LEASE, MOST_JOBS, DeliveryRecord, Finished, Job, Lease, QueuedJob
from inbox.store.sqlite.rows import words_to_text
from inbox.store.turns import first_due, lane_of

_COLUMN_OF: Final = {"id": "job_id", "job_class": "class", "transaction": "decision", "tenant": "org_id"}
_JOB_FIELDS: Final = tuple(one.name for one in fields(Job))
_JOB: Final = tuple(_COLUMN_OF.get(name, name) for name in _JOB_FIELDS)
_STATE: Final = (
    "org_id", "payload", "states", "status", "attempts", "next_attempt_at", "last_error", "history", "signed",
    "hold_reason", "lease_owner", "lease_until", "fence", "dot_sent_at", "died_at",
)  # fmt: skip
_READ: Final = (
    f"SELECT e.blob_path, e.size, {', '.join(f'q.{name}' for name in (*_JOB, *_STATE))} "
    "FROM outbound_queue q JOIN email e ON e.id = q.payload "
)
_ADDED: Final = (
    *_JOB, "org_id", "payload", "sender_domain", "lane", "ready", "next_attempt_at", "waits_since", "status",
    "attempts", "fence", "lease_owner", "lease_until",
)  # fmt: skip
_ADD: Final = f"INSERT INTO outbound_queue ({', '.join(_ADDED)}) VALUES ({', '.join('?' * len(_ADDED))})"
_DELIVERY: Final = tuple(_COLUMN_OF.get(one.name, one.name) for one in fields(DeliveryRecord))
_ADD_DELIVERY: Final = (
    f"INSERT OR REPLACE INTO outbound_delivery ({', '.join(_DELIVERY)}) VALUES ({', '.join('?' * len(_DELIVERY))})"
)
_RECIPIENTS: Final = _JOB_FIELDS.index("recipients")
_FLAGS: Final = (_JOB_FIELDS.index("smtputf8"), _JOB_FIELDS.index("require_tls"))


def add_jobs(db: sqlite3.Connection, tenant: str, email: str, jobs: Sequence[Job], lease: Lease | None = None) -> None:
    """Writes jobs for a stored message, in the caller's transaction; with ``lease``, a worker has leased them.

    Raises:
        NotFound: the tenant has no such message, or is gone or disabled.
        AlreadyExists: a job with one of these ids exists.
    """
    if not jobs:
        return
    own = (
        "SELECT 1 FROM email e JOIN organization o ON o.id = e.organization WHERE e.id = ? AND o.id = ? AND o.is_active"
    )
    if db.execute(own, (email, tenant)).fetchone() is None:
        raise NotFound(f"tenant {tenant} has no message {email}, or is disabled")
    try:
        db.executemany(_ADD, [_row(tenant, email, job, lease) for job in jobs])
    except sqlite3.IntegrityError as error:
        raise AlreadyExists(f"one of the {len(jobs)} new jobs has the id of an existing job") from error


def _row(tenant: str, email: str, job: Job, lease: Lease | None) -> tuple[Any, ...]:
    job = job_texts(job)
    values: list[Any] = [getattr(job, name) for name in _JOB_FIELDS]
    values[_RECIPIENTS] = packed(job.recipients)
    ready, due = first_due(job)
    sender_domain = job.sender.rpartition("@")[2].lower()
    state: tuple[Any, ...] = (int(ready), due, 0.0 if ready else job.created_at, "queued", 0, 0, None, 0.0)
    if lease is not None and ready:
        state = (0, due, 0.0, "processing", 1, 1, lease.owner, lease.at + min(lease.seconds, LONGEST_LEASE))
    return (*values, tenant, email, sender_domain, lane_of(job.domain, job.job_class), *state)


def read(db: sqlite3.Connection, where: str, values: dict[str, Any]) -> list[QueuedJob]:
    """Returns jobs; ``where`` uses ``q`` as the name of the table."""
    return [_queued(row) for row in db.execute(_READ + where, values)]


def _queued(row: Sequence[Any]) -> QueuedJob:
    blob_path, size, *values = row
    recipients = values[_RECIPIENTS] = unpacked_recipients(values[_RECIPIENTS])
    for flag in _FLAGS:
        values[flag] = bool(values[flag])
    job = Job(*values[: len(_JOB)])
    tenant, email, states, status, attempts, at, error, history, *rest = (*values[len(_JOB) :], size)
    return QueuedJob(
        job, tenant, email, blob_path, unpacked_states(states, len(recipients)), status, attempts, at, error,
        unpacked_history(history), *rest,
    )  # fmt: skip


def delivery_row(finished: Finished) -> tuple[Any, ...]:
    """Returns the values of a delivery record, except for the time and the message."""
    one = finished.job.job
    return (
        one.id, finished.job.tenant, one.sender, one.domain, packed(one.recipients), packed_states(finished.states),
        packed(history_of(finished)), one.transaction, one.actor_account, one.shared_inbox,
    )  # fmt: skip


def add_delivery(db: sqlite3.Connection, row: Sequence[Any], at: float, email: str) -> None:
    """Writes a row of :func:`delivery_row` in the caller's transaction."""
    db.execute(_ADD_DELIVERY, (*row[:2], at, email, *row[2:]))


def read_deliveries(db: sqlite3.Connection, where: str, values: Sequence[Any]) -> list[DeliveryRecord]:
    found = db.execute(f"SELECT {', '.join(_DELIVERY)} FROM outbound_delivery {where}", values)
    return [_delivery(row) for row in found]


def _delivery(row: Sequence[Any]) -> DeliveryRecord:
    job, tenant, at, email, sender, domain, recipients, states, history, *rest = row
    to = unpacked_recipients(recipients)
    unpacked = unpacked_states(states, len(to)), unpacked_history(history)
    return DeliveryRecord(job, tenant, at, email, sender, domain, to, *unpacked, *rest)


def of_transaction(db: sqlite3.Connection, tenant: str, transaction: str) -> list[QueuedJob | DeliveryRecord]:
    if not transaction:
        return []
    values = {"tenant": tenant, "transaction": transaction}
    where = "org_id = ? AND decision = ? AND decision <> '' ORDER BY job_id LIMIT ?"
    queued = read(
        db,
        f"WHERE q.org_id = :tenant AND q.decision = :transaction AND q.decision <> '' "
        f"ORDER BY q.job_id LIMIT {MOST_JOBS}",
        values,
    )
    return [*queued, *read_deliveries(db, f"WHERE {where}", (tenant, transaction, MOST_JOBS - len(queued)))]


def drop_mails(db: sqlite3.Connection, emails: Iterable[str]) -> None:
    """Removes those of the messages that neither a mailbox nor a job refers to any more."""
    db.execute(
        "DELETE FROM email WHERE id IN (SELECT value FROM json_each(?)) "
        'AND NOT EXISTS (SELECT 1 FROM has_email_delivery d WHERE d."in" = email.id) '
        "AND NOT EXISTS (SELECT 1 FROM outbound_queue q WHERE q.payload = email.id)",
        (words_to_text(list(set(emails))),),
    )


def remove(db: sqlite3.Connection, tenant: str, jobs: Sequence[str]) -> int:
    """Removes a tenant's jobs, and the messages that nothing else refers to; returns how many jobs."""
    gone = db.execute(
        "DELETE FROM outbound_queue WHERE org_id = ? AND job_id IN (SELECT value FROM json_each(?)) RETURNING payload",
        (tenant, words_to_text(list(jobs))),
    ).fetchall()
    drop_mails(db, [email for (email,) in gone])
    return len(gone)


def find(db: sqlite3.Connection, scope: Scope) -> list[str]:
    """Returns ids of up to STEP jobs of a tenant, sent from a domain, or of an account."""
    sql, values = _of(scope)
    return [one for (one,) in db.execute(f"{sql} LIMIT {STEP}", values)]


def count(db: sqlite3.Connection, scope: Scope) -> int:
    """Counts the jobs in the scope."""
    sql, values = _of(scope)
    return int(db.execute(f"SELECT count(*) FROM ({sql})", values).fetchone()[0])


def _of(scope: Scope) -> tuple[str, dict[str, str | None]]:
    values = {"tenant": scope.tenant, "domain": scope.domain, "account": scope.account}
    sql = "SELECT job_id FROM outbound_queue WHERE org_id = :tenant"
    if scope.domain is not None:
        sql += " AND sender_domain = :domain"
    elif scope.account is not None:
        # Two conditions with an index each; an OR would read all of the tenant's jobs.
        domain = scope.account.rpartition("@")[2]
        values["domain"] = domain
        sql = (
            f"{sql} AND sender_domain = :domain AND sender = :account UNION {sql} AND actor_account = "
            "(SELECT id FROM account WHERE organization = :tenant AND address = :account)"
        )
    return sql, values


def find_dead(db: sqlite3.Connection, before: float) -> list[str]:
    """Returns ids of up to STEP jobs of all tenants that died before a time."""
    sql = f"SELECT job_id FROM outbound_queue WHERE status = 'dead' AND died_at < ? LIMIT {STEP}"
    return [one for (one,) in db.execute(sql, (before,))]


def remove_dead(db: sqlite3.Connection, jobs: Sequence[str], before: float) -> int:
    """Removes those of the jobs that are still dead: an operator may have retried some."""
    gone = db.execute(
        "DELETE FROM outbound_queue WHERE job_id IN (SELECT value FROM json_each(?)) "
        "AND status = 'dead' AND died_at < ? RETURNING payload",
        (words_to_text(list(jobs)), before),
    ).fetchall()
    drop_mails(db, [email for (email,) in gone])
    return len(gone)


def prune_deliveries(db: sqlite3.Connection, before: float) -> int:
    """Runs one step of removing old delivery records."""
    return _delete_deliveries(db, "delivered_at < ?", before)


def forget_deliveries(db: sqlite3.Connection, tenant: str) -> int:
    """Runs one step of removing a tenant's delivery records."""
    return _delete_deliveries(db, "org_id = ?", tenant)


def _delete_deliveries(db: sqlite3.Connection, where: str, value: object) -> int:
    return db.execute(
        "DELETE FROM outbound_delivery WHERE job_id IN "
        f"(SELECT job_id FROM outbound_delivery WHERE {where} LIMIT {STEP})",
        (value,),
    ).rowcount
