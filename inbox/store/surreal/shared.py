"""Shared inboxes in SurrealDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.base.ids import Ids
from inbox.mail.tenancy import Account
from inbox.store.ports.shared import MEMBERS, Member, Membership, SharedEvent, SharedInbox
from inbox.store.surreal import rows
from inbox.store.surreal.accounts import ADD, account_values, new_tree
from inbox.store.surreal.gateway import Gateway, in_pages
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

_ADD: Final = f"""
CREATE $inbox SET organization = $organization, address = $text, domain = $domain, display_name = $display_name,
    is_active = true, mailbox = $mailbox RETURN NONE;
{ADD}"""

#: Two additions at once write the inbox's row, so one of them is retried and both are counted.
_SET_MEMBER: Final = """
LET $inbox_there = (UPDATE $inbox SET changes = (changes ?? 0) + 1 WHERE organization = $organization RETURN VALUE id);
IF array::len($inbox_there) = 0 { THROW 'inbox gone shared inbox' };
LET $account_there = (SELECT VALUE id FROM ONLY $account WHERE organization = $organization AND !is_shared);
IF $account_there IS NONE { THROW 'inbox gone account' };
LET $old = (SELECT VALUE id FROM ONLY $id);
IF $old IS NONE AND array::len((SELECT VALUE id FROM $all)) >= $most { RETURN 'full' };
DELETE $id RETURN NONE;
INSERT RELATION INTO has_shared_inbox_member $row RETURN NONE;
RETURN $old IS NONE"""

_REMOVE_MEMBER: Final = """
LET $there = (SELECT VALUE id FROM ONLY $inbox WHERE organization = $organization);
IF $there IS NONE { THROW 'inbox gone shared inbox' };
RETURN (DELETE $id RETURN BEFORE)"""

_MEMBERSHIP: Final = """
SELECT role, can_send_as, can_assign, in.* AS inbox FROM {source}
    WHERE {condition} is_active AND in.is_active AND in.organization = $organization"""

_PRUNE: Final = """
LET $old = (SELECT VALUE id FROM shared_inbox_event WHERE created_at < $before LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""

#: Records events about messages; an inbox of another tenant, or one that was removed, gets none.
ADD_EVENTS: Final = """
FOR $e IN $events {
    LET $of = $e.shared_inbox;
    LET $there = (SELECT VALUE id FROM ONLY $of WHERE organization = $e.organization);
    IF $there IS NOT NONE { INSERT IGNORE INTO shared_inbox_event $e.row RETURN NONE }
}"""


class SurrealSharedInboxes:
    """``SharedInboxes`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def add(self, tenant: str, address: str, display_name: str) -> SharedInbox:
        account = Account(self._ids.new(), tenant, address, "", True, self._clock.now(), is_shared=True)
        tree = new_tree(account, self._ids)
        mailbox = tree.created[0]["id"]
        try:
            await self._gateway.write(
                _ADD,
                **tree.values(account.created_at),
                **account_values(account),
                inbox=_inbox_id(account.id),
                display_name=clean(display_name),
                mailbox=mailbox,
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"address {address} is taken") from error
        return SharedInbox(account.id, tenant, address, address.rpartition("@")[2], clean(display_name), mailbox.key)

    async def by_address(self, tenant: str, address: str) -> SharedInbox | None:
        # The address determines its record, which has the inbox's account.
        (found,) = await self._gateway.query(
            "SELECT * FROM type::record('shared_inbox', record::id((SELECT VALUE account FROM ONLY $address) "
            "?? account:none)) WHERE organization = $organization",
            address=rows.address_id(address),
            organization=rows.organization_id(tenant),
        )
        return _inbox(found[0]) if found else None

    async def all(self, tenant: str | None = None) -> list[SharedInbox]:
        if tenant is None:
            (found,) = await self._gateway.query("SELECT * FROM shared_inbox")
        else:
            (found,) = await self._gateway.query(
                "SELECT * FROM shared_inbox WHERE organization = $organization",
                organization=rows.organization_id(tenant),
            )
        return sorted(map(_inbox, found), key=lambda one: one.address)

    async def set_member(self, tenant: str, inbox: str, member: Member) -> bool:
        new = await self._gateway.write(
            _SET_MEMBER,
            inbox=_inbox_id(inbox),
            account=RecordId("account", member.account),
            organization=rows.organization_id(tenant),
            id=_member_id(inbox, member.account),
            all=_members(inbox),
            most=MEMBERS,
            row={
                "id": _member_id(inbox, member.account),
                "in": _inbox_id(inbox),
                "out": RecordId("account", member.account),
                "role": member.role,
                "can_send_as": member.can_send_as,
                "can_assign": member.can_assign,
                "is_active": member.is_active,
            },
        )
        if new == "full":
            raise LimitReached(f"a shared inbox may have {MEMBERS} members")
        return bool(new)

    async def remove_member(self, tenant: str, inbox: str, account: str) -> None:
        gone = await self._gateway.write(
            _REMOVE_MEMBER,
            inbox=_inbox_id(inbox),
            organization=rows.organization_id(tenant),
            id=_member_id(inbox, account),
        )
        if not gone:
            raise NotFound(f"{account} is no member of {inbox}")

    async def members(self, tenant: str, inbox: str) -> list[Member]:
        (found,) = await self._gateway.query(
            "SELECT out, out.address AS address, role, can_send_as, can_assign, is_active FROM $all "
            "WHERE in.organization = $organization",
            all=_members(inbox),
            organization=rows.organization_id(tenant),
        )
        made = [
            Member(row["out"].key, row["address"], row["role"], row["can_send_as"], row["can_assign"], row["is_active"])
            for row in found
        ]
        return sorted(made, key=lambda one: one.address)

    async def memberships(self, tenant: str, account: str) -> list[Membership]:
        (found,) = await self._gateway.query(
            _MEMBERSHIP.format(source="has_shared_inbox_member", condition="out = $account AND"),
            account=RecordId("account", account),
            organization=rows.organization_id(tenant),
        )
        return sorted(map(_membership, found), key=lambda one: one.inbox.address)

    async def membership(self, tenant: str, inbox: str, account: str) -> Membership | None:
        (found,) = await self._gateway.query(
            _MEMBERSHIP.format(source="$id", condition=""),
            id=_member_id(inbox, account),
            organization=rows.organization_id(tenant),
        )
        return _membership(found[0]) if found else None

    async def events(self, tenant: str, inbox: str, limit: int = 100) -> Sequence[SharedEvent]:
        (found,) = await self._gateway.query(
            "SELECT * FROM $all WHERE $inbox.organization = $organization ORDER BY created_at DESC LIMIT $limit",
            all=Keys("shared_inbox_event", [inbox, ""], [inbox, LAST]),
            inbox=_inbox_id(inbox),
            organization=rows.organization_id(tenant),
            limit=limit,
        )
        return [
            SharedEvent(
                row["id"].key[0], row["actor"].key, row["event_type"], row["created_at"], row.get("email"),
                row.get("email_delivery"),
            )
            for row in found
        ]  # fmt: skip

    async def prune(self, before: float) -> int:
        return await in_pages(self._gateway, _PRUNE, before=before)


def event_values(tenant: str, email: str, event: SharedEvent) -> dict[str, Any]:
    """Returns one of the values to bind as ``$events`` for :data:`ADD_EVENTS`."""
    row = {
        "id": (event.shared_inbox, email, event.event_type, event.actor),
        "shared_inbox": _inbox_id(event.shared_inbox),
        "actor": RecordId("account", event.actor),
        "event_type": event.event_type,
        "email": email,
        "created_at": event.created_at,
    }
    return {
        "shared_inbox": _inbox_id(event.shared_inbox), "organization": rows.organization_id(tenant), "row": row,
    }  # fmt: skip


def _inbox_id(inbox: str) -> RecordId:
    return RecordId("shared_inbox", inbox)


def _member_id(inbox: str, account: str) -> RecordId:
    return RecordId("has_shared_inbox_member", (inbox, account))


def _members(inbox: str) -> Keys:
    return Keys("has_shared_inbox_member", [inbox, ""], [inbox, LAST])


def _inbox(row: Mapping[str, Any]) -> SharedInbox:
    return SharedInbox(
        row["id"].key,
        row["organization"].key,
        row["address"],
        row["domain"],
        row["display_name"],
        row["mailbox"].key,
        row["is_active"],
    )


def _membership(row: Mapping[str, Any]) -> Membership:
    return Membership(_inbox(row["inbox"]), row["role"], row["can_send_as"], row["can_assign"])
