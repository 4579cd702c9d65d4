"""Decision records and rate counters in SurrealDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from inbox.store.records import Counted, DecisionFilter, DecisionRecord
from inbox.store.surreal import rows
from inbox.store.surreal.batch import Batcher
from inbox.store.surreal.gateway import Gateway, in_pages
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

#: Counters that one transaction increases.
HITS: Final = 200

#: A record that is there already is replaced.
ADD_DECISIONS = "FOR $d IN $decisions { UPSERT $d.id CONTENT $d.row RETURN NONE }"

_PRUNE_DECISIONS = """
LET $old = (SELECT VALUE id FROM decision WHERE at < $before LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""

_PRUNE_RATES = """
LET $old = (SELECT VALUE id FROM smtp_rate_limit WHERE expires_at <= $now LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""

#: UPSERT evaluates its expressions as on a new record, so what is there is read before; both in one transaction. A
#: counter that ends after the window that we are in was begun by a clock that was wrong.
_HIT = """
FOR $h IN $hits {
    LET $old = (SELECT count, expires_at FROM ONLY $h.id);
    LET $running = ($old.expires_at ?? 0) > $h.now AND $old.expires_at <= $h.ends;
    LET $count = IF $running { $old.count + $h.n } ELSE { $h.n };
    LET $ends = IF $running { $old.expires_at } ELSE { $h.ends };
    UPSERT $h.id SET count = $count, expires_at = $ends RETURN NONE
};
RETURN (SELECT VALUE [count, expires_at] FROM $hits.id)"""


def decision_values(decisions: Sequence[DecisionRecord]) -> list[dict[str, Any]]:
    """What ADD_DECISIONS wants bound."""
    found = []
    for decision in decisions:
        row = rows.decision_to_row(decision)
        found.append({"id": RecordId("decision", row.pop("id")), "row": row})
    return found


class SurrealDecisions:
    """``Decisions`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        if decisions:
            await self._gateway.write(f"{ADD_DECISIONS}; RETURN true", decisions=decision_values(decisions))

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]:
        key = clean(decision)
        if tenant is None:
            keys = Keys("decision", [key], [key, LAST])
        else:
            keys = Keys("decision", [key, tenant], [key, tenant])
        (found,) = await self._gateway.query("SELECT * FROM $keys", keys=keys)
        return sorted(map(rows.row_to_decision, found), key=lambda record: record.tenant)

    async def search(self, wanted: DecisionFilter, limit: int = 50) -> list[DecisionRecord]:
        conditions = {
            "tenant": "tenant = $tenant",
            "outcome": "outcome = $outcome",
            "sender": "string::lowercase(sender) CONTAINS string::lowercase($sender)",
            "recipient": "string::lowercase(array::join(recipients, '\n')) CONTAINS string::lowercase($recipient)",
            "since": "at >= $since",
        }
        values = asdict(wanted) | {"since": wanted.since or None}
        given = {name: value for name, value in values.items() if value is not None}
        where = f" WHERE {' AND '.join(conditions[name] for name in given)}" if given else ""
        sql = f"SELECT * FROM decision{where} ORDER BY at DESC LIMIT $limit"
        (found,) = await self._gateway.query(sql, limit=limit, **given)
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
        # Hits of one counter in one window are one addition; each is told the count that it would have seen alone.
        windows: dict[str, _Hit] = {}
        for hit in hits:
            sum_so_far = windows.get(hit.key, replace(hit, amount=0))
            if sum_so_far.ends != hit.ends:
                # One counter in two windows: rare (the turn of a window), so they simply go one after the other.
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
