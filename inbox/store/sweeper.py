"""Removes blobs that no mail refers to, and what writers that died left behind.

Accepting a mail writes its blob first and the database second. A crash between the two, a refused transaction, and a
mail that was recognised or removed leave a blob that nobody will ask for. One that is young may belong to a
transaction that is still to come: only what is older than the grace time goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.store.ports import Blobs

#: Seconds that a blob may wait for its mail. Far longer than any transaction, and than a transfer of the largest mail.
GRACE_SECONDS: Final = 24 * 3600.0
#: Seconds after which an unfinished file has no writer any more.
UNFINISHED_SECONDS: Final = 3600.0
#: Keys about which the database is asked at once.
PAGE: Final = 500


class BlobUse(Protocol):
    """The part of ``Messages`` that the sweeper needs."""

    async def blob_in_use(self, blob_paths: Sequence[str]) -> set[str]: ...


@dataclass(frozen=True, slots=True)
class Swept:
    """What one run did: blobs looked at, orphans and unfinished files removed, orphans that could not be removed."""

    seen: int = 0
    removed: int = 0
    unfinished: int = 0
    failed: int = 0


class Sweeper:
    """Looks through all blobs under ``prefix``.

    Args:
        grace: seconds; blobs written later than that long ago are left alone.
    """

    def __init__(
        self, blobs: Blobs, messages: BlobUse, clock: Clock, *, prefix: str = "msg/", grace: float = GRACE_SECONDS
    ) -> None:
        self._blobs = blobs
        self._messages = messages
        self._clock = clock
        self._prefix = prefix
        self._grace = grace
        self._log = structlog.get_logger("inbox.store")

    async def sweep(self) -> Swept:
        """One run.

        Raises:
            StoreUnavailable: the blobs cannot be listed, or the database cannot say what is in use. What was not
                looked at stays.
        """
        now = self._clock.now()
        unfinished = await self._blobs.remove_unfinished(now - UNFINISHED_SECONDS)
        seen = removed = failed = 0
        page: list[str] = []
        async for key, written in self._blobs.keys(self._prefix):
            seen += 1
            if written < now - self._grace:
                page.append(key)
            if len(page) >= PAGE:
                done = await self._remove_orphans(page)
                removed, failed, page = removed + done[0], failed + done[1], []
        done = await self._remove_orphans(page)
        return Swept(seen, removed + done[0], unfinished, failed + done[1])

    async def _remove_orphans(self, keys: list[str]) -> tuple[int, int]:
        """Removes those that are not in use; returns how many went, and how many should have."""
        if not keys:
            return 0, 0
        in_use = await self._messages.blob_in_use(keys)
        removed = failed = 0
        for key in keys:
            if key in in_use:
                continue
            try:
                await self._blobs.delete(key)
                removed += 1
            except StoreError as error:
                self._log.warning("orphan_not_removed", key=key, error=str(error))
                failed += 1
        return removed, failed
