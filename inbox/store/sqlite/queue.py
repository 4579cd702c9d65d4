"""The outbound queue in SQLite.

Readers find due jobs; the writer only checks that they are still due, and changes rows by their keys.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any, Final, Protocol

from inbox.base.clock import Clock
from inbox.store import turns
from inbox.store.bus import Bus
from inbox.store.job_states import revived
from inbox.store.packed_jobs import packed_states, unpacked_recipients, unpacked_states
from inbox.store.ports.changes import QUEUE
from inbox.store.ports.hosting import STEP, Scope
from inbox.store.ports.job_filter import ALL, JobFilter
from inbox.store.ports.queue import (
    LONGEST_LEASE,
    AttemptRecord,
    DeliveryRecord,
    Finished,
    Job,
    Lane,
    QueueCount,
    QueuedJob,
    RecipientState,
    Sending,
    bounded,
)
from inbox.store.room import Room
from inbox.store.sqlite import jobs as rows
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.job_reports import amend
from inbox.store.sqlite.jobs import add_jobs
from inbox.store.sqlite.outcomes import HELD_BY, Outcomes, dots, ends, held_by, write_outcomes
from inbox.store.sqlite.rows import words_to_text
from inbox.store.steps import CLOCK_SET_BACK_SECONDS
from inbox.store.texts import clean

__all__ = ["SqliteQueue", "add_jobs"]

_IDS: Final = "job_id IN (SELECT value FROM json_each(:ids))"
_WAITING: Final = "status = 'queued' AND ready = 0 AND hold_reason IS NULL"
#: Jobs to make due: their time has come, their lease ended, or their wait began in the future.
_OVERDUE: Final = (
    f"SELECT job_id FROM outbound_queue WHERE {_WAITING} AND next_attempt_at <= :now",
    f"SELECT job_id FROM outbound_queue WHERE {_WAITING} AND waits_since > :ahead AND not_before <= :now",
    "SELECT job_id FROM outbound_queue WHERE status = 'processing' AND lease_until <= :now",
    "SELECT job_id FROM outbound_queue WHERE status = 'processing' AND lease_until > :longest",
)
#: Changes only jobs to which this still applies; a job that was held in the meantime stays held.
_MAKE_DUE: Final = f"""
    UPDATE outbound_queue SET status = 'queued', ready = hold_reason IS NULL, lease_owner = NULL, lease_until = 0,
        next_attempt_at = min(next_attempt_at, :now), waits_since = 0
    WHERE {_IDS} AND (
        ({_WAITING} AND (next_attempt_at <= :now OR (waits_since > :ahead AND not_before <= :now)))
        OR (status = 'processing' AND (lease_until <= :now OR lease_until > :longest)))"""
_CLAIM: Final = f"""
    UPDATE outbound_queue SET status = 'processing', ready = 0, lease_owner = :owner, lease_until = :until,
        fence = fence + 1, attempts = attempts + 1
    WHERE {_IDS} AND ready = 1 AND org_id NOT IN (SELECT id FROM organization WHERE NOT is_active)
    RETURNING job_id"""
_RETRY: Final = f"""
    UPDATE outbound_queue SET ready = hold_reason IS NULL, next_attempt_at = :now, waits_since = 0,
        expires_at = max(expires_at, :now + :lifetime), attempts = iif(status = 'dead', 0, attempts),
        status = 'queued', died_at = 0
    WHERE org_id = :tenant AND status <> 'processing' AND {_IDS}"""
#: Triggers keep ``outbound_count``, so that a long queue is not read.
_COUNT: Final = """
    SELECT org_id, domain, class, queued, processing, held, dead, ifnull((
        SELECT min(created_at) FROM outbound_queue q
        WHERE q.org_id = c.org_id AND q.domain = c.domain AND q.class = c.class AND q.status <> 'dead'), 0.0)
    FROM outbound_count c{where} ORDER BY org_id, domain, class"""
_PENDING: Final = """
    SELECT ifnull(sum(jobs), 0) FROM (
        SELECT queued + processing + held AS jobs FROM outbound_count WHERE org_id = ? AND jobs > 0 LIMIT ?)"""


_CONDITIONS: Final = {
    "tenant": "q.org_id = :tenant",
    "domain": "q.domain = :domain",
    "sender": "q.sender = :sender",
    "status": "q.status = :status",
    "before": "q.created_at < :before",
    "error": "instr(lower(q.last_error), lower(:error)) > 0",
}


class Recorder(Protocol):
    """The process that writes outcomes instead of this one, together with new messages."""

    async def record(self, outcomes: Outcomes) -> list[str]:
        """Writes outcomes as :func:`inbox.store.sqlite.outcomes.write_outcomes` does.

        Raises:
            StoreUnavailable, StoreError: the outcome is unknown, or nothing was written.
            UnicodeEncodeError: a string has a lone surrogate; nothing was sent.
        """
        ...


class SqliteQueue:
    """``Queue`` of ``inbox.store.ports.queue``.

    Args:
        worker: writes what this process records about its leases, if there is such a process.
    """

    def __init__(self, gateway: Gateway, clock: Clock, room: Room, bus: Bus, worker: Recorder | None = None) -> None:
        self._worker = worker
        self._gateway = gateway
        self._bus = bus
        self._room = room
        self._now = clock.now
        self._random = random.Random()  # noqa: S311 - the start need not be secret
        #: The tenant whose job was leased last.
        self._after = ""

    async def enqueue(self, tenant: str, email: str, jobs: Sequence[Job]) -> None:
        bounded(jobs)
        # New jobs are refused before the disk is full, so that queued jobs can still be finished.
        self._room.check()
        await self._gateway.write(lambda db: add_jobs(db, tenant, email, jobs), tenant=tenant)
        self._bus.publish((QUEUE,))

    async def lease(self, owner: str, limit: int, seconds: float, avoided: Set[Lane] = frozenset()) -> list[QueuedJob]:
        await self.release_expired()
        lane = self._random.randrange(turns.LANES)
        limit = min(limit, STEP)
        lanes = turns.lanes_of(avoided)
        chosen = await self._gateway.read(
            lambda db: _choose(db, turns.choose(limit, self._after, lane, _disabled(db), lanes))
        )
        if not chosen:
            return []
        self._after = turns.last_tenant(chosen, self._after)

        def work(db: sqlite3.Connection) -> list[QueuedJob]:
            until = self._now() + min(seconds, LONGEST_LEASE)
            ids = words_to_text([turn.job for turn in chosen])
            taken = [one for (one,) in db.execute(_CLAIM, {"ids": ids, "owner": owner, "until": until})]
            return rows.read(db, f"WHERE q.{_IDS}", {"ids": words_to_text(taken)})

        return turns.in_order(chosen, await self._gateway.write(work))

    async def renew(self, jobs: Sequence[QueuedJob], seconds: float) -> set[str]:
        def work(db: sqlite3.Connection) -> set[str]:
            until = self._now() + min(seconds, LONGEST_LEASE)
            sql = f"UPDATE outbound_queue SET lease_until = ? WHERE {HELD_BY}"
            return {job.job.id for job in bounded(jobs) if db.execute(sql, (until, *held_by(job))).rowcount}

        return await self._gateway.write(work)

    async def sending(self, sending: Sequence[Sending]) -> set[str]:
        return await self._record(dots(bounded(sending), self._now()))

    async def finish(self, finished: Sequence[Finished]) -> set[str]:
        return await self._record(ends(bounded(finished), self._now()))

    async def _record(self, outcomes: Outcomes) -> set[str]:
        if self._worker is not None:
            # A lone surrogate cannot be sent to another process, so this process writes it.
            with contextlib.suppress(UnicodeEncodeError):
                return set(await self._worker.record(outcomes))
        return set(await self._gateway.write(lambda db: write_outcomes(db, outcomes)))

    async def release_expired(self) -> int:
        def find(db: sqlite3.Connection) -> list[str]:
            times = self._times()
            return [one for sql in _OVERDUE for (one,) in db.execute(f"{sql} LIMIT {STEP}", times)]

        overdue = await self._gateway.read(find)
        if not overdue:
            return 0
        ids = words_to_text(overdue[:STEP])
        return await self._gateway.write(lambda db: db.execute(_MAKE_DUE, {"ids": ids, **self._times()}).rowcount)

    def _times(self) -> dict[str, float]:
        now = self._now()
        return {"now": now, "ahead": now + CLOCK_SET_BACK_SECONDS, "longest": now + LONGEST_LEASE}

    async def get(self, tenant: str, job: str) -> QueuedJob | None:
        where = "WHERE q.job_id = :job AND q.org_id = :tenant"
        found = await self._gateway.read(lambda db: rows.read(db, where, {"job": job, "tenant": tenant}))
        return found[0] if found else None

    async def delivery(self, tenant: str, job: str) -> DeliveryRecord | None:
        where = "WHERE job_id = ? AND org_id = ?"
        found = await self._gateway.read(lambda db: rows.read_deliveries(db, where, (job, tenant)))
        return found[0] if found else None

    async def of_transaction(self, tenant: str, transaction: str) -> list[QueuedJob | DeliveryRecord]:
        return await self._gateway.read(lambda db: rows.of_transaction(db, tenant, transaction))

    async def amend(self, tenant: str, job: str, later: Mapping[int, RecipientState], record: AttemptRecord) -> bool:
        return await self._gateway.write(lambda db: amend(db, tenant, job, later, record), tenant=tenant)

    async def jobs(
        self, tenant: str | None, wanted: JobFilter = ALL, *, after: QueuedJob | None = None, limit: int = 100
    ) -> list[QueuedJob]:
        values: dict[str, Any] = {
            "tenant": tenant, "domain": wanted.domain, "sender": wanted.sender, "status": wanted.status,
            "limit": min(limit, STEP), "before": wanted.created_before, "error": wanted.error,
        }  # fmt: skip
        where = ["TRUE"]
        if after is not None:
            where.append("(q.org_id, q.job_id) > (:after_tenant, :after_job)")
            values |= {"after_tenant": after.tenant, "after_job": after.job.id}
        if wanted.held is not None:
            where.append(f"(q.hold_reason IS {'NOT ' if wanted.held else ''}NULL)")
        where += [condition for name, condition in _CONDITIONS.items() if values[name] is not None]
        sql = f"WHERE {' AND '.join(where)} ORDER BY q.org_id, q.job_id LIMIT :limit"
        return await self._gateway.read(lambda db: rows.read(db, sql, values))

    async def pending(self, tenant: str, most: int) -> int:
        return await self._gateway.read(lambda db: min(most, int(db.execute(_PENDING, (tenant, most)).fetchone()[0])))

    async def count(self, tenant: str | None) -> list[QueueCount]:
        sql = _COUNT.format(where="" if tenant is None else " WHERE org_id = ?")
        values = () if tenant is None else (tenant,)
        return await self._gateway.read(lambda db: [QueueCount(*row) for row in db.execute(sql, values)])

    async def hold(self, tenant: str, jobs: Sequence[str], reason: str) -> int:
        sql = (
            "UPDATE outbound_queue SET hold_reason = :reason, ready = 0 "
            f"WHERE org_id = :tenant AND status <> 'dead' AND {_IDS}"
        )
        return await self._change(sql, tenant, jobs, reason=clean(reason))

    async def release(self, tenant: str, jobs: Sequence[str]) -> int:
        sql = (
            "UPDATE outbound_queue SET hold_reason = NULL, ready = status = 'queued' AND next_attempt_at <= :now "
            f"WHERE org_id = :tenant AND hold_reason IS NOT NULL AND {_IDS}"
        )
        count = await self._change(sql, tenant, jobs, now=self._now())
        self._bus.publish((QUEUE,))
        return count

    async def retry(self, tenant: str, jobs: Sequence[str], lifetime: float) -> int:
        values = {"tenant": tenant, "ids": words_to_text(list(bounded(jobs))), "lifetime": lifetime}

        def work(db: sqlite3.Connection) -> int:
            sql = "SELECT job_id, recipients, states FROM outbound_queue WHERE org_id = :tenant AND status = 'dead'"
            for job, recipients, states in db.execute(f"{sql} AND {_IDS}", values).fetchall():
                again = revived(unpacked_states(states, len(unpacked_recipients(recipients))))
                db.execute("UPDATE outbound_queue SET states = ? WHERE job_id = ?", (packed_states(again), job))
            return db.execute(_RETRY, {**values, "now": self._now()}).rowcount

        count = await self._gateway.write(work, tenant=tenant)
        self._bus.publish((QUEUE,))
        return count

    async def _change(self, sql: str, tenant: str, jobs: Sequence[str], **values: Any) -> int:
        values |= {"tenant": tenant, "ids": words_to_text(list(bounded(jobs)))}
        return await self._gateway.write(lambda db: db.execute(sql, values).rowcount, tenant=tenant)

    async def remove(self, tenant: str, jobs: Sequence[str]) -> int:
        ids = list(bounded(jobs))
        return await self._gateway.write(lambda db: rows.remove(db, tenant, ids), tenant=tenant)

    async def forget(self, scope: Scope) -> int:
        found = await self._gateway.read(lambda db: rows.find(db, scope))
        if not found:
            return 0
        return await self._gateway.write(lambda db: rows.remove(db, scope.tenant, found), tenant=scope.tenant)

    async def forget_deliveries(self, tenant: str) -> int:
        return await self._gateway.write(lambda db: rows.forget_deliveries(db, tenant), tenant=tenant)

    async def prune(self, dead_before: float, delivered_before: float) -> int:
        total = 0
        while found := await self._gateway.read(lambda db: rows.find_dead(db, dead_before)):
            total += await self._gateway.step(partial(rows.remove_dead, jobs=found, before=dead_before))
        while count := await self._gateway.step(lambda db: rows.prune_deliveries(db, delivered_before)):
            total += count
        return total


def _disabled(db: sqlite3.Connection) -> frozenset[str]:
    return frozenset(one for (one,) in db.execute("SELECT id FROM organization WHERE NOT is_active"))


def _choose(db: sqlite3.Connection, choice: turns.Choice) -> list[turns.Turn]:
    """Answers the questions of :func:`inbox.store.turns.choose` from the index of due jobs."""
    columns = "org_id, lane, -priority, next_attempt_at, job_id"
    try:
        probe = next(choice)
        while True:
            if isinstance(probe, turns.NextTenant):
                sql = f"SELECT {columns} FROM outbound_queue WHERE ready = 1 AND org_id > ? ORDER BY org_id LIMIT 1"
                values: tuple[Any, ...] = (probe.after,)
            else:
                sql = (
                    f"SELECT {columns} FROM outbound_queue WHERE ready = 1 AND org_id = ? AND lane >= ? "
                    "ORDER BY lane, priority DESC, next_attempt_at, job_id LIMIT ?"
                )
                values = (probe.tenant, probe.lane, probe.limit)
            probe = choice.send([turns.Turn(*row) for row in db.execute(sql, values)])
    except StopIteration as done:
        chosen: list[turns.Turn] = done.value
        return chosen
