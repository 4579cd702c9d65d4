"""Decision records and rate counters in SurrealDB."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from inbox.store.packing import pack
from inbox.store.ports.decisions import DecisionFilter, DecisionRecord
from inbox.store.ports.rates import Counted
from inbox.store.surreal import rows
from inbox.store.surreal.batch import Batcher
from inbox.store.surreal.gateway import Gateway, in_pages
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

#: The maximum number of counters that one transaction increases.
HITS: Final = 200

#: The approximate number of records that one statement of a search reads: a longer one would block the server or time
#: out.
PAGE: Final = 5000
#: From this number of records on, a thread compresses them: for fewer, calling a thread costs the event loop more.
THREAD_FROM: Final = 4
#: Seconds of the first time window that a search reads, and of the shortest.
FIRST_SECONDS: Final = 3600.0
LEAST_SECONDS: Final = 0.001

_WITHIN: Final = "at >= $earliest AND at < $latest"
_CONDITIONS: Final = {
    "tenant": "tenant = $tenant",
    "outcome": "outcome = $outcome",
    "sender": "string::lowercase(sender) CONTAINS string::lowercase($sender)",
    "recipient": "string::lowercase(array::join(recipients, '\n')) CONTAINS string::lowercase($recipient)",
}

#: An existing record is replaced.
ADD_DECISIONS = "FOR $d IN $decisions { UPSERT $d.id CONTENT $d.row RETURN NONE }"

_PRUNE_DECISIONS = """
LET $old = (SELECT VALUE id FROM decision WHERE at < $before LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""

_PRUNE_RATES = """
LET $old = (SELECT VALUE id FROM smtp_rate_limit WHERE expires_at <= $now LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""

#: UPSERT evaluates its expressions as on a new record, so the existing record is read first, in the same transaction. A
#: counter that ends after the current window was created while the clock was wrong.
_HIT = """
FOR $h IN $hits {
    LET $old = (SELECT count, expires_at FROM ONLY $h.id);
    LET $running = ($old.expires_at ?? 0) > $h.now AND $old.expires_at <= $h.ends;
    LET $count = IF $running { $old.count + $h.n } ELSE { $h.n };
    LET $ends = IF $running { $old.expires_at } ELSE { $h.ends };
    UPSERT $h.id SET count = $count, expires_at = $ends RETURN NONE
};
RETURN (SELECT VALUE [count, expires_at] FROM $hits.id)"""


async def packed(decisions: Sequence[DecisionRecord]) -> list[DecisionRecord]:
    """Returns the records with their bodies in stored form."""
    if len(decisions) < THREAD_FROM:
        return _packed(decisions)
    return await asyncio.to_thread(_packed, decisions)


def _packed(decisions: Sequence[DecisionRecord]) -> list[DecisionRecord]:
    return [replace(decision, body=pack(decision.body)) for decision in decisions]


def decision_values(decisions: Sequence[DecisionRecord]) -> list[dict[str, Any]]:
    """Returns the values to bind for ADD_DECISIONS, from packed records."""
    found = []
    for decision in decisions:
        row = rows.decision_to_row(decision)
        found.append({"id": RecordId("decision", row.pop("id")), "row": row})
    return found


@dataclass(frozen=True, slots=True)
class _Window:
    """A time window that excludes ``latest``."""

    earliest: float
    latest: float


class SurrealDecisions:
    """``Decisions`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        if decisions:
            values = decision_values(await packed(decisions))
            await self._gateway.write(f"{ADD_DECISIONS}; RETURN true", decisions=values)

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]:
        key = clean(decision)
        if tenant is None:
            keys = Keys("decision", [key], [key, LAST])
        else:
            keys = Keys("decision", [key, tenant], [key, tenant])
        (found,) = await self._gateway.query("SELECT * FROM $keys", keys=keys)
        return sorted(map(rows.row_to_decision, found), key=lambda record: record.tenant)

    async def search(self, wanted: DecisionFilter, limit: int = 50) -> list[DecisionRecord]:
        if wanted.tenant is not None and await self._few(wanted):
            return await self._within("decision_tenant", wanted, _Window(wanted.since, math.inf), limit)
        found: list[DecisionRecord] = []
        async for window in self._windows(wanted.since):
            found += await self._within("decision_at", wanted, window, limit - len(found))
            if len(found) >= limit:
                break
        return found

    async def _few(self, wanted: DecisionFilter) -> bool:
        """Whether one tenant has so few records that all can be read at once."""
        where = "tenant = $tenant AND at >= $earliest"
        return len(await self._times(where, PAGE, tenant=wanted.tenant, earliest=wanted.since)) < PAGE

    async def _windows(self, since: float) -> AsyncIterator[_Window]:
        """Yields time windows from the newest record to the oldest, with fewer than PAGE records in each (or all of one
        moment). SurrealDB reads an index only forwards, and reads everything after its start."""
        oldest = await self._times("at >= $earliest", 1, earliest=since)
        if not oldest:
            return
        # Ids grow with time, and the table is read backwards: the first record is the newest, up to a few moments.
        (newest,) = await self._gateway.query("SELECT id, at FROM decision ORDER BY id DESC LIMIT 1")
        start, latest, width = newest[0]["at"] if newest else oldest[0], math.inf, FIRST_SECONDS
        while latest > oldest[0]:
            earliest = max(start - width, oldest[0])
            if earliest >= latest:  # Absurd times, at which adding a second makes no difference.
                earliest = oldest[0]
            count = len(await self._times(_WITHIN, PAGE, earliest=earliest, latest=latest))
            if count >= PAGE and width > LEAST_SECONDS:
                width /= 2
                continue
            yield _Window(earliest, latest)
            start = latest = earliest
            width = width * 4 if count < PAGE // 4 else width

    async def _times(self, where: str, limit: int, **values: Any) -> list[float]:
        """Returns the times of at most ``limit`` records, read along an index without sorting."""
        (found,) = await self._gateway.query(
            f"SELECT VALUE at FROM decision WHERE {where} LIMIT $limit", limit=limit, **values
        )
        return list(found)

    async def _within(self, index: str, wanted: DecisionFilter, window: _Window, limit: int) -> list[DecisionRecord]:
        """Returns the latest matching records of a window. ``index`` is the index to read: SurrealDB uses both bounds
        only with decision_at."""
        values = {name: value for name, value in asdict(wanted).items() if value is not None and name != "since"}
        where = " AND ".join([_WITHIN, *[_CONDITIONS[name] for name in values]])
        sql = f"SELECT * FROM decision WITH INDEX {index} WHERE {where} ORDER BY at DESC LIMIT $limit"
        (found,) = await self._gateway.query(sql, limit=limit, earliest=window.earliest, latest=window.latest, **values)
        return sorted(map(rows.row_to_decision, found), key=lambda record: (record.at, record.id), reverse=True)

    async def prune(self, before: float) -> int:
        return await in_pages(self._gateway, _PRUNE_DECISIONS, before=before)


@dataclass(frozen=True, slots=True)
class _Hit:
    key: str
    ends: float
    now: float
    amount: int


class SurrealRates:
    """``RateCounters`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._batcher: Batcher[_Hit, Counted] = Batcher(self._commit, HITS)

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        return await self._batcher.submit(_Hit(clean(key), (now // window + 1) * window, now, amount))

    async def prune(self, now: float) -> int:
        return await in_pages(self._gateway, _PRUNE_RATES, now=now)

    async def close(self) -> None:
        await self._batcher.close()

    async def _commit(self, hits: Sequence[_Hit]) -> list[Counted | BaseException]:
        # Hits of one counter in one window are one addition; each receives the count that it would have seen alone.
        windows: dict[str, _Hit] = {}
        for hit in hits:
            sum_so_far = windows.get(hit.key, replace(hit, amount=0))
            if sum_so_far.ends != hit.ends:
                # One counter in two windows is rare (a window just ended), so the windows are written one after the
                # other.
                return [(await self._add([hit]))[0] for hit in hits]
            windows[hit.key] = replace(sum_so_far, amount=sum_so_far.amount + hit.amount)
        after = dict(zip(windows, await self._add(list(windows.values())), strict=True))
        counted: list[Counted | BaseException] = []
        for hit in reversed(hits):
            now = after[hit.key]
            counted.append(now)
            after[hit.key] = Counted(now.count - hit.amount, now.expires_at)
        counted.reverse()
        return counted

    async def _add(self, hits: Sequence[_Hit]) -> list[Counted]:
        values = [
            {"id": RecordId("smtp_rate_limit", hit.key), "n": hit.amount, "now": hit.now, "ends": hit.ends}
            for hit in hits
        ]
        found = await self._gateway.write(_HIT, hits=values)
        return [Counted(count, ends) for count, ends in found]
