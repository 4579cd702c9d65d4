"""Steps of a removal in SurrealDB."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Final

from inbox.base.errors import NotFound
from inbox.store.ports.hosting import STEP, Cleared, Holdings, InUse, Kept, Scope
from inbox.store.surreal import job_counts, rows
from inbox.store.surreal.entries import Entries
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.jobs import ACCOUNT_OF_ADDRESS, jobs_of
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

_FORGET_KEYS: Final = """
LET $old = (SELECT VALUE id FROM $keys LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""

_FORGET_DECISIONS: Final = """
LET $old = (SELECT VALUE id FROM decision WHERE tenant = $tenant LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""

#: Removes the pairs ``$p.source`` and ``$p.target``, then addresses without a target. ``$p.first`` is the target that
#: is now the first. The data read before must be unchanged.
_REMOVE_PAIRS: Final = """
FOR $p IN $pairs {
    LET $target = $p.target;
    LET $source = $p.source;
    LET $seen = (SELECT VALUE targets FROM ONLY $source);
    IF $target NOT IN ($seen ?? []) { THROW 'inbox stale' };
    UPDATE $source SET targets -= $target, alias = $p.first RETURN NONE
};
UPDATE $forwarding SET forwards = $forwards RETURN NONE;
DELETE $gone RETURN NONE;
RETURN true"""

#: All mailboxes of an owner must be empty; a change to the owner's mailboxes writes its row, as CHANGE_TREE does.
_END_OWNER: Final = """
LET $tree = (UPDATE $owner SET tree += 1 WHERE tree = $seen RETURN VALUE tree);
IF array::len($tree) = 0 { THROW 'inbox stale' };
LET $empty = (UPDATE $boxes SET modseq += 1 WHERE messages = 0 RETURN VALUE modseq);
IF array::len($empty) != array::len($boxes) { THROW 'inbox stale' };
FOR $one IN $ranges { DELETE $one RETURN NONE };
DELETE $boxes RETURN NONE;
DELETE has_shared_inbox_member WHERE out = $owner RETURN NONE;
DELETE $inbox RETURN NONE;
DELETE $also RETURN NONE;
DELETE $owner RETURN NONE;
RETURN true"""

_END_DOMAIN: Final = """
LET $edge = (SELECT VALUE out FROM ONLY $id WHERE in = $organization);
IF $edge IS NONE { THROW 'inbox gone domain' };
DELETE $id RETURN NONE;
DELETE $edge RETURN NONE;
RETURN true"""


#: Rows that a tenant must not have when it is removed.
_OF_TENANT: Final = {
    "outbound_queue": "mail in the queue",
    "outbound_delivery": "records of deliveries",
    "api_key": "API keys",
    "webhook": "webhooks",
    "webhook_message": "messages of webhooks",
    "suppression": "entries of the suppression list",
    "idempotency_key": "idempotency keys",
    "plugin_state": "entries of plugins",
}


class Removing:
    """Removals of ``SurrealHosting``, whole or in steps."""

    def __init__(self, gateway: Gateway, entries: Entries) -> None:
        self._gateway = gateway
        self._entries = entries

    async def check(self, scope: Scope) -> None:
        """Raises NotFound unless the tenant has this domain or account."""
        organization = rows.organization_id(scope.tenant)
        if scope.account is not None:
            target, where = rows.address_id(scope.account), "organization = $organization AND account"
        elif scope.domain is not None:
            target, where = rows.domain_edge(scope.domain), "in = $organization"
        else:
            target, where = organization, "id = $organization"
        (found,) = await self._gateway.query(
            f"SELECT VALUE id FROM ONLY $id WHERE {where}", id=target, organization=organization
        )
        if not found:
            raise NotFound(f"no {scope.account or scope.domain or 'tenant ' + scope.tenant}")

    async def count(self, scope: Scope) -> Holdings:
        """Counts the objects in the scope."""
        await self.check(scope)
        organization = rows.organization_id(scope.tenant)
        found = await self._addresses(scope.tenant)
        if scope.account is not None:
            mine = [row for row in found if row["id"] == rows.address_id(scope.account)]
            aliases = sum(rows.address_id(scope.account) in (row.get("targets") or ()) for row in found)
        else:
            mine = [row for row in found if scope.domain is None or row["domain"] == clean(scope.domain)]
            aliases = sum(len(row.get("targets") or ()) + len(row.get("forwards") or ()) for row in mine)
        owners = [row["account"].key for row in mine if row.get("account")]
        accounts = len(owners)
        whole = scope.account is None and scope.domain is None
        boxes = await self._boxes([*owners, scope.tenant] if whole else owners)
        if scope.account is not None:
            return Holdings(0, 1, aliases, *boxes, jobs=await self._jobs(scope))
        (domains, decisions) = await self._gateway.query(
            "SELECT count() FROM has_domain WHERE in = $organization GROUP ALL;"
            "SELECT count() FROM decision WHERE tenant = $tenant GROUP ALL",
            organization=organization,
            tenant=scope.tenant,
        )
        keys, reports = [
            await self._gateway.query("SELECT count() FROM $keys GROUP ALL", keys=_range(table, scope))
            for table in ("dkim_key", "dmarc_report")
        ]
        return Holdings(
            _number(domains) if whole else 1, accounts, aliases, *boxes, _number(keys[0]), _number(reports[0]),
            _number(decisions) if whole else 0, await self._jobs(scope),
            await self._state(scope.tenant) if whole else 0,
        )  # fmt: skip

    async def _jobs(self, scope: Scope) -> int:
        """Counts the jobs in the scope."""
        if scope.domain is None and scope.account is None:
            counted = await job_counts.count(self._gateway, scope.tenant)
            return sum(one.queued + one.processing + one.held + one.dead for one in counted)
        where, values = jobs_of(scope)
        _, found = await self._gateway.query(
            f"LET $account = {ACCOUNT_OF_ADDRESS}; SELECT count() FROM $keys WHERE {where} GROUP ALL", **values
        )
        return _number(found)

    async def _state(self, tenant: str) -> int:
        """Counts the entries that plugins have for the tenant."""
        (found,) = await self._gateway.query(
            "SELECT VALUE entries FROM $keys", keys=Keys("plugin_state_size", [tenant], [tenant, LAST])
        )
        return sum(found)

    async def uses(self, tenant: str) -> str:
        """Returns what a tenant without domains and addresses still has besides mailboxes; empty if it has nothing."""
        for table, what in _OF_TENANT.items():
            (found,) = await self._gateway.query(
                "SELECT VALUE id FROM $keys LIMIT 1", keys=Keys(table, [tenant], [tenant, LAST])
            )
            if found:
                return what
        return ""

    async def _boxes(self, owners: Sequence[str]) -> tuple[int, int, int]:
        """Counts mailboxes, messages and octets of these owners."""
        total = [0, 0, 0]
        for start in range(0, len(owners), STEP):
            (found,) = await self._gateway.query(
                "SELECT VALUE [messages, size] FROM mailbox WHERE owner IN $owners", owners=owners[start : start + STEP]
            )
            total = [total[0] + len(found), total[1] + sum(r[0] for r in found), total[2] + sum(r[1] for r in found)]
        return total[0], total[1], total[2]

    async def _addresses(self, tenant: str) -> list[dict[str, Any]]:
        (found,) = await self._gateway.query(
            "SELECT id, domain, account, targets, forwards FROM email_address WHERE organization = $organization",
            organization=rows.organization_id(tenant),
        )
        return list(found)

    async def is_alias_target(self, tenant: str, address: str) -> bool:
        """Whether an alias other than the address itself points to it."""
        # No LIMIT: SurrealDB 3.0 counts the rows read from an index before it applies the other condition.
        target = rows.address_id(address)
        (found,) = await self._gateway.query(
            "SELECT VALUE id FROM email_address WHERE targets CONTAINS $target AND organization = $organization",
            target=target,
            organization=rows.organization_id(tenant),
        )
        return any(one != target for one in found)

    async def remove_aliases_to(self, tenant: str, address: str) -> int:
        """Removes up to STEP pairs that point to the address, and addresses that then have no target."""
        if not await self.is_alias_target(tenant, address):
            return 0
        found = await self._addresses(tenant)
        targets = {row["id"]: list(row.get("targets") or ()) for row in found}
        forwarding = {row["id"] for row in found if row.get("forwards")}
        root = rows.address_id(address)
        if root not in targets:
            return 0
        pairs, gone = _pairs_to_remove(targets, root, forwarding)
        if pairs:
            await self._gateway.transaction(_REMOVE_PAIRS, pairs=pairs, gone=gone, forwarding=[], forwards=None)
        return len(pairs)

    async def remove_alias(self, tenant: str, address: str, target: str | None) -> list[str] | None:
        """Removes one target of the alias, or all; returns them, or None if there is no such pair. The address is
        removed with the last one."""
        source = rows.address_id(address)
        found = next((row for row in await self._addresses(tenant) if row["id"] == source), None)
        if found is None or found.get("account"):
            return None
        targets, forwards = list(found.get("targets") or ()), list(found.get("forwards") or ())
        gone = sorted(one for one in targets if target is None or one == rows.address_id(target))
        unsent = [one for one in forwards if target is None or one == clean(target)]
        if target is not None and not gone and not unsent:
            return None
        left = [one for one in targets if one not in gone]
        kept = [one for one in forwards if one not in unsent]
        empty = not left and not kept
        if empty and await self.is_alias_target(tenant, address):
            raise InUse("another alias points to it")
        pairs = [{"source": source, "target": one, "first": left[0] if left else None} for one in gone]
        await self._gateway.transaction(
            _REMOVE_PAIRS, pairs=pairs, gone=[source] if empty else [], forwarding=[source], forwards=kept or None
        )
        return sorted([*(one.key for one in gone), *unsent])

    async def clear_mailbox(self, tenant: str, mailbox: str) -> Cleared:
        """Removes up to STEP entries, with the messages that are in no mailbox any more."""
        await self._entries.modseq(tenant, mailbox)
        keys = Keys("has_email_delivery", [mailbox], [mailbox, LAST])
        (found,) = await self._gateway.query(
            "SELECT VALUE [uid, in, size, in.blob_path] FROM $keys LIMIT $page", keys=keys, page=STEP
        )
        if not found:
            return Cleared()
        paths = {email: path for _, email, _, path in found}
        await self._entries.remove(tenant, mailbox, [row[0] for row in found])
        (left,) = await self._gateway.query("SELECT VALUE id FROM $ids WHERE blob_path", ids=list(paths))
        blobs = sorted(path for email, path in paths.items() if path and email not in set(left))
        return Cleared(len(found), sum(row[2] for row in found), tuple(blobs), more=True)

    async def forget(self, tenant: str, kind: Kept, fqdn: str | None) -> int:
        """Runs one step of removing keys, reports or decisions."""
        if kind == "decisions":
            return int(await self._gateway.write(_FORGET_DECISIONS, tenant=tenant, page=STEP))
        table = "dkim_key" if kind == "dkim_keys" else "dmarc_report"
        return int(await self._gateway.write(_FORGET_KEYS, keys=_range(table, Scope(tenant, fqdn)), page=STEP))

    async def end_owner(self, owner: RecordId, also: RecordId) -> list[str]:
        """Removes an account or a tenant, the record ``also``, and the owner's mailboxes, which must be empty."""
        _, seen, boxes, _ = await self._gateway.query(
            "BEGIN; SELECT VALUE tree FROM ONLY $owner; SELECT id, messages FROM mailbox WHERE owner = $key; COMMIT",
            owner=owner,
            key=owner.key,
        )
        if seen is None:
            raise NotFound(f"no {owner.table} {owner.key}")
        if any(box["messages"] for box in boxes):
            raise InUse("a mailbox is not empty")
        names = [box["id"].key for box in boxes]
        tables = ("expunged", "mailbox_chunk")
        await self._gateway.transaction(
            _END_OWNER,
            owner=owner,
            also=also,
            seen=seen,
            boxes=[box["id"] for box in boxes],
            inbox=RecordId("shared_inbox", owner.key),
            ranges=[
                *[
                    Keys(table, [owner.key, ""], [owner.key, LAST])
                    for table in ("subscription", "app_password", "has_shared_inbox_member", "shared_inbox_event")
                ],
                *[Keys(table, [owner.key], [owner.key, LAST]) for table in ("outbound_count", "outbound_alive")],
                *[Keys(table, [name], [name, LAST]) for name in names for table in tables],
            ],
        )
        return names

    async def end_domain(self, tenant: str, fqdn: str) -> None:
        """Removes a hosted domain without addresses and keys."""
        scope = Scope(tenant, fqdn)
        await self.check(scope)
        (addresses, keys) = await self._gateway.query(
            "SELECT count() FROM email_address WHERE organization = $organization AND domain = $domain GROUP ALL;"
            "SELECT count() FROM $keys GROUP ALL",
            organization=rows.organization_id(tenant),
            domain=clean(fqdn),
            keys=_range("dkim_key", scope),
        )
        if _number(addresses) or _number(keys):
            raise InUse(f"{fqdn} has addresses or signing keys")
        await self._gateway.write(_END_DOMAIN, id=rows.domain_edge(fqdn), organization=rows.organization_id(tenant))


def _pairs_to_remove(
    targets: dict[RecordId, list[RecordId]], root: RecordId, forwarding: Set[RecordId]
) -> tuple[list[dict[str, RecordId | None]], list[RecordId]]:
    """Returns up to STEP pairs to remove so that nothing points to ``root``, and the addresses that then have no
    target. Those of ``forwarding`` have targets outside."""
    sources: dict[RecordId, list[RecordId]] = {}
    for source, those in targets.items():
        for target in those:
            if target == source:
                continue  # An alias that points only to itself has no target.
            sources.setdefault(target, []).append(source)
    pairs: list[dict[str, RecordId | None]] = []
    gone: list[RecordId] = []
    path = [root]
    while path and len(pairs) < STEP:
        top = path[-1]
        if not sources.get(top):
            # Nothing points to this address any more. Unless it is the root it loses its last target, so it is removed.
            path.pop()
            if top != root:
                for target in targets[top]:
                    if target != top:
                        sources[target].remove(top)
                    pairs.append({"source": top, "target": target, "first": None})
                gone.append(top)
            continue
        source = sources[top][-1]
        left = [one for one in targets[source] if one not in (top, source)]
        if not left and source not in forwarding and source not in path:
            path.append(source)
            continue
        sources[top].pop()
        targets[source].remove(top)
        pairs.append({"source": source, "target": top, "first": left[0] if left else None})
    return pairs, gone


def _range(table: str, scope: Scope) -> Keys:
    """Returns the records of a tenant, or of one of its domains, in a table whose keys begin with both."""
    first = [scope.tenant] if scope.domain is None else [scope.tenant, clean(scope.domain)]
    return Keys(table, first, [*first, LAST])


def _number(counted: list[dict[str, int]]) -> int:
    return counted[0]["count"] if counted else 0
