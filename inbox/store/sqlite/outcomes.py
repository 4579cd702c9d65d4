"""The writes of a queue worker about the jobs that it has leased: final dots, and the ends of leases.

They are values, so that the process that writes accepted messages can write them, too: then a server has one writer,
and outcomes share the commits of new messages.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from inbox.store.job_states import becomes, history_of
from inbox.store.packed_jobs import packed, packed_states, stored_text
from inbox.store.ports.queue import LONGEST_LEASE, Finished, QueuedJob, Sending
from inbox.store.sqlite.jobs import add_delivery, delivery_row, drop_mails

#: The lease that must still be held: job, tenant, owner, fence.
Held = tuple[str, str, str | None, int]
HELD_BY: Final = "job_id = ? AND org_id = ? AND status = 'processing' AND lease_owner = ? AND fence = ?"
_SENDING: Final = f"UPDATE outbound_queue SET dot_sent_at = ?, signed = iif(? = x'', signed, ?) WHERE {HELD_BY}"
#: Extends the lease, too. Most dots do not: an index of leases is written for it.
_SENDING_LONGER: Final = _SENDING.replace("SET ", "SET lease_until = max(lease_until, ?), ")
_DELIVERED: Final = f"DELETE FROM outbound_queue WHERE {HELD_BY} RETURNING payload"
#: Ends a lease. A job that is due at once waits for nothing; one that failed is dead.
_END: Final = f"""
    UPDATE outbound_queue SET lease_owner = NULL, lease_until = 0, dot_sent_at = 0, states = ?, history = ?,
        signed = iif(? = x'', signed, ?),
        last_error = ?, attempts = attempts - ?, status = ?, ready = ? AND hold_reason IS NULL, waits_since = ?,
        next_attempt_at = iif(expires_at > ?, min(?, expires_at), ?), died_at = ?
    WHERE {HELD_BY}"""


class Dot(msgspec.Struct, frozen=True, array_like=True):
    """A final dot that is about to be sent. ``signed``: the header fields that the attempt added, possibly none.
    ``until``: the earliest end of the lease from now on, in seconds since the epoch; 0 leaves it."""

    held: Held
    signed: bytes
    until: float = 0.0


class Delivered(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A job that ends. ``record``: its row of ``outbound_delivery``, except for the time and the message."""

    held: Held
    record: tuple[Any, ...]


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A job that stays: it waits, is due at once, or is dead (``fate``, see :func:`inbox.store.job_states.becomes`)."""

    held: Held
    fate: str
    states: str
    history: str
    signed: bytes
    error: str
    counts: bool
    delay: float


class Outcomes(msgspec.Struct, frozen=True, array_like=True):
    """The rows that one transaction writes. ``at``: seconds since the epoch."""

    at: float
    dots: tuple[Dot, ...] = ()
    ends: tuple[Delivered | Ended, ...] = ()


def held_by(job: QueuedJob) -> Held:
    """Returns the lease of a job."""
    return job.job.id, job.tenant, job.lease_owner, job.fence


def dots(sending: Sequence[Sending], at: float) -> Outcomes:
    """Returns the writes of ``Queue.sending``."""
    return Outcomes(at, tuple([_dot(one, at) for one in sending]))


def _dot(one: Sending, at: float) -> Dot:
    return Dot(held_by(one.job), one.signed, at + min(one.lease, LONGEST_LEASE) if one.lease else 0.0)


def ends(finished: Sequence[Finished], at: float) -> Outcomes:
    """Returns the writes of ``Queue.finish``."""
    return Outcomes(at, ends=tuple([_end(one) for one in finished]))


def _end(one: Finished) -> Delivered | Ended:
    held, fate = held_by(one.job), becomes(one.states)
    if fate == "delivered":
        return Delivered(held, delivery_row(one))
    return Ended(
        held, fate, packed_states(one.states), packed(history_of(one)), one.signed, stored_text(one.error), one.counts,
        max(0.0, one.delay),
    )  # fmt: skip


def write_outcomes(db: sqlite3.Connection, outcomes: Outcomes) -> list[str]:
    """Writes them, in the caller's transaction. Returns the ids of the jobs that were still held; nothing is written
    about the others."""
    at = outcomes.at
    held = [dot.held[0] for dot in outcomes.dots if _write_dot(db, dot, at)]
    mails: list[str] = []
    for end in outcomes.ends:
        if isinstance(end, Delivered):
            gone = db.execute(_DELIVERED, end.held).fetchone()
            if gone is None:
                continue
            add_delivery(db, end.record, at, gone[0])
            mails.append(gone[0])
        elif not db.execute(_END, (*_values(end, at), *end.held)).rowcount:
            continue
        held.append(end.held[0])
    if mails:
        drop_mails(db, mails)
    return held


def _write_dot(db: sqlite3.Connection, dot: Dot, at: float) -> int:
    values = (at, dot.signed, dot.signed, *dot.held)
    if dot.until:
        return db.execute(_SENDING_LONGER, (dot.until, *values)).rowcount
    return db.execute(_SENDING, values).rowcount


def _values(end: Ended, at: float) -> tuple[Any, ...]:
    waits, dead = end.fate == "waiting", end.fate == "dead"
    due = at + end.delay if waits else at
    return (
        end.states, end.history, end.signed, end.signed, end.error, int(not end.counts), "dead" if dead else "queued",
        int(end.fate == "due"), at if waits else 0.0, at, due, due, at if dead else 0.0,
    )  # fmt: skip
