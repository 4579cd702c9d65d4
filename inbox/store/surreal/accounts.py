"""Accounts and aliases in SurrealDB."""

from __future__ import annotations

from typing import Any

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import DEFAULT_MAILBOXES, Account, Alias
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.mailboxes import CHANGE_TREE, Tree
from inbox.store.surreal.values import RecordId
from inbox.store.texts import clean

#: An alias may point to an alias; longer chains than this are cut, as are loops.
ALIAS_DEPTH = 8

_HOSTED = """
LET $hosted = (SELECT VALUE is_active FROM ONLY $edge WHERE in = $organization);
IF !$hosted { THROW 'inbox gone domain' };"""

_ADD = f"""{_HOSTED}
CREATE $address SET username = $username, domain = $domain, organization = $organization, account = $owner RETURN NONE;
CREATE $owner SET organization = $organization, email_address = $address, address = $text, tree = 0,
    password_hash = $password_hash, is_active = true, created_at = $created_at RETURN NONE;
{CHANGE_TREE}"""

_ADD_ALIAS = f"""{_HOSTED}
LET $to = (SELECT organization, account, targets FROM ONLY $target);
IF $to IS NONE OR $to.organization != $organization {{ THROW 'inbox gone target' }};
LET $from = (SELECT organization, account, targets FROM ONLY $address);
IF $from.account IS NOT NONE {{ RETURN 'taken' }}
ELSE IF $from IS NONE {{
    IF $target = $address {{ THROW 'inbox gone target' }};
    CREATE $address SET username = $username, domain = $domain, organization = $organization, alias = $target,
        targets = [$target] RETURN NONE
}}
ELSE IF $target IN $from.targets {{ RETURN 'taken' }}
ELSE {{ UPDATE $address SET targets += $target RETURN NONE }};
RETURN true"""


class SurrealAccounts:
    """``Accounts`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def add(self, tenant: str, address: str, password_hash: str) -> Account:
        made = Account(self._ids.new(), tenant, address, password_hash, True, self._clock.now())
        organization, key = rows.organization_id(tenant), rows.address_id(address)
        tree = Tree(RecordId("account", made.id), organization, key, 0, {}, [], [])
        for name, special_use in DEFAULT_MAILBOXES:
            tree.create(self._ids.new(), name, special_use, subscribed=True)
        try:
            await self._gateway.write(
                _ADD,
                **tree.values(made.created_at),
                **_parts(address),
                text=clean(address),
                password_hash=password_hash,
                created_at=made.created_at,
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"address {address} is taken") from error
        return made

    async def by_address(self, address: str) -> Account | None:
        (found,) = await self._gateway.query("SELECT VALUE account.* FROM ONLY $id", id=rows.address_id(address))
        return rows.row_to_account(found) if isinstance(found, dict) else None  # [NONE] for an alias

    async def all(self, tenant: str | None = None) -> list[Account]:
        if tenant is None:
            (found,) = await self._gateway.query("SELECT * FROM account")
        else:
            (found,) = await self._gateway.query(
                "SELECT * FROM account WHERE organization = $organization", organization=rows.organization_id(tenant)
            )
        return sorted(map(rows.row_to_account, found), key=lambda account: account.address)

    async def first(self, tenant: str) -> Account | None:
        (found,) = await self._gateway.query(
            "SELECT * FROM account WHERE organization = $organization AND is_active = true"
            " ORDER BY created_at, address LIMIT 1",
            organization=rows.organization_id(tenant),
        )
        return rows.row_to_account(found[0]) if found else None

    async def set_password(self, tenant: str, address: str, password_hash: str) -> None:
        changed = await self._gateway.write(
            "LET $account = (SELECT VALUE account FROM ONLY $address);"
            "IF $account IS NONE { THROW 'inbox gone account' };"
            "RETURN (UPDATE $account SET password_hash = $password_hash WHERE organization = $organization"
            " RETURN VALUE id)",
            address=rows.address_id(address),
            organization=rows.organization_id(tenant),
            password_hash=password_hash,
        )
        if not changed:
            raise NotFound(f"no account {address}")

    async def add_alias(self, tenant: str, address: str, target: str) -> Alias:
        done = await self._gateway.write(
            _ADD_ALIAS,
            address=rows.address_id(address),
            target=rows.address_id(target),
            organization=rows.organization_id(tenant),
            **_parts(address),
        )
        if done != True:  # noqa: E712 - the result may have any type
            raise AlreadyExists(f"alias {address} to {target}, or an account {address}, exists")
        return Alias(tenant, address, target)

    async def aliases(self, tenant: str | None = None) -> list[Alias]:
        sql = "SELECT id, organization, targets FROM email_address WHERE targets"
        if tenant is None:
            (found,) = await self._gateway.query(sql)
        else:
            (found,) = await self._gateway.query(
                f"{sql} AND organization = $organization", organization=rows.organization_id(tenant)
            )
        aliases = [
            Alias(row["organization"].key, row["id"].key, target.key) for row in found for target in row["targets"]
        ]
        return sorted(aliases, key=lambda alias: (alias.address, alias.target))

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        organization = rows.organization_id(tenant)
        level: list[RecordId] = [rows.address_id(address)]
        seen: set[RecordId] = set()
        accounts: dict[str, Account] = {}
        for _ in range(ALIAS_DEPTH + 1):
            seen.update(level)
            (found,) = await self._gateway.query(
                "SELECT targets, account.* AS account FROM $ids WHERE organization = $organization",
                ids=level,
                organization=organization,
            )
            for row in found:
                if isinstance(row["account"], dict):  # [NONE] for an alias
                    account = rows.row_to_account(row["account"])
                    accounts[account.address] = account
            level = list({target for row in found for target in row.get("targets") or ()} - seen)
            if not level:
                break
        return [account for _, account in sorted(accounts.items()) if account.is_active == active]


def _parts(address: str) -> dict[str, Any]:
    username, _, domain = clean(address).rpartition("@")
    return {"username": username, "domain": domain, "edge": rows.domain_edge(domain)}
