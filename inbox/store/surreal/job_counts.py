"""Counters of the outbound queue in SurrealDB: jobs by tenant, domain, class and state, and all jobs of a tenant.

Each transaction that changes jobs changes their counters, so that operators, metrics and quotas need not read a queue
of a million jobs. Transactions that write one record conflict, and workers and acceptance write all the time: so each
counter is the sum of several records, its shards, and transactions that run at the same time use different ones.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from inbox.base.errors import Conflict
from inbox.store.ports.queue import JobClass, QueueCount
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import LAST, Keys, RecordId

Row = Mapping[str, Any]
Group = tuple[str, str, str]

SHARDS: Final = 16
#: Groups whose oldest job one call finds, or whose records one transaction removes.
GROUPS: Final = 100

#: Writes the values of :func:`count_values`, inside a transaction that changes jobs.
COUNT_JOBS: Final = """
FOR $c IN $counted {
    LET $ids = $c.ids;
    UPSERT $ids SET queued += $c.queued, processing += $c.processing, held += $c.held, dead += $c.dead RETURN NONE
};
FOR $c IN $alive {
    LET $ids = $c.ids;
    UPSERT $ids SET jobs += $c.jobs RETURN NONE
}"""
_GROUPS: Final = """
SELECT record::id(id)[0] AS tenant, record::id(id)[1] AS domain, record::id(id)[2] AS class,
    math::sum(queued) AS queued, math::sum(processing) AS processing, math::sum(held) AS held, math::sum(dead) AS dead
FROM $keys GROUP BY tenant, domain, class"""
_OLDEST: Final = (
    "SELECT VALUE alive_since FROM outbound_queue WHERE org_id = $t{n} AND domain = $d{n} AND class = $c{n} "
    "AND alive_since >= 0 LIMIT 1"
)
_ALIVE: Final = "SELECT VALUE jobs FROM $keys"
_TENANTS: Final = "SELECT record::id(id)[0] AS tenant, math::sum(jobs) AS jobs FROM outbound_alive GROUP BY tenant"
#: Removes counters that are still 0.
_PRUNE: Final = """
FOR $one IN $groups {
    LET $sum = (SELECT math::sum(queued) AS queued, math::sum(processing) AS processing, math::sum(held) AS held,
        math::sum(dead) AS dead FROM $one GROUP ALL)[0];
    IF $sum.queued = 0 AND $sum.processing = 0 AND $sum.held = 0 AND $sum.dead = 0 { DELETE $one RETURN NONE }
};
FOR $one IN $tenants {
    LET $sum = (SELECT math::sum(jobs) AS jobs FROM $one GROUP ALL)[0];
    IF $sum.jobs = 0 { DELETE $one RETURN NONE }
};
RETURN true"""


class Shards:
    """The shards that the transactions of this process use.

    No two of them use the same one at once. A shard that another process used at the same moment is put aside, so that
    few records are made nevertheless.
    """

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - the order need not be secret
        self._free = self._random.sample(range(SHARDS), SHARDS)

    @contextmanager
    def taken(self) -> Iterator[int]:
        """A shard for one transaction; any if this process uses all."""
        if not self._free:
            yield self._random.randrange(SHARDS)
            return
        shard = self._free.pop()
        try:
            yield shard
        except Conflict:
            self._free.insert(0, shard)
            raise
        except BaseException:
            self._free.append(shard)
            raise
        self._free.append(shard)


def count_values(before: Iterable[Row], after: Iterable[Row], shard: int) -> dict[str, list[dict[str, Any]]]:
    """Returns the values to bind for COUNT_JOBS: the difference between the rows of jobs before and after a change."""
    groups: dict[Group, Counter[str]] = {}
    for rows, sign in ((before, -1), (after, 1)):
        for row in rows:
            groups.setdefault((row["org_id"], row["domain"], row["class"]), Counter())[_kind(row)] += sign
    alive: Counter[str] = Counter()
    # One statement for all groups that change by the same numbers.
    counted: dict[tuple[int, ...], list[RecordId]] = {}
    for group, of in groups.items():
        numbers = of["queued"], of["processing"], of["held"], of["dead"]
        if any(numbers):
            counted.setdefault(numbers, []).append(RecordId("outbound_count", (*group, shard)))
            alive[group[0]] += sum(numbers[:3])
    return {
        "counted": [
            {"ids": ids, "queued": queued, "processing": processing, "held": held, "dead": dead}
            for (queued, processing, held, dead), ids in counted.items()
        ],
        "alive": [
            {"ids": [RecordId("outbound_alive", (tenant, shard))], "jobs": jobs}
            for tenant, jobs in alive.items()
            if jobs
        ],
    }


def _kind(row: Row) -> str:
    """Each job counts once: dead, held (unless it is dead), processing or queued."""
    held = row.get("hold_reason") is not None and row["status"] != "dead"
    return "held" if held else cast(str, row["status"])


async def count(gateway: Gateway, tenant: str | None) -> list[QueueCount]:
    """``Queue.count``."""
    groups = [row for row in await _read(gateway, tenant) if not _is_empty(row)]
    groups.sort(key=_group)
    found: list[QueueCount] = []
    for begin in range(0, len(groups), GROUPS):
        some = groups[begin : begin + GROUPS]
        values = {
            f"{name}{n}": part for n, row in enumerate(some) for name, part in zip("tdc", _group(row), strict=True)
        }
        oldest = await gateway.query("; ".join(_OLDEST.format(n=n) for n in range(len(some))), **values)
        for row, times in zip(some, oldest, strict=True):
            tenant_id, domain, job_class = _group(row)
            numbers = row["queued"], row["processing"], row["held"], row["dead"]
            at = times[0] if times else 0.0
            found.append(QueueCount(tenant_id, domain, cast(JobClass, job_class), *numbers, at))
    return found


async def alive(gateway: Gateway, tenant: str) -> int:
    """Returns how many jobs of the tenant are not dead."""
    (found,) = await gateway.query(_ALIVE, keys=_shards("outbound_alive", tenant))
    return int(max(0, sum(found)))


async def prune(gateway: Gateway) -> None:
    """Removes the records of counters that are 0."""
    groups = [_shards("outbound_count", *_group(row)) for row in await _read(gateway, None) if _is_empty(row)]
    (found,) = await gateway.query(_TENANTS)
    tenants = [_shards("outbound_alive", row["tenant"]) for row in found if not row["jobs"]]
    for begin in range(0, max(len(groups), len(tenants)), GROUPS):
        part = slice(begin, begin + GROUPS)
        await gateway.write(_PRUNE, groups=groups[part], tenants=tenants[part])


async def _read(gateway: Gateway, tenant: str | None) -> list[Row]:
    keys = Keys("outbound_count", [""], [LAST]) if tenant is None else _shards("outbound_count", tenant)
    (found,) = await gateway.query(_GROUPS, keys=keys)
    return list(found)


def _group(row: Row) -> Group:
    return row["tenant"], row["domain"], row["class"]


def _is_empty(row: Row) -> bool:
    return not (row["queued"] or row["processing"] or row["held"] or row["dead"])


def _shards(table: str, *group: str) -> Keys:
    return Keys(table, [*group], [*group, LAST])
