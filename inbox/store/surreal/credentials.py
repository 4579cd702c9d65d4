"""App passwords and SCRAM verifiers in SurrealDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.store.ports.credentials import (
    APP_PASSWORDS,
    USE_RECORDED_SECONDS,
    AppPassword,
    app_password_mark,
    password_mark,
)
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

#: Two additions at once write the account's row, so one of them is retried and both are counted.
_ADD: Final = """
LET $owner = (UPDATE $account SET app_passwords = (app_passwords ?? 0) + 1
    WHERE organization = $organization AND !is_shared RETURN VALUE id);
IF array::len($owner) = 0 { THROW 'inbox gone account' };
IF array::len((SELECT VALUE id FROM $all)) >= $most { RETURN 'full' };
CREATE $id CONTENT $row RETURN NONE;
RETURN true"""

_USED: Final = """
UPDATE $id SET last_used_at = $at, last_used_peer = $peer WHERE organization = $organization
    AND (last_used_at IS NONE OR math::abs($at - last_used_at) >= $seconds) RETURN NONE;
RETURN true"""


class SurrealCredentials:
    """``Credentials`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add_app_password(self, tenant: str, account: str, new: AppPassword) -> None:
        row = {
            "organization": rows.organization_id(tenant),
            "account": RecordId("account", account),
            "name": clean(new.name),
            "protocols": list(new.protocols),
            "password_hash": new.password_hash,
            "created_at": new.created_at,
        }
        try:
            done = await self._gateway.write(
                _ADD,
                account=RecordId("account", account),
                organization=rows.organization_id(tenant),
                all=_all(account),
                most=APP_PASSWORDS,
                id=_id(account, new.id),
                row=row,
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"app password {new.id} exists") from error
        if done == "full":
            raise LimitReached(f"an account may have {APP_PASSWORDS} app passwords")

    async def app_passwords(self, tenant: str, account: str) -> list[AppPassword]:
        (found,) = await self._gateway.query(
            "SELECT * FROM $all WHERE organization = $organization",
            all=_all(account),
            organization=rows.organization_id(tenant),
        )
        return sorted(map(_made, found), key=lambda one: (one.created_at, one.id))

    async def app_password(self, tenant: str, account: str, app: str) -> AppPassword | None:
        (found,) = await self._gateway.query(
            "SELECT * FROM ONLY $id WHERE organization = $organization",
            id=_id(account, app),
            organization=rows.organization_id(tenant),
        )
        return _made(found) if found else None

    async def revoke_app_password(self, tenant: str, account: str, app: str) -> None:
        gone = await self._gateway.write(
            "RETURN (DELETE $id WHERE organization = $organization RETURN BEFORE)",
            id=_id(account, app),
            organization=rows.organization_id(tenant),
        )
        if not gone:
            raise NotFound(f"no app password {app}")

    async def used_app_password(self, tenant: str, account: str, app: str, at: float, peer: str) -> None:
        await self._gateway.write(
            _USED,
            id=_id(account, app),
            organization=rows.organization_id(tenant),
            at=at,
            peer=peer,
            seconds=USE_RECORDED_SECONDS,
        )

    async def set_scram(self, tenant: str, account: str, scram: str, password_hash: str) -> None:
        await self._gateway.write(
            "UPDATE $id SET scram = $scram WHERE organization = $organization AND password_hash = $password_hash"
            " RETURN NONE; RETURN true",
            id=RecordId("account", account),
            organization=rows.organization_id(tenant),
            scram=scram,
            password_hash=password_hash,
        )

    async def marks(self, accounts: Sequence[str]) -> dict[str, frozenset[str]]:
        ids = [RecordId("account", account) for account in accounts]
        if not ids:
            return {}
        stored, apps = await self._gateway.query(
            "SELECT VALUE [id, password_hash] FROM $ids WHERE password_hash IS NOT NONE;"
            "SELECT VALUE id FROM app_password WHERE account IN $ids",
            ids=ids,
        )
        found = {account.key: {password_mark(text)} for account, text in stored}
        for one in apps:
            found.setdefault(one.key[0], set()).add(app_password_mark(one.key[1]))
        return {account: frozenset(marks) for account, marks in found.items()}


def _id(account: str, id_: str) -> RecordId:
    return RecordId("app_password", (account, clean(id_)))


def _all(account: str) -> Keys:
    return Keys("app_password", [account, ""], [account, LAST])


def _made(row: Mapping[str, Any]) -> AppPassword:
    return AppPassword(
        row["id"].key[1],
        row["name"],
        tuple(row["protocols"]),
        row["password_hash"],
        row["created_at"],
        row.get("last_used_at"),
        row.get("last_used_peer") or "",
    )
