"""COPY of many messages in SurrealDB in steps, and still all or nothing (RFC 9051 §6.4.7).

The copies of each step are visible in the mailbox immediately, because uids must be assigned in ascending order. Each
step also records the uids that it created, and the last one removes these notes. If it never runs, the recorded uids
are removed: by the command itself if it fails, and by :meth:`Copying.undo_abandoned` if its process ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from inbox.base.errors import StoreError
from inbox.store.steps import AHEAD_SECONDS, MOST_ROWS
from inbox.store.surreal.entries import Copied, Entries
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.steps import paced
from inbox.store.surreal.values import LAST, Keys, RecordId

#: Checks that the copy was not treated as abandoned, and records the uids that this step has created.
NOTE: Final = """
IF array::len((SELECT VALUE id FROM $notes)) != $noted { THROW 'inbox abandoned copy' };
LET $next = (SELECT VALUE next_uid FROM ONLY $target);
CREATE $note SET mailbox = $into, first = $next - $made, last = $next - 1, at = $at RETURN NONE;"""

_END: Final = """
IF array::len((SELECT VALUE id FROM $notes)) != $noted { THROW 'inbox abandoned copy' };
DELETE $notes RETURN NONE;
RETURN true"""

#: Renames the notes before anything is removed, if they have not changed since they were read: from here on the copy
#: can neither continue nor succeed.
_ABANDON: Final = """
IF (SELECT VALUE id FROM $notes) != $moved.old { THROW 'inbox stale' };
FOR $one IN $moved {
    LET $old = $one.old;
    LET $new = $one.new;
    DELETE $old RETURN NONE;
    UPSERT $new CONTENT $one.row RETURN NONE
};
RETURN true"""
_ABANDONED: Final = "/abandoned"


class Copying:
    """Runs and undoes copies of many entries.

    Args:
        now: returns the current time, in seconds since the epoch.
    """

    def __init__(self, gateway: Gateway, entries: Entries, now: Callable[[], float]) -> None:
        self._gateway = gateway
        self._entries = entries
        self._now = now
        self._log = structlog.get_logger("inbox.store")

    async def copy(self, tenant: str, source: str, uids: Sequence[int], target: str, name: str) -> list[Copied]:
        """Copies entries with their flags, all or nothing.

        Args:
            uids: ascending and distinct.
            name: the unique name of this copy.

        Raises:
            NotFound: a mailbox does not exist.
            StoreUnavailable: the copy was treated as abandoned.
            StorageFull, StoreError: the copy is undone, at the latest after a minute.
        """
        if len(uids) <= MOST_ROWS:
            return await self._entries.copy(tenant, source, uids, target)
        copied: list[Copied] = []
        noted = 0

        async def step(some: Sequence[int]) -> list[Copied]:
            note = {
                "note": RecordId("copying", (name, noted)),
                "notes": _notes(name),
                "noted": noted,
                "into": target,
                "at": self._now(),
            }
            return await self._entries.copy(tenant, source, some, target, also=NOTE, values=note)

        try:
            async for done in paced(uids, step):
                copied += done
                noted += bool(done)
            await self._gateway.write(_END, notes=_notes(name), noted=noted)
        except BaseException:
            # A cancelled command must not leave half a copy behind either.
            await asyncio.shield(self._try_to_undo(name))
            raise
        return copied

    async def undo_abandoned(self, before: float) -> int:
        """Undoes copies whose last step was before that time, or far in the future; returns how many there were."""
        (found,) = await self._gateway.query("SELECT id, at FROM copying")
        newest: dict[str, float] = {}
        for row in found:
            name = row["id"].key[0]
            newest[name] = max(row["at"], newest.get(name, 0.0))
        names = [name for name, at in newest.items() if at < before or at > before + AHEAD_SECONDS]
        for name in names:
            await self._undo(name)
        return len(names)

    async def _try_to_undo(self, name: str) -> None:
        try:
            await self._undo(name)
        except StoreError as error:
            self._log.warning("copy_not_undone_yet", copy=name, error=str(error))

    async def _undo(self, name: str) -> None:
        if not name.endswith(_ABANDONED):
            await self._gateway.retried(lambda: self._abandon(name))
            name += _ABANDONED
        for row in await self._read(name):
            await self._take_back(row)

    async def _abandon(self, name: str) -> None:
        found = await self._read(name)
        moved = [
            {
                "old": row["id"],
                "new": RecordId("copying", (name + _ABANDONED, row["id"].key[1])),
                "row": {field: row[field] for field in ("mailbox", "first", "last", "at")},
            }
            for row in found
        ]
        if moved:
            await self._gateway.transaction(_ABANDON, notes=_notes(name), moved=moved)

    async def _read(self, name: str) -> list[dict[str, Any]]:
        (found,) = await self._gateway.query("SELECT * FROM $notes", notes=_notes(name))
        return list(found)

    async def _take_back(self, row: dict[str, Any]) -> None:
        (owner,) = await self._gateway.query(
            "SELECT VALUE organization FROM ONLY $mailbox", mailbox=RecordId("mailbox", row["mailbox"])
        )
        if owner is not None:  # otherwise the mailbox was deleted with all its entries
            await self._entries.remove(owner.key, row["mailbox"], range(row["first"], row["last"] + 1))
        await self._gateway.write("DELETE $note RETURN NONE; RETURN true", note=row["id"])


def _notes(name: str) -> Keys:
    return Keys("copying", [name], [name, LAST])
