"""State changes of jobs in SurrealDB: computed in Python from their rows, and written if the rows are unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inbox.store.job_states import becomes, history_of
from inbox.store.packed_jobs import packed, packed_states, stored_text
from inbox.store.ports.queue import LONGEST_LEASE, Finished, QueuedJob
from inbox.store.steps import CLOCK_SET_BACK_SECONDS
from inbox.store.surreal.job_counts import count_values
from inbox.store.surreal.jobs import Key, Row, delivery_row, job_id, turn_id, turn_of, turn_to_row
from inbox.store.surreal.values import RecordId


@dataclass(slots=True)
class JobChanges:
    """The changes that one transaction makes to the jobs that it has read."""

    #: The database's time at which they were read.
    now: float
    seen: dict[RecordId, Row]
    #: The tenants, of those whose jobs are to be claimed, that are disabled.
    disabled: frozenset[str] = frozenset()
    changed: dict[RecordId, Row] = field(default_factory=dict)
    gone: list[RecordId] = field(default_factory=list)
    delivered: list[Row] = field(default_factory=list)

    def set(self, job: RecordId, **values: Any) -> None:
        self.changed[job] = {**self.changed.get(job, self.seen[job]), **values}

    def remove(self, job: RecordId) -> None:
        self.gone.append(job)

    def values(self, shard: int) -> dict[str, Any]:
        """Returns the values to bind for the transaction of ``SurrealQueue``, which counts in a shard of its own."""
        touched = [*self.changed, *self.gone]
        turns_of = {one: turn_of(row, self.now) for one, row in self.changed.items()}
        mails = Counter(self.seen[one]["payload"] for one in self.gone)
        groups: dict[int, list[RecordId]] = {}
        for mail, count in mails.items():
            groups.setdefault(count, []).append(mail)
        return {
            "ids": touched,
            "seen": [self.seen[one]["version"] for one in touched],
            "left": [turn_id(turn) for one in touched if (turn := self.seen[one].get("turn")) is not None],
            "gone": self.gone,
            "changed": [{"id": one, "row": _written(row, turns_of[one])} for one, row in self.changed.items()],
            "turns": [turn_to_row(turn) for turn in turns_of.values() if turn is not None],
            "delivered": self.delivered,
            "uses": [{"n": count, "ids": ids} for count, ids in groups.items()],
            **count_values([self.seen[one] for one in touched], self.changed.values(), shard),
        }


def _written(row: Row, turn: Key | None) -> Row:
    kept = {name: value for name, value in row.items() if name not in ("id", "blob_path", "message_size")}
    alive_since = None if row["status"] == "dead" else row["created_at"]
    return {**kept, "version": row["version"] + 1, "turn": turn, "alive_since": alive_since}


def end(changes: JobChanges, one: RecordId, finished: Finished) -> None:
    """Ends a lease."""
    now, row, fate = changes.now, changes.seen[one], becomes(finished.states)
    if fate == "delivered":
        changes.remove(one)
        changes.delivered.append(delivery_row(row, finished, now))
        return
    values: Row = {
        "lease_owner": None,
        "lease_until": None,
        "dot_sent_at": None,
        "last_error": stored_text(finished.error),
        "signed": finished.signed or row.get("signed"),
        "states": packed_states(finished.states),
        "history": packed(history_of(finished)),
        "attempts": row["attempts"] - (not finished.counts),
        "status": "queued",
    }
    if fate == "dead":
        values |= {"status": "dead", "died_at": now}
    elif fate == "waiting":
        due = now + max(0.0, finished.delay)
        # The worker, whose clock decided, does not find it expired: it must not be due again at once.
        due = min(due, row["expires_at"]) if row["expires_at"] > now else due
        values |= {"waits_since": now, "next_attempt_at": due}
    else:
        values |= {"waits_since": None, "next_attempt_at": now}
    changes.set(one, **values)


def make_due(changes: JobChanges) -> None:
    now, ahead, longest = changes.now, changes.now + CLOCK_SET_BACK_SECONDS, changes.now + LONGEST_LEASE
    for one, row in changes.seen.items():
        if row["status"] == "processing":
            overdue = row["lease_until"] <= now or row["lease_until"] > longest
        else:
            set_back = (row.get("waits_since") or 0.0) > ahead and row["not_before"] <= now
            overdue = (row.get("turn") or [""])[0] == "w" and (row["next_attempt_at"] <= now or set_back)
        if overdue:
            due = min(row["next_attempt_at"], now)
            changes.set(one, status="queued", lease_owner=None, lease_until=None, waits_since=None, next_attempt_at=due)


def held_by_worker(changes: JobChanges, job: QueuedJob) -> RecordId | None:
    """Returns the id of the job's row while its worker holds the lease."""
    one = id_of(job)
    row: Mapping[str, Any] = changes.seen.get(one, {})
    held = row.get("status") == "processing" and (row["lease_owner"], row["fence"]) == (job.lease_owner, job.fence)
    return one if held else None


def id_of(job: QueuedJob) -> RecordId:
    return job_id(job.tenant, job.job.id)
