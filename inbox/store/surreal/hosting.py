"""Disabling, renaming and removing tenants, domains and accounts in SurrealDB.

An address is the id of its record, so a new address is a new record, and all references to the old one are changed in
the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from inbox.base.errors import AlreadyExists, NotFound
from inbox.mail.tenancy import Alias
from inbox.store.bus import Bus
from inbox.store.ports.hosting import STEP, Cleared, Holdings, InUse, Kept, Scope
from inbox.store.surreal import rows
from inbox.store.surreal.entries import Entries
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.removing import Removing
from inbox.store.surreal.values import RecordId
from inbox.store.texts import clean

_SET_ACTIVE: Final = """
LET $found = (SELECT VALUE is_active FROM ONLY $id WHERE {owner} = $organization);
IF $found IS NONE {{ THROW 'inbox gone {kind}' }};
IF $found != $active {{ UPDATE $id SET is_active = $active RETURN NONE }};
RETURN $found != $active"""

#: Moves addresses: ``$m.from``, ``$m.to`` (records), ``$m.username``, ``$m.text``. The aliases that point to them are
#: found before.
_MOVE: Final = """
LET $has_from = (SELECT VALUE id FROM ONLY $from_edge WHERE in = $organization);
LET $has_to = (SELECT VALUE id FROM ONLY $to_edge WHERE in = $organization{active});
IF $has_from IS NONE OR $has_to IS NONE {{ THROW 'inbox gone domain' }};
FOR $m IN $moves {{
    LET $old = (SELECT account, alias, targets, forwards, organization FROM ONLY $m.from
        WHERE organization = $organization);
    IF $old IS NONE {{ THROW 'inbox stale' }};
    LET $account = $old.account;
    LET $target = $m.to;
    LET $source = $m.from;
    CREATE $target SET username = $m.username, domain = $domain, organization = $organization, account = $account,
        alias = $old.alias, targets = $old.targets, forwards = $old.forwards RETURN NONE;
    IF $account IS NOT NONE {{
        UPDATE $account SET email_address = $target, address = $m.text RETURN NONE;
        UPDATE mailbox SET email_address = $target WHERE owner = $m.owner RETURN NONE
    }};
    LET $leading = $m.leading;
    FOR $l IN $leading {{
        UPDATE $l SET targets = targets.map(|$t| IF $t = $source {{ $target }} ELSE {{ $t }}),
            alias = IF alias = $source {{ $target }} ELSE {{ alias }} RETURN NONE
    }};
    IF $keep {{
        UPDATE $source SET account = NONE, alias = $target, targets = [$target], forwards = NONE RETURN NONE
    }} ELSE {{
        DELETE $source RETURN NONE
    }}
}};
RETURN true"""

_RENAME_TENANT: Final = """
LET $old = (SELECT VALUE name FROM ONLY $id);
IF $old IS NONE { THROW 'inbox gone tenant' };
CREATE $name_id SET organization = $id RETURN NONE;
DELETE type::record('organization_name', $old) RETURN NONE;
UPDATE $id SET name = $name RETURN NONE;
RETURN true"""


class SurrealHosting:
    """``Hosting`` of ``inbox.store.ports.hosting``."""

    def __init__(self, gateway: Gateway, entries: Entries, bus: Bus) -> None:
        self._gateway = gateway
        self._removing = Removing(gateway, entries)
        self._bus = bus

    async def set_active(self, scope: Scope, active: bool) -> bool:
        organization = rows.organization_id(scope.tenant)
        if scope.account is not None:
            account = await self._account(scope.tenant, scope.account)
            target, owner, kind = account, "organization", "account"
        elif scope.domain is not None:
            target, owner, kind = rows.domain_edge(scope.domain), "in", "domain"
        else:
            target, owner, kind = organization, "id", "tenant"
        sql = _SET_ACTIVE.format(owner=owner, kind=kind)
        return bool(await self._gateway.write(sql, id=target, organization=organization, active=active))

    async def without_access(self, accounts: Sequence[str]) -> set[str]:
        (found,) = await self._gateway.query(
            "SELECT VALUE [id, email_address.domain, organization] FROM $ids "
            "WHERE is_active AND organization.is_active",
            ids=[RecordId("account", one) for one in accounts],
        )
        edges = {rows.domain_edge(domain) for _, domain, _ in found if domain}
        (hosting,) = await self._gateway.query("SELECT VALUE [id, in] FROM $ids WHERE is_active", ids=list(edges))
        hosts = dict(hosting)
        fine = {one.key for one, domain, tenant in found if domain and hosts.get(rows.domain_edge(domain)) == tenant}
        return set(accounts) - fine

    async def rename_tenant(self, tenant: str, name: str) -> None:
        try:
            await self._gateway.write(
                _RENAME_TENANT,
                id=rows.organization_id(tenant),
                name=clean(name),
                name_id=RecordId("organization_name", clean(name)),
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"tenant {name} exists") from error

    async def rename_account(self, tenant: str, address: str, to: str, *, keep_alias: bool) -> None:
        await self._account(tenant, address)
        old, new = address.rpartition("@")[2], to.rpartition("@")[2]
        await self._move(tenant, old, new, [(address, to)], keep_alias, active=" AND is_active")

    async def move_addresses(self, tenant: str, fqdn: str, to: str, *, keep_alias: bool) -> int:
        for domain in (fqdn, to):
            await self._removing.check(Scope(tenant, domain))
        (found,) = await self._gateway.query(
            "SELECT VALUE [id, targets] FROM email_address WHERE organization = $organization AND domain = $domain",
            organization=rows.organization_id(tenant),
            domain=clean(fqdn),
        )
        left: list[tuple[str, str]] = []
        for address, targets in found:
            new = f"{address.key.rpartition('@')[0]}@{to}"
            if not (keep_alias and rows.address_id(new) in (targets or ())):
                left.append((address.key, new))
        # Each address takes several statements, so a step has a tenth of the usual number.
        page = left[: STEP // 10]
        if page:
            await self._move(tenant, fqdn, to, page, keep_alias, active="")
        return len(page)

    async def _move(
        self, tenant: str, fqdn: str, to: str, pairs: list[tuple[str, str]], keep_alias: bool, *, active: str
    ) -> None:
        organization = rows.organization_id(tenant)

        async def work() -> None:
            (found,) = await self._gateway.query(
                "SELECT id, targets, account FROM email_address WHERE organization = $organization "
                "AND (targets OR id IN $ids)",
                organization=organization,
                ids=[rows.address_id(old) for old, _ in pairs],
            )
            owners = {row["id"]: row["account"].key for row in found if row.get("account")}
            leading: dict[RecordId, list[RecordId]] = {}
            for row in found:
                for target in row.get("targets") or ():
                    leading.setdefault(target, []).append(row["id"])
            names = {rows.address_id(old): rows.address_id(new) for old, new in pairs}
            moves = []
            for number, (old, new) in enumerate(pairs):
                source = rows.address_id(old)
                done = {rows.address_id(earlier) for earlier, _ in pairs[:number]}
                # An address that was just moved is found under its new name.
                lead = [names[one] if one in done else one for one in leading.get(source, ())]
                moves.append({
                    "from": source, "to": rows.address_id(new), "text": clean(new), "owner": owners.get(source, ""),
                    "username": clean(new).rpartition("@")[0], "leading": lead,
                })  # fmt: skip
            try:
                await self._gateway.transaction(
                    _MOVE.format(active=active),
                    organization=organization,
                    from_edge=rows.domain_edge(fqdn),
                    to_edge=rows.domain_edge(to),
                    domain=clean(to),
                    moves=moves,
                    keep=keep_alias,
                )
            except AlreadyExists as error:
                raise AlreadyExists(f"an address of {', '.join(new for _, new in pairs[:3])} is taken") from error

        await self._gateway.retried(work)

    async def remove_aliases_to(self, tenant: str, address: str) -> int:
        return await self._gateway.retried(lambda: self._removing.remove_aliases_to(tenant, address))

    async def remove_alias(self, tenant: str, address: str, target: str | None = None) -> list[Alias]:
        gone = await self._gateway.retried(lambda: self._removing.remove_alias(tenant, address, target))
        if gone is None:
            raise NotFound(f"no alias {address}" + (f" to {target}" if target is not None else ""))
        return [Alias(tenant, address, name) for name in gone]

    async def count(self, scope: Scope) -> Holdings:
        return await self._removing.count(scope)

    async def clear_mailbox(self, tenant: str, mailbox: str) -> Cleared:
        cleared = await self._removing.clear_mailbox(tenant, mailbox)
        self._bus.publish((mailbox,))
        return cleared

    async def forget(self, tenant: str, kind: Kept, fqdn: str | None = None) -> int:
        return await self._removing.forget(tenant, kind, fqdn)

    async def end_account(self, tenant: str, address: str) -> int:
        account = await self._account(tenant, address)
        if await self._removing.is_alias_target(tenant, address):
            raise InUse(f"an alias points to {address}")
        return await self._end(account, also=rows.address_id(address))

    async def end_domain(self, tenant: str, fqdn: str) -> None:
        await self._removing.end_domain(tenant, fqdn)

    async def end_tenant(self, tenant: str) -> int:
        organization = rows.organization_id(tenant)
        await self._removing.check(Scope(tenant))
        (domains, addresses) = await self._gateway.query(
            "SELECT count() FROM has_domain WHERE in = $organization GROUP ALL;"
            "SELECT count() FROM email_address WHERE organization = $organization GROUP ALL",
            organization=organization,
        )
        if any(found and found[0]["count"] for found in (domains, addresses)):
            raise InUse(f"tenant {tenant} has domains or addresses")
        if what := await self._removing.uses(tenant):
            raise InUse(f"tenant {tenant} has {what}")
        (name,) = await self._gateway.query("SELECT VALUE name FROM ONLY $id", id=organization)
        return await self._end(organization, also=RecordId("organization_name", name))

    async def _end(self, owner: RecordId, *, also: RecordId) -> int:
        boxes = await self._gateway.retried(lambda: self._removing.end_owner(owner, also))
        self._bus.publish(boxes)
        return len(boxes)

    async def _account(self, tenant: str, address: str) -> RecordId:
        (found,) = await self._gateway.query(
            "SELECT VALUE account FROM ONLY $id WHERE organization = $organization",
            id=rows.address_id(address),
            organization=rows.organization_id(tenant),
        )
        if not isinstance(found, RecordId):
            raise NotFound(f"no account {address}")
        return found
