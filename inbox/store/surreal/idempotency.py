"""Idempotency keys in SurrealDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inbox.store.ports.hosting import STEP
from inbox.store.ports.idempotency import REMEMBERED_SECONDS, IdempotencyKey
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import LAST, Keys, RecordId

Row = dict[str, Any]
#: Keys that one step of the sweep looks at.
_PAGE: Final = 200
#: Writes the rows of :func:`key_values`, inside a transaction: it fails if one of the keys exists.
ADD_KEYS: Final = "INSERT INTO idempotency_key $keys RETURN NONE"
_JOBS: Final = """
SELECT decision, status, died_at FROM outbound_queue WHERE decision IN $decisions;
SELECT decision, delivered_at FROM outbound_delivery WHERE decision IN $decisions"""
_SWEEP: Final = """
FOR $one IN $kept { UPDATE $one.id SET check_at = $one.check_at RETURN NONE };
LET $gone = (DELETE $expired RETURN BEFORE);
RETURN array::len($gone)"""


class SurrealIdempotencyKeys:
    """``IdempotencyKeys`` of ``inbox.store.ports.idempotency``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def get(self, tenant: str, key: str) -> IdempotencyKey | None:
        found = await find(self._gateway, [key_id(tenant, key)])
        return next(iter(found.values()), None)

    async def forget(self, tenant: str) -> int:
        return int(
            await self._gateway.write(
                "LET $page = (SELECT VALUE id FROM $keys LIMIT $step);\nDELETE $page RETURN NONE;\n"
                "RETURN array::len($page)",
                keys=Keys("idempotency_key", [tenant], [tenant, LAST]),
                step=STEP,
            )
        )

    async def prune(self, now: float) -> int:
        removed = 0
        while due := await self._due(now):
            ended = await self._ended({row["decision"] for row in due}, now)
            kept: list[Row] = []
            expired: list[RecordId] = []
            for row in due:
                check_at = max(row["created_at"], ended.get(row["decision"], 0.0)) + REMEMBERED_SECONDS
                if check_at > now:
                    kept.append({"id": row["id"], "check_at": check_at})
                else:
                    expired.append(row["id"])
            removed += int(await self._gateway.write(_SWEEP, kept=kept, expired=expired))
        return removed

    async def _due(self, now: float) -> list[Row]:
        (found,) = await self._gateway.query(
            "SELECT id, decision, created_at FROM idempotency_key WHERE check_at <= $now LIMIT $page",
            now=float(now),
            page=_PAGE,
        )
        return list(found)

    async def _ended(self, decisions: set[str], now: float) -> dict[str, float]:
        """When the last job of each transaction ended: ``now`` if one has not."""
        jobs, deliveries = await self._gateway.query(_JOBS, decisions=list(decisions))
        times = [(row["decision"], row["died_at"] if row["status"] == "dead" else now) for row in jobs]
        times += [(row["decision"], row["delivered_at"]) for row in deliveries]
        ended: dict[str, float] = {}
        for decision, at in times:
            ended[decision] = max(at, ended.get(decision, 0.0))
        return ended


def key_id(tenant: str, key: str) -> RecordId:
    return RecordId("idempotency_key", (tenant, key))


def key_values(key: IdempotencyKey) -> Row:
    """Returns one of the values to bind as ``$keys`` for :data:`ADD_KEYS`."""
    return {
        "id": [key.tenant, key.key], "fingerprint": key.fingerprint, "decision": key.transaction,
        "created_at": float(key.created_at), "check_at": key.created_at + REMEMBERED_SECONDS,
    }  # fmt: skip


async def find(gateway: Gateway, ids: Sequence[RecordId]) -> dict[RecordId, IdempotencyKey]:
    """Returns those of the keys that exist."""
    (found,) = await gateway.query("SELECT * FROM $ids WHERE created_at IS NOT NONE", ids=list(ids))
    return {row["id"]: _key(row) for row in found}


def _key(row: Mapping[str, Any]) -> IdempotencyKey:
    tenant, key = row["id"].key
    return IdempotencyKey(tenant, key, row["fingerprint"], row["decision"], row["created_at"])
