"""Suppression lists in SurrealDB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inbox.base.errors import NotFound
from inbox.store.ports.hosting import STEP
from inbox.store.ports.suppression import (
    MOST_ENTRIES,
    MOST_OF_TENANT,
    Suppression,
    SuppressionScope,
    bounded,
    chosen,
    domain_of,
    full,
)
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

_SEEN: Final = "SELECT VALUE [id, expires_at] FROM $ids WHERE created_at IS NOT NONE"
_READ: Final = f"""
BEGIN;
SELECT VALUE id FROM $tenants WHERE name;
{_SEEN};
SELECT * FROM $sizes;
COMMIT"""
_SIZES: Final = """
FOR $s IN $sizes {
    LET $id = $s.id;
    UPSERT $id SET entries += $s.n RETURN NONE
}"""
_PUT: Final = f"""
LET $now = ({_SEEN});
LET $counted = (SELECT VALUE [id, entries] FROM $counters);
IF $now != $seen OR $counted != $counts {{ THROW 'inbox stale' }};
FOR $one IN $entries {{
    LET $id = $one.id;
    UPSERT $id CONTENT $one.row RETURN NONE
}};
DELETE $victims RETURN NONE;
{_SIZES};
RETURN true"""
_REMOVE: Final = f"""
LET $now = ({_SEEN});
IF $now != $seen {{ THROW 'inbox stale' }};
DELETE $ids RETURN NONE;
{_SIZES};
RETURN true"""
#: A tenant's expired entries, the oldest first.
_EXPIRED: Final = (
    "SELECT id, expires_at FROM suppression WHERE expires_at <= $now AND expires_at > 0.0 "
    "AND record::id(id)[0] = $tenant ORDER BY expires_at LIMIT $most"
)


class SurrealSuppressions:
    """``Suppressions`` of ``inbox.store.ports.suppression``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def put(self, entries: Sequence[Suppression], *, replace: bool = True, most: int = MOST_OF_TENANT) -> int:
        bounded(entries)
        if not entries:
            return 0
        given = {_id(entry.tenant, entry.scope, entry.target): entry for entry in entries}
        return await self._gateway.retried(lambda: self._put(given, replace, most))

    async def _put(self, given: Mapping[RecordId, Suppression], replace: bool, most: int) -> int:
        now = max(entry.created_at for entry in given.values())
        tenants = sorted({entry.tenant for entry in given.values()})
        counters = [_size_id(tenant) for tenant in tenants]
        found = await self._gateway.query(
            _READ, tenants=[rows.organization_id(one) for one in tenants], ids=list(given), sizes=counters
        )
        there, seen, sizes = found[-4:-1]
        if len(there) != len(tenants):
            raise NotFound("the tenant of an entry does not exist")
        until: dict[RecordId, float | None] = dict(seen)
        kept = {one for one, expires_at in until.items() if expires_at is None or expires_at > now}
        written = {one: entry for one, entry in given.items() if replace or one not in kept}
        counts = {row["id"]: row["entries"] for row in sizes}
        grown = Counter(entry.tenant for one, entry in written.items() if one not in until)
        victims: list[RecordId] = []
        for tenant, new in grown.items():
            over = counts.get(_size_id(tenant), 0) + new - most
            if over > 0:
                gone = await self._expired(tenant, now, over, given)
                if len(gone) < min(over, new):
                    raise full(tenant, most)
                victims += gone
        grown.subtract(Counter(one.key[0] for one in victims))
        await self._gateway.transaction(
            _PUT,
            ids=list(given), seen=seen, counters=counters, counts=[[row["id"], row["entries"]] for row in sizes],
            entries=[{"id": one, "row": _row(entry)} for one, entry in written.items()],
            victims=victims,
            sizes=_growth(grown),
        )  # fmt: skip
        return len(written)

    async def _expired(
        self, tenant: str, now: float, most: int, given: Mapping[RecordId, Suppression]
    ) -> list[RecordId]:
        """A tenant's entries that make room for new ones: expired, and not those that are written now."""
        (found,) = await self._gateway.query(_EXPIRED, now=now, tenant=tenant, most=most + len(given))
        return [row["id"] for row in found if row["id"] not in given][:most]

    async def find(self, tenant: str, addresses: Sequence[str], now: float) -> dict[str, Suppression]:
        bounded(addresses)
        cleaned = {address: clean(address) for address in addresses}
        ids = {_id(tenant, "address", address) for address in cleaned.values()}
        ids |= {_id(tenant, "domain", domain_of(address)) for address in cleaned.values()}
        found = await self._select("SELECT * FROM $ids WHERE created_at IS NOT NONE", ids=list(ids))
        if not found:
            return {}
        return {address: entry for address, key in cleaned.items() if (entry := chosen(key, found, now)) is not None}

    async def get(self, tenant: str, scope: SuppressionScope, target: str) -> Suppression | None:
        ids = [_id(tenant, scope, target)]
        found = await self._select("SELECT * FROM $ids WHERE created_at IS NOT NONE", ids=ids)
        return found[0] if found else None

    async def all(
        self, tenant: str, *, after: Suppression | None = None, limit: int = MOST_ENTRIES
    ) -> list[Suppression]:
        first = [tenant] if after is None else [tenant, after.scope, clean(after.target), LAST]
        keys = Keys("suppression", first, [tenant, LAST])
        return await self._select("SELECT * FROM $keys LIMIT $page", keys=keys, page=min(limit, MOST_ENTRIES))

    async def remove(self, tenant: str, scope: SuppressionScope, targets: Sequence[str]) -> int:
        bounded(targets)
        ids = list({_id(tenant, scope, target) for target in targets})
        return await self._remove(_SEEN, ids=ids)

    async def forget(self, tenant: str) -> int:
        keys = Keys("suppression", [tenant], [tenant, LAST])
        count = await self._remove("SELECT VALUE [id, expires_at] FROM $keys LIMIT $step", keys=keys, step=STEP)
        if not count:
            await self._gateway.write("DELETE $size RETURN NONE; RETURN true", size=_size_id(tenant))
        return count

    async def prune(self, before: float) -> int:
        sql = (
            "SELECT VALUE [id, expires_at] FROM suppression WHERE expires_at < $before AND expires_at > 0.0 LIMIT $step"
        )
        total = 0
        while count := await self._remove(sql, before=before, step=STEP):
            total += count
        return total

    async def _remove(self, sql: str, **values: Any) -> int:
        """Removes the entries whose ids and expiries ``sql`` finds, unless they were written again meanwhile; returns
        how many."""

        async def attempt() -> int:
            (found,) = await self._gateway.query(sql, **values)
            if found:
                ids = [one for one, _ in found]
                gone = {tenant: -count for tenant, count in Counter(one.key[0] for one in ids).items()}
                await self._gateway.transaction(_REMOVE, ids=ids, seen=found, sizes=_growth(gone))
            return len(found)

        return await self._gateway.retried(attempt)

    async def _select(self, sql: str, **values: Any) -> list[Suppression]:
        (found,) = await self._gateway.query(sql, **values)
        return [_entry(row) for row in found]


def _id(tenant: str, scope: str, target: str) -> RecordId:
    return RecordId("suppression", (tenant, scope, clean(target)))


def _size_id(tenant: str) -> RecordId:
    return RecordId("suppression_size", (tenant,))


def _growth(by_tenant: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"id": _size_id(tenant), "n": n} for tenant, n in by_tenant.items() if n]


def _row(entry: Suppression) -> dict[str, Any]:
    return {
        "reason": clean(entry.reason), "source": clean(entry.source), "is_active": entry.is_active,
        "created_at": float(entry.created_at), "expires_at": entry.expires_at,
    }  # fmt: skip


def _entry(row: Mapping[str, Any]) -> Suppression:
    tenant, scope, target = row["id"].key
    return Suppression(
        tenant, scope, target, row["reason"], row["source"], row["is_active"], row["created_at"], row.get("expires_at")
    )
