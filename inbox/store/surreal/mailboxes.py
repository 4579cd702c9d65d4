"""Mailboxes in SurrealDB.

All changes to the names of one owner's mailboxes write the owner's row (``tree``), so that two concurrent changes
conflict: the parents, children and names that a change has read are still valid when it commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from inbox.base import limits
from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.base.ids import Ids
from inbox.base.limits import LATEST_UID_VALIDITY, SUBSCRIPTIONS
from inbox.mail.tenancy import Mailbox
from inbox.store.bus import Bus
from inbox.store.ports.mailboxes import MailboxStatus
from inbox.store.surreal import rows
from inbox.store.surreal.entries import Entries
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.steps import paced
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

_UID_VALIDITY = RecordId("meta", "uid_validity")

#: Checks that no other transaction has changed the owner's tree, then writes. UIDVALIDITY grows with time and never
#: repeats in this installation, even if the clock is set back. (UPSERT evaluates its expressions as on a new record, so
#: the existing record is read first.)
CHANGE_TREE = """
LET $tree = (UPDATE $owner SET tree += 1 WHERE tree = $seen RETURN VALUE tree);
IF array::len($tree) = 0 { THROW 'inbox stale' };
LET $last = (SELECT VALUE value FROM ONLY $validity) ?? 0;
LET $first = math::max([$last + 1, $now]);
UPSERT $validity SET value = $first + $count - 1 RETURN NONE;
FOR $m IN $renamed {
    UPDATE $m.id SET name = $m.name, parent = $m.parent, modseq += 1 RETURN NONE
};
FOR $m IN $created {
    CREATE $m.id SET organization = $organization, owner = $owner_key, account = $account, email_address = $address,
        name = $m.name, parent = $m.parent, special_use = $m.special_use,
        uid_validity = $first + $m.i, next_uid = 1, modseq = 1, first_recent = 1, messages = 0, unseen = 0, size = 0
        RETURN NONE
};
INSERT IGNORE INTO subscription $subscribed RETURN NONE;
RETURN true"""

_SUBSCRIBE = """
LET $there = (SELECT VALUE id FROM ONLY $owner WHERE organization = $organization);
IF $there IS NONE { THROW 'inbox gone account' };
IF $subscribed { INSERT IGNORE INTO subscription $row RETURN NONE } ELSE { DELETE $id RETURN NONE };
RETURN array::len((SELECT VALUE id FROM $all)) <= $most"""

_DELETE = """
LET $tree = (UPDATE $owner SET tree += 1 WHERE tree = $seen RETURN VALUE tree);
IF array::len($tree) = 0 { THROW 'inbox stale' };
LET $gone = (UPDATE $id SET modseq += 1 WHERE messages = 0 RETURN VALUE id);
IF array::len($gone) = 0 { THROW 'inbox stale' };
UPDATE $children SET parent = NONE RETURN NONE;
DELETE $expunged RETURN NONE;
DELETE $chunks RETURN NONE;
DELETE $id RETURN NONE;
RETURN true"""


_RENUMBER = """
LET $last = (SELECT VALUE value FROM ONLY $validity) ?? 0;
LET $first = math::max([$last + 1, $now]);
UPSERT $validity SET value = $first + array::len($boxes) - 1 RETURN NONE;
FOR $m IN $boxes { UPDATE $m.id SET uid_validity = $first + $m.i RETURN NONE };
RETURN true"""


@dataclass(slots=True)
class Tree:
    """All mailboxes of one owner, as read at ``seen``, and the planned changes."""

    owner: RecordId
    organization: RecordId
    address: RecordId | None
    seen: int
    by_name: dict[str, Mailbox]
    created: list[dict[str, Any]]
    renamed: list[dict[str, Any]]
    subscribed: list[dict[str, Any]] = field(default_factory=list)

    def create(self, new_id: str, name: str, special_use: str | None = None, *, subscribed: bool = False) -> None:
        """Plans a mailbox whose parents exist.

        Raises:
            LimitReached: the owner already has :data:`inbox.base.limits.MAILBOXES`.
        """
        if len(self.by_name) >= limits.MAILBOXES:
            raise LimitReached(f"An account may have {limits.MAILBOXES} mailboxes")
        if subscribed:
            self.subscribed.append({"id": (self.owner.key, name)})
        parent = self.by_name.get(name.rpartition("/")[0])
        row = {
            "id": rows.mailbox_id(new_id),
            "name": name,
            "special_use": special_use,
            "parent": rows.mailbox_id(parent.id) if parent else None,
            "i": len(self.created),
        }
        self.created.append(row)
        account = self.owner.key if self.owner.table == "account" else None
        self.by_name[name] = Mailbox(new_id, self.organization.key, account, name, 0)

    def create_parents(self, ids: Ids, name: str) -> None:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            path = "/".join(parts[:depth])
            if path not in self.by_name:
                self.create(ids.new(), path)

    def rename(self, mailbox: Mailbox, name: str) -> None:
        """Plans a new name for a mailbox and its descendants."""
        below = [box for box in self.by_name.values() if box.name.startswith(f"{mailbox.name}/")]
        moved = [(mailbox, name), *((box, name + box.name[len(mailbox.name) :]) for box in below)]
        for box, _ in moved:
            del self.by_name[box.name]
        for _, path in moved:
            if path in self.by_name:
                raise AlreadyExists(f"mailbox {path} exists")
        self.by_name |= {path: box for box, path in moved}
        for box, path in moved:
            parent = self.by_name.get(path.rpartition("/")[0])
            self.renamed.append({
                "id": rows.mailbox_id(box.id),
                "name": path,
                "parent": rows.mailbox_id(parent.id) if parent and parent is not box else None,
            })  # fmt: skip

    def values(self, now: float) -> dict[str, Any]:
        """Returns the values to bind for CHANGE_TREE."""
        return {
            "owner": self.owner,
            "owner_key": self.owner.key,
            "organization": self.organization,
            "account": self.owner if self.owner.table == "account" else None,
            "address": self.address,
            "seen": self.seen,
            "validity": _UID_VALIDITY,
            "now": min(int(now), LATEST_UID_VALIDITY),
            "count": len(self.created),
            "created": self.created,
            "renamed": self.renamed,
            "subscribed": self.subscribed,
        }


def _subscriptions(account: str) -> Keys:
    return Keys("subscription", [account, ""], [account, LAST])


class SurrealMailboxes:
    """``Mailboxes`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, entries: Entries, clock: Clock, ids: Ids, bus: Bus) -> None:
        self._gateway = gateway
        self._entries = entries
        self._clock = clock
        self._ids = ids
        self._bus = bus

    async def all(self, tenant: str, account: str | None) -> list[Mailbox]:
        (found,) = await self._gateway.query(
            "SELECT * FROM mailbox WHERE owner = $owner AND organization = $organization",
            owner=account or tenant,
            organization=rows.organization_id(tenant),
        )
        return sorted(map(rows.row_to_mailbox, found), key=lambda box: box.name)

    async def by_name(self, tenant: str, account: str | None, name: str) -> Mailbox | None:
        (found,) = await self._gateway.query(
            "SELECT * FROM mailbox WHERE owner = $owner AND organization = $organization AND name = $name",
            owner=account or tenant,
            organization=rows.organization_id(tenant),
            name=clean(name),
        )
        return rows.row_to_mailbox(found[0]) if found else None

    async def get(self, tenant: str, mailbox: str) -> Mailbox | None:
        (found,) = await self._gateway.query(
            "SELECT * FROM ONLY $id WHERE organization = $organization",
            id=rows.mailbox_id(mailbox),
            organization=rows.organization_id(tenant),
        )
        return rows.row_to_mailbox(found) if found else None

    async def create(
        self,
        tenant: str,
        account: str | None,
        name: str,
        special_use: str | None = None,
        *,
        subscribed: bool = False,
    ) -> Mailbox:
        name = clean(name)
        new_id = self._ids.new()

        async def work() -> None:
            tree = await self._tree(tenant, account)
            if name in tree.by_name:
                raise AlreadyExists(f"mailbox {name} exists")
            tree.create_parents(self._ids, name)
            tree.create(new_id, name, special_use, subscribed=subscribed)
            await self._gateway.transaction(CHANGE_TREE, **tree.values(self._clock.now()))

        await self._gateway.retried(work)
        return await self._require(tenant, new_id)

    async def delete(self, tenant: str, mailbox: str) -> None:
        async def work() -> None:
            box = await self._require(tenant, mailbox)
            # In steps, each in its own transaction: a mailbox may hold more entries than one transaction should remove.
            await self._entries.clear(tenant, mailbox)
            tree = await self._tree(tenant, box.account)
            children = [rows.mailbox_id(child.id) for child in tree.by_name.values() if child.parent == mailbox]
            await self._gateway.transaction(
                _DELETE,
                owner=tree.owner,
                seen=tree.seen,
                id=rows.mailbox_id(mailbox),
                children=children,
                expunged=Keys("expunged", [mailbox], [mailbox, LAST]),
                chunks=Keys("mailbox_chunk", [mailbox], [mailbox, LAST]),
            )

        await self._gateway.retried(work)
        self._bus.publish((mailbox,))

    async def rename(self, tenant: str, mailbox: str, name: str) -> None:
        name = clean(name)
        new_id = self._ids.new()
        moved_to: list[str] = []
        changed: list[str] = []

        async def work() -> None:
            box = await self._require(tenant, mailbox)
            tree = await self._tree(tenant, box.account)
            if name in tree.by_name:
                raise AlreadyExists(f"mailbox {name} exists")
            tree.create_parents(self._ids, name)
            if box.name == "INBOX":
                tree.create(new_id, name)
                moved_to.append(new_id)
            else:
                tree.rename(box, name)
            await self._gateway.transaction(CHANGE_TREE, **tree.values(self._clock.now()))
            changed[:] = [mailbox, *(row["id"].key for row in tree.renamed)]

        await self._gateway.retried(work)
        if moved_to:
            everything = [entry.uid for entry in await self._entries.all(tenant, mailbox)]
            async for _ in paced(everything, lambda some: self._entries.copy(tenant, mailbox, some, new_id, move=True)):
                self._bus.publish((mailbox, new_id))
        self._bus.publish((*changed, *moved_to))

    async def renumber(self) -> int:
        now = min(int(self._clock.now()), LATEST_UID_VALIDITY)
        (mailboxes,) = await self._gateway.query("SELECT VALUE id FROM mailbox")

        async def step(some: Sequence[RecordId]) -> None:
            boxes = [{"id": one, "i": i} for i, one in enumerate(some)]
            await self._gateway.write(_RENUMBER, validity=_UID_VALIDITY, now=now, boxes=boxes)

        async for _ in paced(mailboxes, step):
            pass
        return len(mailboxes)

    async def subscribe(self, tenant: str, account: str, name: str, subscribed: bool) -> None:
        fits = await self._gateway.write(
            _SUBSCRIBE,
            owner=RecordId("account", account),
            organization=rows.organization_id(tenant),
            id=RecordId("subscription", (account, clean(name))),
            row={"id": (account, clean(name))},
            all=_subscriptions(account),
            subscribed=subscribed,
            most=SUBSCRIPTIONS,
        )
        if not fits:
            await self.subscribe(tenant, account, name, subscribed=False)
            raise LimitReached(f"An account may subscribe to {SUBSCRIPTIONS} mailboxes")

    async def subscriptions(self, tenant: str, account: str) -> set[str]:
        owner, found = await self._gateway.query(
            "SELECT VALUE id FROM ONLY $owner WHERE organization = $organization; SELECT VALUE id FROM $all",
            owner=RecordId("account", account),
            organization=rows.organization_id(tenant),
            all=_subscriptions(account),
        )
        return {one.key[1] for one in found} if owner else set()

    async def status(self, tenant: str, mailbox: str) -> MailboxStatus:
        (found,) = await self._gateway.query(
            "SELECT * FROM ONLY $id WHERE organization = $organization",
            id=rows.mailbox_id(mailbox),
            organization=rows.organization_id(tenant),
        )
        if not found:
            raise NotFound(f"no mailbox {mailbox}")
        recent = 0
        if found["first_recent"] < found["next_uid"]:
            since = Keys("has_email_delivery", [mailbox, found["first_recent"]], [mailbox, found["next_uid"]])
            (counted,) = await self._gateway.query("SELECT count() FROM $since GROUP ALL", since=since)
            recent = counted[0]["count"] if counted else 0
        return MailboxStatus(
            mailbox,
            found["messages"],
            found["unseen"],
            recent,
            found["next_uid"],
            found["uid_validity"],
            found["modseq"],
            found["size"],
        )

    async def _require(self, tenant: str, mailbox: str) -> Mailbox:
        found = await self.get(tenant, mailbox)
        if found is None:
            raise NotFound(f"no mailbox {mailbox}")
        return found

    async def _tree(self, tenant: str, account: str | None) -> Tree:
        organization = rows.organization_id(tenant)
        owner = RecordId("account", account) if account else organization
        _, found, boxes, _ = await self._gateway.query(
            "BEGIN; SELECT id, organization, email_address, tree FROM ONLY $owner;"
            "SELECT * FROM mailbox WHERE owner = $key; COMMIT;",
            owner=owner,
            key=owner.key,
        )
        if found is None or (account and found["organization"] != organization):
            raise NotFound(f"no owner {owner.key}")
        by_name = {row["name"]: rows.row_to_mailbox(row) for row in boxes}
        return Tree(owner, organization, found.get("email_address"), found["tree"], by_name, [], [])
