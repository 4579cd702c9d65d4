"""The outbound queue in SurrealDB.

Every change reads the affected jobs, computes their new state in Python, and commits only if none of them has changed
in the meantime (``version``); otherwise it starts again. Due, waiting and leased jobs are found by indexes of
``outbound_turn``. Conditions there are ``>=`` and ``<=`` only, because SurrealDB 3 takes ``>`` for ``>=`` in an index
of several fields.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final

from inbox.base.errors import AlreadyExists
from inbox.store import turns
from inbox.store.bus import Bus
from inbox.store.job_states import revived
from inbox.store.packed_jobs import packed_states, unpacked_recipients, unpacked_states
from inbox.store.ports.changes import QUEUE
from inbox.store.ports.hosting import STEP, Scope
from inbox.store.ports.job_filter import ALL, JobFilter
from inbox.store.ports.queue import (
    LONGEST_LEASE,
    MOST_JOBS,
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
from inbox.store.steps import CLOCK_SET_BACK_SECONDS
from inbox.store.surreal import job_counts, job_pages, rows
from inbox.store.surreal.entries import DROP_MAILS
from inbox.store.surreal.exclusion import Exclusion
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.job_changes import JobChanges, end, held_by_worker, id_of, make_due
from inbox.store.surreal.job_counts import COUNT_JOBS, Shards, count_values
from inbox.store.surreal.job_reports import amend_delivery, amending
from inbox.store.surreal.jobs import (
    ADD_JOBS,
    Row,
    job_id,
    job_values,
    of_tenant,
    row_to_delivery,
    row_to_job,
    row_to_turn,
)
from inbox.store.surreal.values import NOW, RecordId, micros
from inbox.store.texts import clean

__all__ = ["ADD_JOBS", "SurrealQueue", "job_values"]

_ENQUEUE: Final = f"""
LET $active = (SELECT VALUE is_active FROM ONLY $organization);
IF !$active {{ THROW 'inbox gone tenant' }};
LET $copies = (UPDATE $mail SET copies += $n WHERE copies > 0 AND organization = $organization RETURN VALUE copies);
IF array::len($copies) = 0 {{ THROW 'inbox gone mail' }};
{ADD_JOBS};
RETURN true"""
_READ: Final = (
    f"RETURN {NOW}; SELECT *, payload.blob_path AS blob_path, payload.size AS message_size FROM $ids WHERE job_id"
)
#: Reads also which of the tenants are disabled.
_READ_TO_CLAIM: Final = f"{_READ}; SELECT VALUE record::id(id) FROM $tenants WHERE is_active = false"
_CHANGE: Final = f"""
IF array::len((SELECT VALUE id FROM $active WHERE is_active = false)) > 0 {{ THROW 'inbox stale' }};
LET $versions = (SELECT VALUE version FROM $ids);
IF $versions != $seen {{ THROW 'inbox stale' }};
{COUNT_JOBS};
DELETE $left RETURN NONE;
DELETE $gone RETURN NONE;
FOR $c IN $changed {{
    LET $id = $c.id;
    LET $row = $c.row;
    UPDATE $id CONTENT $row RETURN NONE
}};
INSERT INTO outbound_turn $turns RETURN NONE;
INSERT INTO outbound_delivery $delivered RETURN NONE;
{DROP_MAILS}
RETURN true"""
_NEXT_TENANT: Final = "SELECT VALUE id FROM outbound_turn WHERE kind = 'r' AND tenant >= $least LIMIT 1"
_IN_TENANT: Final = (
    "SELECT VALUE id FROM outbound_turn WHERE kind = 'r' AND tenant = $tenant AND lane >= $lane LIMIT $page"
)
_DIED: Final = "SELECT VALUE id FROM outbound_turn WHERE kind = 'd' AND at <= $before LIMIT $page"
#: Jobs to make due: their time has come, their lease ended or is too long, or their wait began in the future.
_OVERDUE: Final = """
SELECT VALUE id FROM outbound_turn WHERE kind = 'w' AND at <= $now LIMIT $page;
SELECT VALUE id FROM outbound_turn WHERE kind = 'l' AND at <= $now LIMIT $page;
SELECT VALUE id FROM outbound_turn WHERE kind = 'l' AND at >= $longest LIMIT $page;
SELECT VALUE id FROM outbound_queue WHERE waits_since > $ahead LIMIT $page"""
_DELETE: Final = """
LET $old = ({found});
DELETE $old RETURN NONE;
RETURN array::len($old)"""


class SurrealQueue:
    """``Queue`` of ``inbox.store.ports.queue``."""

    def __init__(self, gateway: Gateway, bus: Bus, shards: Shards) -> None:
        self._gateway = gateway
        self._shards = shards
        self._bus = bus
        self._random = random.Random()  # noqa: S311 - the start need not be secret
        #: The tenant whose job was leased last.
        self._after = ""
        self._exclusion = Exclusion()

    async def enqueue(self, tenant: str, email: str, jobs: Sequence[Job]) -> None:
        values: dict[str, Any] = {
            "organization": rows.organization_id(tenant),
            "mail": RecordId("email", email),
            "n": len(bounded(jobs)),
            **job_values(tenant, email, jobs),
        }

        async def add() -> None:
            with self._shards.taken() as shard:
                await self._gateway.transaction(_ENQUEUE, **values, **count_values((), values["jobs"], shard))

        try:
            await self._gateway.retried(add)
        except AlreadyExists as error:
            raise AlreadyExists(f"one of the {len(jobs)} new jobs has the id of an existing job") from error
        self._bus.publish((QUEUE,))

    async def lease(self, owner: str, limit: int, seconds: float, avoided: Set[Lane] = frozenset()) -> list[QueuedJob]:
        await self.release_expired()
        chosen = await self._choose(min(limit, STEP), turns.lanes_of(avoided))
        if not chosen:
            return []
        self._after = turns.last_tenant(chosen, self._after)

        def take(changes: JobChanges) -> None:
            for one, row in changes.seen.items():
                if (row.get("turn") or [""])[0] == "r" and row["org_id"] not in changes.disabled:
                    until = changes.now + min(seconds, LONGEST_LEASE)
                    changes.set(
                        one, status="processing", lease_owner=owner, lease_until=until, waits_since=None,
                        fence=row["fence"] + 1, attempts=row["attempts"] + 1,
                    )  # fmt: skip

        tenants = {turn.tenant for turn in chosen}
        changes = await self._change([job_id(turn.tenant, turn.job) for turn in chosen], take, tenants)
        return turns.in_order(chosen, map(row_to_job, changes.changed.values()))

    async def _choose(self, limit: int, avoided: frozenset[int]) -> list[turns.Turn]:
        """Answers the questions of :func:`inbox.store.turns.choose` from the ids of due jobs."""
        (disabled,) = await self._gateway.query("SELECT VALUE record::id(id) FROM organization WHERE is_active = false")
        lane = self._random.randrange(turns.LANES)
        choice = turns.choose(limit, self._after, lane, frozenset(disabled), avoided)
        try:
            probe = next(choice)
            while True:
                if isinstance(probe, turns.NextTenant):
                    # A space sorts before all characters of ids: this is the next tenant.
                    (found,) = await self._gateway.query(_NEXT_TENANT, least=f"{probe.after} " if probe.after else "")
                else:
                    (found,) = await self._gateway.query(
                        _IN_TENANT, tenant=probe.tenant, lane=probe.lane, page=probe.limit
                    )
                probe = choice.send([row_to_turn(one.key) for one in found])
        except StopIteration as done:
            chosen: list[turns.Turn] = done.value
            return chosen

    async def renew(self, jobs: Sequence[QueuedJob], seconds: float) -> set[str]:
        def extend(changes: JobChanges) -> None:
            until = changes.now + min(seconds, LONGEST_LEASE)
            for job in jobs:
                if (one := held_by_worker(changes, job)) is not None:
                    changes.set(one, lease_until=until)

        # Outcomes of the same jobs would make it start again and again, until the leases have ended.
        async with self._exclusion.alone():
            changes = await self._change([id_of(job) for job in bounded(jobs)], extend)
        return {row["job_id"] for row in changes.changed.values()}

    async def sending(self, sending: Sequence[Sending]) -> set[str]:
        def note(changes: JobChanges) -> None:
            for each in sending:
                if (one := held_by_worker(changes, each.job)) is not None:
                    row, now = changes.seen[one], changes.now
                    until = max(row["lease_until"], now + min(each.lease, LONGEST_LEASE) if each.lease else 0.0)
                    changes.set(one, dot_sent_at=now, signed=each.signed or row.get("signed"), lease_until=until)

        async with self._exclusion.together():
            changes = await self._change([id_of(each.job) for each in bounded(sending)], note)
        return {row["job_id"] for row in changes.changed.values()}

    async def finish(self, finished: Sequence[Finished]) -> set[str]:
        held: set[str] = set()

        def work(changes: JobChanges) -> None:
            held.clear()
            for each in finished:
                one = held_by_worker(changes, each.job)
                if one is not None and each.job.job.id not in held:
                    held.add(each.job.job.id)
                    end(changes, one, each)

        async with self._exclusion.together():
            await self._change([id_of(each.job) for each in bounded(finished)], work)
        return held

    async def release_expired(self) -> int:
        (now,) = await self._gateway.query(f"RETURN {NOW}")
        found = await self._gateway.query(
            _OVERDUE,
            now=micros(now),
            longest=micros(now + LONGEST_LEASE) + 1,
            ahead=now + CLOCK_SET_BACK_SECONDS,
            page=STEP,
        )
        overdue = [job_id(*one.key[-2:]) for one in (*found[0], *found[1], *found[2])] + list(found[3])
        if not overdue:
            return 0
        return len((await self._change(list(dict.fromkeys(overdue))[:STEP], make_due)).changed)

    async def get(self, tenant: str, job: str) -> QueuedJob | None:
        _, found = await self._gateway.query(_READ, ids=[job_id(tenant, job)])
        return row_to_job(found[0]) if found else None

    async def delivery(self, tenant: str, job: str) -> DeliveryRecord | None:
        (found,) = await self._gateway.query("SELECT * FROM ONLY $id", id=RecordId("outbound_delivery", (tenant, job)))
        return row_to_delivery(found) if found else None

    async def of_transaction(self, tenant: str, transaction: str) -> list[QueuedJob | DeliveryRecord]:
        if not transaction:
            return []
        queued, delivered = await self._gateway.query(
            "SELECT *, payload.blob_path AS blob_path, payload.size AS message_size FROM outbound_queue "
            "WHERE decision = $decision AND org_id = $tenant LIMIT $most; "
            "SELECT * FROM outbound_delivery WHERE decision = $decision AND org_id = $tenant LIMIT $most",
            decision=transaction,
            tenant=tenant,
            most=MOST_JOBS,
        )
        found: list[QueuedJob | DeliveryRecord] = [*map(row_to_job, queued), *map(row_to_delivery, delivered)]
        return found[:MOST_JOBS]

    async def amend(self, tenant: str, job: str, later: Mapping[int, RecipientState], record: AttemptRecord) -> bool:
        if (await self._change([job_id(tenant, job)], amending(later, record))).seen:
            return True
        return await amend_delivery(self._gateway, tenant, job, later, record)

    async def jobs(
        self, tenant: str | None, wanted: JobFilter = ALL, *, after: QueuedJob | None = None, limit: int = 100
    ) -> list[QueuedJob]:
        place = None if after is None else (after.tenant, after.job.id)
        return [row_to_job(row) for row in await job_pages.page(self._gateway, tenant, wanted, place, min(limit, STEP))]

    async def pending(self, tenant: str, most: int) -> int:
        return min(most, await job_counts.alive(self._gateway, tenant))

    async def count(self, tenant: str | None) -> list[QueueCount]:
        return await job_counts.count(self._gateway, tenant)

    async def hold(self, tenant: str, jobs: Sequence[str], reason: str) -> int:
        return await self._each(
            tenant, jobs, lambda _, row: None if row["status"] == "dead" else {"hold_reason": clean(reason)}
        )

    async def release(self, tenant: str, jobs: Sequence[str]) -> int:
        return await self._each(
            tenant, jobs, lambda _, row: None if row.get("hold_reason") is None else {"hold_reason": None}
        )

    async def retry(self, tenant: str, jobs: Sequence[str], lifetime: float) -> int:
        def again(now: float, row: Row) -> dict[str, Any] | None:
            if row["status"] == "processing":
                return None
            dead = row["status"] == "dead"
            states = unpacked_states(row.get("states") or "", len(unpacked_recipients(row["recipients"])))
            return {
                "states": packed_states(revived(states) if dead else states),
                "status": "queued",
                "next_attempt_at": now,
                "waits_since": None,
                "expires_at": max(row["expires_at"], now + lifetime),
                "attempts": 0 if dead else row["attempts"],
                "died_at": None,
            }

        return await self._each(tenant, jobs, again)

    async def _each(
        self, tenant: str, jobs: Sequence[str], change: Callable[[float, Row], dict[str, Any] | None]
    ) -> int:
        """Sets the fields that ``change`` returns for each job, given the time and its row; returns how many jobs
        changed."""

        def work(changes: JobChanges) -> None:
            for one, row in changes.seen.items():
                values = change(changes.now, row)
                if values is not None:
                    changes.set(one, **values)

        ids = [job_id(tenant, job) for job in dict.fromkeys(bounded(jobs))]
        count = len((await self._change(ids, work)).changed)
        self._bus.publish((QUEUE,))
        return count

    async def remove(self, tenant: str, jobs: Sequence[str]) -> int:
        return await self._remove([job_id(tenant, job) for job in dict.fromkeys(bounded(jobs))])

    async def _remove(self, ids: Sequence[RecordId], still: Callable[[Row], bool] = lambda _: True) -> int:
        def work(changes: JobChanges) -> None:
            for one, row in changes.seen.items():
                if still(row):
                    changes.remove(one)

        return len((await self._change(ids, work)).gone)

    async def forget(self, scope: Scope) -> int:
        found = await job_pages.of_scope(self._gateway, scope, STEP)
        return await self._remove(found) if found else 0

    async def forget_deliveries(self, tenant: str) -> int:
        sql = _DELETE.format(found="SELECT VALUE id FROM $keys LIMIT $page")
        return int(await self._gateway.write(sql, keys=of_tenant("outbound_delivery", tenant), page=STEP))

    async def prune(self, dead_before: float, delivered_before: float) -> int:
        total = 0
        while True:
            (found,) = await self._gateway.query(_DIED, before=micros(dead_before) - 1, page=STEP)
            if not found:
                break
            total += await self._remove(
                [job_id(*one.key[-2:]) for one in found],
                lambda row: row["status"] == "dead" and row["died_at"] < dead_before,
            )
        sql = _DELETE.format(found="SELECT VALUE id FROM outbound_delivery WHERE delivered_at < $before LIMIT $page")
        while count := int(await self._gateway.write(sql, before=delivered_before, page=STEP)):
            total += count
        await job_counts.prune(self._gateway)
        return total

    async def _change(
        self, ids: Sequence[RecordId], work: Callable[[JobChanges], None], tenants: Set[str] = frozenset()
    ) -> JobChanges:
        """Reads the jobs, lets ``work`` decide their changes, and writes these if the jobs are unchanged, and none of
        ``tenants`` whose jobs change has been disabled."""

        async def attempt() -> JobChanges:
            asked = {"ids": list(ids), **({"tenants": list(map(rows.organization_id, tenants))} if tenants else {})}
            now, found, *disabled = await self._gateway.query(_READ_TO_CLAIM if tenants else _READ, **asked)
            changes = JobChanges(now, {row["id"]: row for row in found}, frozenset(*disabled))
            work(changes)
            if changes.changed or changes.gone:
                active = list(map(rows.organization_id, tenants - changes.disabled))
                with self._shards.taken() as shard:
                    await self._gateway.transaction(_CHANGE, active=active, **changes.values(shard))
            return changes

        return await self._gateway.retried(attempt)
