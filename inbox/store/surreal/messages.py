"""Stored messages and their entries in SurrealDB: the methods of the port."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from inbox.base.clock import Clock
from inbox.base.errors import NotFound
from inbox.base.ids import Ids
from inbox.mail.flags import Flag, changed_flags, changed_keywords
from inbox.store.bus import Bus
from inbox.store.listing import Listing, packed
from inbox.store.ports.messages import Column, Entry, MailboxChanges, Placed, StoredMessage, StoreMode, StoreStep
from inbox.store.surreal import rows
from inbox.store.surreal.copying import Copying
from inbox.store.surreal.entries import Copied, Entries
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.steps import paced
from inbox.store.surreal.values import RecordId

#: Messages in one page of ``fetch``: a few hundred KB with their texts.
PAGE: Final = 200
#: Blob paths in one query.
PATHS: Final = 1000

_ENTRY: Final = "uid, modseq, flags, keywords, received_at, prepended, recipient, reason, in.* AS email"


class SurrealMessages:
    """``Messages`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, entries: Entries, copying: Copying, clock: Clock, ids: Ids, bus: Bus) -> None:
        self._gateway = gateway
        self._entries = entries
        self._copying = copying
        self._ids = ids
        self._clock = clock
        self._bus = bus

    async def entries(self, tenant: str, mailbox: str) -> list[Entry]:
        return await self._entries.all(tenant, mailbox)

    async def listing(self, tenant: str, mailbox: str) -> Listing:
        snapshot = await self._entries.snapshot(tenant, mailbox)
        listed = snapshot.entries.values()
        return packed(
            snapshot.modseq,
            array("I", snapshot.entries),
            bytes([entry.flags for entry in listed]),
            [(entry.uid, entry.keywords) for entry in listed if entry.keywords],
        )

    async def changes(self, tenant: str, mailbox: str, since: int) -> MailboxChanges:
        return await self._entries.changes(tenant, mailbox, since)

    async def claim_recent(self, tenant: str, mailbox: str) -> int:
        before = await self._gateway.write(
            "RETURN (UPDATE $id SET first_recent = next_uid WHERE organization = $organization RETURN BEFORE)",
            id=rows.mailbox_id(mailbox),
            organization=rows.organization_id(tenant),
        )
        if not before:
            raise NotFound(f"no mailbox {mailbox}")
        return int(before[0]["first_recent"])

    async def fetch(
        self, tenant: str, mailbox: str, uids: Sequence[int], *, texts: bool = True
    ) -> AsyncIterator[StoredMessage]:
        sql = f"SELECT {_ENTRY}{', in.text.* AS text' if texts else ''} FROM $ids WHERE uid"
        ordered = sorted(set(uids))
        await self._entries.modseq(tenant, mailbox)
        for start in range(0, len(ordered), PAGE):
            ids = [rows.entry_id(mailbox, uid) for uid in ordered[start : start + PAGE]]
            (found,) = await self._gateway.query(sql, ids=ids)
            for row in found:
                yield rows.row_to_message(row)

    async def columns(
        self, tenant: str, mailbox: str, uids: Sequence[int], names: Sequence[Column]
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        sql = f"SELECT VALUE {rows.column_list(names)} FROM $ids WHERE uid"
        ordered = sorted(set(uids))
        await self._entries.modseq(tenant, mailbox)
        for start in range(0, len(ordered), PAGE):
            ids = [rows.entry_id(mailbox, uid) for uid in ordered[start : start + PAGE]]
            (found,) = await self._gateway.query(sql, ids=ids)
            yield [tuple(row) for row in found]

    async def store(
        self,
        tenant: str,
        mailbox: str,
        uids: Sequence[int],
        mode: StoreMode,
        flags: int,
        keywords: tuple[str, ...] = (),
        *,
        unchanged_since: int | None = None,
    ) -> tuple[list[Entry], list[int]]:
        entries: list[Entry] = []
        modified: list[int] = []
        async for step in self.storing(tenant, mailbox, uids, mode, flags, keywords, unchanged_since=unchanged_since):
            entries += step.entries
            modified += step.left_alone
        return entries, modified

    async def storing(
        self,
        tenant: str,
        mailbox: str,
        uids: Sequence[int],
        mode: StoreMode,
        flags: int,
        keywords: tuple[str, ...] = (),
        *,
        unchanged_since: int | None = None,
    ) -> AsyncIterator[StoreStep]:
        def change(entry: Entry) -> tuple[int, tuple[str, ...]]:
            return changed_flags(entry.flags, mode, flags), changed_keywords(entry.keywords, mode, keywords)

        await self._entries.modseq(tenant, mailbox)
        async for stored in paced(
            sorted(set(uids)), lambda some: self._entries.store(tenant, mailbox, some, change, unchanged_since)
        ):
            self._bus.publish((mailbox,))
            yield stored

    async def expunge(self, tenant: str, mailbox: str, uids: Sequence[int] | None = None) -> list[int]:
        wanted: Sequence[int]
        if uids is None:
            wanted = [entry.uid for entry in await self._entries.all(tenant, mailbox) if entry.flags & Flag.DELETED]
        else:
            wanted = sorted(set(uids))
        return await self._remove(tenant, mailbox, wanted, only=Flag.DELETED)

    async def copy(
        self, tenant: str, source: str, uids: Sequence[int], target: str, *, move: bool = False
    ) -> list[tuple[int, int]]:
        ordered = sorted(set(uids))
        await self._entries.modseq(tenant, source)
        await self._entries.modseq(tenant, target)
        copied: list[Copied] = []
        try:
            if move:
                async for moved in paced(
                    ordered, lambda some: self._entries.copy(tenant, source, some, target, move=True)
                ):
                    self._bus.publish((source, target))
                    copied += moved
            else:
                copied = await self._copying.copy(tenant, source, ordered, target, self._ids.new())
        finally:
            self._bus.publish((source, target))
        return [(old, new) for old, new, _, _ in copied]

    async def release(self, tenant: str, quarantine: str, uid: int, target: str) -> Placed:
        altered = {"received_at": self._clock.now(), "recipient": None, "reason": None, "status": "open"}
        copied = await self._entries.copy(tenant, quarantine, [uid], target, move=True, altered=altered)
        if not copied:
            raise NotFound(f"no quarantined message {uid}")
        self._bus.publish((quarantine, target))
        _, new, email, modseq = copied[0]
        return Placed(target, email, new, modseq)

    async def remove(self, tenant: str, mailbox: str, uids: Sequence[int]) -> list[int]:
        return await self._remove(tenant, mailbox, sorted(set(uids)))

    async def _remove(self, tenant: str, mailbox: str, uids: Sequence[int], *, only: int = 0) -> list[int]:
        await self._entries.modseq(tenant, mailbox)
        gone: list[int] = []
        async for some in paced(uids, lambda some: self._entries.remove(tenant, mailbox, some, only=only)):
            self._bus.publish((mailbox,))
            gone += some
        return gone

    async def blob_in_use(self, blob_paths: Sequence[str]) -> set[str]:
        # Every key has the message's id as its fourth component (msg/{org}/{mailbox}/{id}.eml, att/…/{id}/…), so a
        # lookup by record id suffices, without an index on paths.
        by_id: dict[str, list[str]] = {}
        for path in blob_paths:
            parts = path.split("/")
            if len(parts) > 3:
                by_id.setdefault(parts[3].partition(".")[0], []).append(path)
        used: set[str] = set()
        names = list(by_id)
        for start in range(0, len(names), PATHS):
            (found,) = await self._gateway.query(
                "SELECT id, blob_path FROM $ids WHERE blob_path",
                ids=[RecordId("email", name) for name in names[start : start + PATHS]],
            )
            for row in found:
                paths = by_id[row["id"].key]
                used.update(path for path in paths if path == row["blob_path"] or not path.startswith("msg/"))
        return used
