"""Suppression lists in SurrealDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inbox.store.ports.hosting import STEP
from inbox.store.ports.suppression import (
    MOST_ENTRIES,
    Suppression,
    SuppressionScope,
    bounded,
    chosen,
    domain_of,
)
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway, in_pages
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

_PUT: Final = """
LET $there = (SELECT VALUE id FROM $tenants WHERE name);
IF array::len($there) != array::len($tenants) { THROW 'inbox gone tenant' };
LET $kept = IF $replace { [] } ELSE {
    (SELECT VALUE id FROM $ids WHERE created_at IS NOT NONE AND (expires_at IS NONE OR expires_at > $now))
};
LET $written = array::filter($entries, |$one| $kept CONTAINSNOT $one.id);
FOR $one IN $written {
    LET $id = $one.id;
    UPSERT $id CONTENT $one.row RETURN NONE
};
RETURN array::len($written)"""


class SurrealSuppressions:
    """``Suppressions`` of ``inbox.store.ports.suppression``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def put(self, entries: Sequence[Suppression], *, replace: bool = True) -> int:
        bounded(entries)
        if not entries:
            return 0
        given = [{"id": _id(entry.tenant, entry.scope, entry.target), "row": _row(entry)} for entry in entries]
        return int(
            await self._gateway.write(
                _PUT,
                tenants=[rows.organization_id(tenant) for tenant in {entry.tenant for entry in entries}],
                ids=[one["id"] for one in given],
                entries=given,
                replace=replace,
                now=max(entry.created_at for entry in entries),
            )
        )

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
        return int(
            await self._gateway.write("LET $gone = (DELETE $ids RETURN BEFORE);\nRETURN array::len($gone)", ids=ids)
        )

    async def forget(self, tenant: str) -> int:
        return int(
            await self._gateway.write(
                "LET $page = (SELECT VALUE id FROM $keys LIMIT $step);\nDELETE $page RETURN NONE;\n"
                "RETURN array::len($page)",
                keys=Keys("suppression", [tenant], [tenant, LAST]),
                step=STEP,
            )
        )

    async def prune(self, before: float) -> int:
        return await in_pages(
            self._gateway,
            "LET $gone = (SELECT VALUE id FROM suppression WHERE expires_at < $before AND expires_at > 0.0 "
            "LIMIT $page);\nDELETE $gone RETURN NONE;\nRETURN array::len($gone)",
            before=before,
        )

    async def _select(self, sql: str, **values: Any) -> list[Suppression]:
        (found,) = await self._gateway.query(sql, **values)
        return [_entry(row) for row in found]


def _id(tenant: str, scope: str, target: str) -> RecordId:
    return RecordId("suppression", (tenant, scope, clean(target)))


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
