"""API keys in SurrealDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.store.ports.api_keys import API_KEYS, USE_RECORDED_SECONDS, ApiKey
from inbox.store.ports.hosting import STEP
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

#: Two additions at once write the tenant's row, so one of them is retried and both are counted.
_ADD: Final = """
LET $owner = (UPDATE $organization SET api_keys = (api_keys ?? 0) + 1 WHERE name RETURN VALUE id);
IF array::len($owner) = 0 { THROW 'inbox gone tenant' };
IF array::len((SELECT VALUE id FROM $all)) >= $most { RETURN 'full' };
CREATE $id CONTENT $row RETURN NONE;
RETURN true"""
_ROTATE: Final = """
RETURN (UPDATE $id SET old_hash = secret_hash, old_until = $old_until, secret_hash = $secret_hash
    WHERE key_id RETURN VALUE id)"""
_USED: Final = """
UPDATE $id SET last_used_at = $at, last_used_peer = $peer
    WHERE key_id AND (last_used_at IS NONE OR math::abs($at - last_used_at) >= $seconds) RETURN NONE;
RETURN true"""
_FORGET: Final = """
LET $page = (SELECT VALUE id FROM $all LIMIT $step);
DELETE $page RETURN NONE;
RETURN array::len($page)"""


class SurrealApiKeys:
    """``ApiKeys`` of ``inbox.store.ports.api_keys``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, new: ApiKey) -> None:
        try:
            done = await self._gateway.write(
                _ADD,
                organization=rows.organization_id(new.tenant),
                all=_all(new.tenant),
                most=API_KEYS,
                id=_id(new.tenant, new.id),
                row=_row(new),
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"API key {new.id} exists") from error
        if done == "full":
            raise LimitReached(f"a tenant may have {API_KEYS} API keys: revoke those that are not used")

    async def find(self, key: str) -> ApiKey | None:
        (found,) = await self._gateway.query("SELECT * FROM api_key WHERE key_id = $key LIMIT 1", key=clean(key))
        return _key(found[0]) if found else None

    async def get(self, tenant: str, key: str) -> ApiKey | None:
        (found,) = await self._gateway.query("SELECT * FROM ONLY $id WHERE key_id", id=_id(tenant, key))
        return _key(found) if found else None

    async def all(self, tenant: str) -> Sequence[ApiKey]:
        (found,) = await self._gateway.query("SELECT * FROM $all", all=_all(tenant))
        return sorted(map(_key, found), key=lambda one: (one.created_at, one.id))

    async def rotate(self, tenant: str, key: str, secret_hash: str, old_until: float) -> None:
        values = {"id": _id(tenant, key), "secret_hash": secret_hash, "old_until": float(old_until)}
        if not await self._gateway.write(_ROTATE, **values):
            raise NotFound(f"no API key {key}")

    async def revoke(self, tenant: str, key: str) -> None:
        if not await self._gateway.write("RETURN (DELETE $id RETURN BEFORE)", id=_id(tenant, key)):
            raise NotFound(f"no API key {key}")

    async def used(self, tenant: str, key: str, at: float, peer: str) -> None:
        await self._gateway.write(_USED, id=_id(tenant, key), at=float(at), peer=peer, seconds=USE_RECORDED_SECONDS)

    async def forget(self, tenant: str) -> int:
        return int(await self._gateway.write(_FORGET, all=_all(tenant), step=STEP))


def _id(tenant: str, key: str) -> RecordId:
    return RecordId("api_key", (tenant, clean(key)))


def _all(tenant: str) -> Keys:
    return Keys("api_key", [tenant], [tenant, LAST])


def _row(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": clean(key.id), "name": clean(key.name), "role": key.role, "secret_hash": key.secret_hash,
        "operations": list(key.operations), "domains": list(key.domains), "senders": list(key.senders),
        "networks": list(key.networks), "created_at": float(key.created_at), "expires_at": key.expires_at,
        "old_hash": key.old_hash, "old_until": key.old_until, "last_used_at": key.last_used_at,
        "last_used_peer": key.last_used_peer,
    }  # fmt: skip


def _key(row: Mapping[str, Any]) -> ApiKey:
    tenant, id_ = row["id"].key
    return ApiKey(
        tenant, id_, row["name"], row["role"], row["secret_hash"], tuple(row["operations"]), tuple(row["domains"]),
        tuple(row["senders"]), tuple(row["networks"]), row["created_at"], row.get("expires_at"), row.get("old_hash"),
        row.get("old_until"), row.get("last_used_at"), row["last_used_peer"],
    )  # fmt: skip
