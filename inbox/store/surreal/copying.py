"""COPY of many messages in SurrealDB: in steps, and still all or nothing (RFC 9051 §6.4.7).

The copies of each step are in the mailbox at once, because a uid that is given out later than another one must not be
lower. Each step also notes which uids it made, and the last one removes the notes. If it never comes, the noted uids
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

#: Checks that nobody took the copy for abandoned, and notes the uids that this step has made.
NOTE: Final = """
IF array::len((SELECT VALUE id FROM $notes)) != $noted { THROW 'inbox abandoned copy' };
LET $next = (SELECT VALUE next_uid FROM ONLY $target);
CREATE $note SET mailbox = $into, first = $next - $made, last = $next - 1, at = $at RETURN NONE;"""

_END: Final = """
IF array::len((SELECT VALUE id FROM $notes)) != $noted { THROW 'inbox abandoned copy' };
DELETE $notes RETURN NONE;
RETURN true"""

#: Gives the notes another name before anything is removed, if they are as they were read: the copy can neither go on
#: nor end well from here on.
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
    """Copies entries.

    Args:
        now: the time, in seconds since the epoch.
    """

    def __init__(self, gateway: Gateway, entries: Entries, now: Callable[[], float]) -> None:
        self._gateway = gateway
        self._entries = entries
        self._now = now
        self._log = structlog.get_logger("inbox.store")

    async def copy(self, tenant: str, source: str, uids: Sequence[int], target: str, name: str) -> list[Copied]:
        """Copies entries with their flags, all or nothing.

        Args:
            uids: ascending, each once.
            name: of this copy; no other one has it.

        Raises:
            NotFound: a mailbox is gone.
            StoreUnavailable: the copy was taken for abandoned.
            StorageFull, StoreError: nothing is left of it, at the latest after a minute.
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
            # A client that gave up must not leave half of it either.
            await asyncio.shield(self._try_to_undo(name))
            raise
        return copied

    async def undo_abandoned(self, before: float) -> int:
        """Removes what copies left whose last step was before that time, or far in the future; returns how many copies
        there were."""
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
        if owner is not None:  # else the mailbox was deleted, with all that was in it
            await self._entries.remove(owner.key, row["mailbox"], range(row["first"], row["last"] + 1))
        await self._gateway.write("DELETE $note RETURN NONE; RETURN true", note=row["id"])


def _notes(name: str) -> Keys:
    return Keys("copying", [name], [name, LAST])
