"""Accounts and aliases in SurrealDB."""

from __future__ import annotations

from typing import Any

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import DEFAULT_MAILBOXES, Account, Alias
from inbox.store.ports.accounts import FORWARDS, Reached
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

#: Adds the account of a user, or of a shared inbox.
ADD = f"""{_HOSTED}
CREATE $address SET username = $username, domain = $domain, organization = $organization, account = $owner RETURN NONE;
CREATE $owner SET organization = $organization, email_address = $address, address = $text, tree = 0,
    password_hash = $password_hash, is_active = true, created_at = $created_at, scram = $scram, is_shared = $is_shared
    RETURN NONE;
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
ELSE IF $target IN ($from.targets ?? []) {{ RETURN 'taken' }}
ELSE {{ UPDATE $address SET targets = (targets ?? []) + [$target], alias = alias ?? $target RETURN NONE }};
RETURN true"""

_ADD_FORWARD = f"""{_HOSTED}
LET $elsewhere = (SELECT VALUE id FROM ONLY $target_edge);
IF $elsewhere IS NOT NONE {{ RETURN 'hosted' }};
LET $from = (SELECT account, forwards FROM ONLY $address);
IF $from.account IS NOT NONE OR $target IN ($from.forwards ?? []) {{ RETURN 'taken' }};
IF array::len($from.forwards ?? []) >= $most {{ RETURN 'full' }};
IF $from IS NONE {{
    CREATE $address SET username = $username, domain = $domain, organization = $organization, forwards = [$target]
        RETURN NONE
}} ELSE {{ UPDATE $address SET forwards = (forwards ?? []) + [$target] RETURN NONE }};
RETURN true"""


class SurrealAccounts:
    """``Accounts`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def add(self, tenant: str, address: str, password_hash: str, scram: str | None = None) -> Account:
        made = Account(self._ids.new(), tenant, address, password_hash, True, self._clock.now(), scram)
        tree = new_tree(made, self._ids)
        try:
            await self._gateway.write(ADD, **tree.values(made.created_at), **account_values(made))
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
            "SELECT * FROM account WHERE organization = $organization AND is_active = true AND !is_shared"
            " ORDER BY created_at, address LIMIT 1",
            organization=rows.organization_id(tenant),
        )
        return rows.row_to_account(found[0]) if found else None

    async def set_password(self, tenant: str, address: str, password_hash: str, scram: str | None = None) -> None:
        changed = await self._gateway.write(
            "LET $account = (SELECT VALUE account FROM ONLY $address);"
            "IF $account IS NONE { THROW 'inbox gone account' };"
            "RETURN (UPDATE $account SET password_hash = $password_hash, scram = $scram"
            " WHERE organization = $organization AND !is_shared RETURN VALUE id)",
            address=rows.address_id(address),
            organization=rows.organization_id(tenant),
            password_hash=password_hash,
            scram=scram,
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

    async def add_forward(self, tenant: str, address: str, target: str) -> Alias:
        done = await self._gateway.write(
            _ADD_FORWARD,
            address=rows.address_id(address),
            target=clean(target),
            target_edge=rows.domain_edge(target.rpartition("@")[2]),
            organization=rows.organization_id(tenant),
            most=FORWARDS,
            **_parts(address),
        )
        if done == "full":
            raise LimitReached(f"an alias may have {FORWARDS} targets outside")
        if done == "hosted":
            raise AlreadyExists(f"{target.rpartition('@')[2]} is hosted here")
        if done != True:  # noqa: E712 - the result may have any type
            raise AlreadyExists(f"alias {address} to {target}, or an account {address}, exists")
        return Alias(tenant, address, target)

    async def aliases(self, tenant: str | None = None) -> list[Alias]:
        sql = "SELECT id, organization, targets, forwards FROM email_address WHERE (targets OR forwards)"
        if tenant is None:
            (found,) = await self._gateway.query(sql)
        else:
            (found,) = await self._gateway.query(
                f"{sql} AND organization = $organization", organization=rows.organization_id(tenant)
            )
        aliases = [
            Alias(row["organization"].key, row["id"].key, target)
            for row in found
            for target in (*(one.key for one in row.get("targets") or ()), *(row.get("forwards") or ()))
        ]
        return sorted(aliases, key=lambda alias: (alias.address, alias.target))

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        accounts, _ = await self._reach(tenant, address)
        return [account for account in accounts if account.is_active == active]

    async def reach(self, tenant: str, address: str) -> Reached:
        accounts, forwards = await self._reach(tenant, address)
        return Reached(tuple([account for account in accounts if account.is_active]), tuple(sorted(forwards)))

    async def _reach(self, tenant: str, address: str) -> tuple[list[Account], set[str]]:
        """Returns all accounts, active or not, ordered by address, and the targets outside."""
        organization = rows.organization_id(tenant)
        level: list[RecordId] = [rows.address_id(address)]
        seen: set[RecordId] = set()
        accounts: dict[str, Account] = {}
        forwards: set[str] = set()
        for _ in range(ALIAS_DEPTH + 1):
            seen.update(level)
            (found,) = await self._gateway.query(
                "SELECT targets, forwards, account.* AS account FROM $ids WHERE organization = $organization",
                ids=level,
                organization=organization,
            )
            for row in found:
                forwards.update(row.get("forwards") or ())
                if isinstance(row["account"], dict):  # [NONE] for an alias
                    account = rows.row_to_account(row["account"])
                    accounts[account.address] = account
            level = list({target for row in found for target in row.get("targets") or ()} - seen)
            if not level:
                break
        return [account for _, account in sorted(accounts.items())], forwards


def new_tree(account: Account, ids: Ids) -> Tree:
    """Plans the mailboxes of a new account; the first is its INBOX."""
    owner = RecordId("account", account.id)
    tree = Tree(owner, rows.organization_id(account.tenant), rows.address_id(account.address), 0, {}, [], [])
    for name, special_use in DEFAULT_MAILBOXES:
        tree.create(ids.new(), name, special_use, subscribed=True)
    return tree


def account_values(account: Account) -> dict[str, Any]:
    """Returns the values to bind for :data:`ADD` besides those of the tree."""
    return {
        **_parts(account.address),
        "text": clean(account.address),
        "password_hash": account.password_hash,
        "created_at": account.created_at,
        "scram": account.scram,
        "is_shared": account.is_shared,
    }


def _parts(address: str) -> dict[str, Any]:
    username, _, domain = clean(address).rpartition("@")
    return {"username": username, "domain": domain, "edge": rows.domain_edge(domain)}
