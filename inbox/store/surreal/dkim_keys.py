"""Signing keys of hosted domains in SurrealDB."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Final

from inbox.base.errors import AlreadyExists, NotFound
from inbox.store.ports import DkimKeyRecord, DkimKeyState
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

_ADD: Final = """
LET $hosted = (SELECT VALUE is_active FROM ONLY $edge WHERE in = $organization);
IF !$hosted { THROW 'inbox gone domain' };
CREATE $id CONTENT $row RETURN NONE;
RETURN true"""

#: A key that returns to an earlier state loses the times of the later states.
_SET_STATE: Final[dict[DkimKeyState, str]] = {
    "pending": "state = 'pending', created_at = $at, activated_at = 0.0, retired_at = 0.0",
    "active": "state = 'active', activated_at = $at, retired_at = 0.0",
    "retired": "state = 'retired', retired_at = $at",
}
_CHANGE: Final = """
LET $key = (SELECT state, algorithm FROM ONLY $id);
IF $key IS NONE OR ($was IS NOT NONE AND $key.state != $was) {{ THROW 'inbox gone key' }};
UPDATE $id SET {assignments} RETURN NONE"""

#: Two transactions that activate different keys have no write in common, and each would leave the other's key active:
#: so both write the domain's edge, and one of them is retried.
_ACTIVATE: Final = f"""
{_CHANGE.format(assignments=_SET_STATE["active"])};
UPDATE $edge SET dkim_activated_at = $at WHERE in = $organization RETURN NONE;
LET $others = (SELECT VALUE id FROM $keys WHERE state = 'active' AND algorithm = $key.algorithm AND id != $id);
UPDATE $others SET {_SET_STATE["retired"]} RETURN NONE;
RETURN $others"""


class SurrealDkimKeys:
    """``DkimKeys`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, key: DkimKeyRecord) -> None:
        row = {name: clean(value) if isinstance(value, str) else value for name, value in asdict(key).items()}
        try:
            await self._gateway.write(
                _ADD, id=_id(key.tenant, key.domain, key.selector), row=row, **_hosting(key.tenant, key.domain)
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"{key.domain} has a key with the selector {key.selector}") from error

    async def all(self, tenant: str, domain: str) -> list[DkimKeyRecord]:
        return await self._select("SELECT * FROM $keys", keys=_keys(tenant, domain))

    async def pending(self) -> list[DkimKeyRecord]:
        return await self._select("SELECT * FROM dkim_key WHERE state = 'pending'")

    async def set_state(
        self,
        tenant: str,
        domain: str,
        selector: str,
        state: DkimKeyState,
        at: float,
        *,
        was: DkimKeyState | None = None,
    ) -> None:
        sql = f"{_CHANGE.format(assignments=_SET_STATE[state])};\nRETURN true"
        await self._gateway.write(sql, id=_id(tenant, domain, selector), at=at, was=was)

    async def activate(
        self, tenant: str, domain: str, selector: str, at: float, *, was: DkimKeyState | None = None
    ) -> list[str]:
        retired = await self._gateway.write(
            _ACTIVATE,
            id=_id(tenant, domain, selector),
            at=at,
            was=was,
            keys=_keys(tenant, domain),
            **_hosting(tenant, domain),
        )
        return sorted(record.key[2] for record in retired)

    async def remove(self, tenant: str, domain: str, selector: str) -> None:
        removed = await self._gateway.write(
            "LET $gone = (DELETE $id RETURN BEFORE);\nRETURN array::len($gone)", id=_id(tenant, domain, selector)
        )
        if not removed:
            raise NotFound(f"{domain} has no key with the selector {selector}")

    async def _select(self, sql: str, **values: Any) -> list[DkimKeyRecord]:
        (found,) = await self._gateway.query(sql, **values)
        keys = [DkimKeyRecord(**{name: row[name] for name in _NAMES}) for row in found]
        return sorted(keys, key=lambda key: (key.created_at, key.selector, key.tenant, key.domain))


_NAMES: Final = tuple(field.name for field in fields(DkimKeyRecord))


def _id(tenant: str, domain: str, selector: str) -> RecordId:
    return RecordId("dkim_key", (tenant, clean(domain), clean(selector)))


def _keys(tenant: str, domain: str) -> Keys:
    return Keys("dkim_key", [tenant, clean(domain)], [tenant, clean(domain), LAST])


def _hosting(tenant: str, domain: str) -> dict[str, Any]:
    """Returns the values to bind for the edge by which the tenant hosts the domain."""
    return {"edge": rows.domain_edge(domain), "organization": rows.organization_id(tenant)}
