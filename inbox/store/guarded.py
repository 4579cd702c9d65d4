"""Stores of a running server that refuse mail as soon as database and blob store are known not to be a pair."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import structlog

from inbox.base.errors import NotFound, StoreError
from inbox.mail.content import Content
from inbox.store.blobs.keys import ORPHANS
from inbox.store.pairing import Places, WrongStore, verify
from inbox.store.ports import Accepted, Blobs, Database, Ingest
from inbox.store.ports.installation import Identity
from inbox.store.ports.messages import Placed

T = TypeVar("T")
#: Keys of orphans that were read are logged once each, up to this many.
_LOGGED: Final = 1000


class Pairing:
    """The present state of the pair. It begins after the two were found to belong together.

    ``identity`` is the pair's; ``why`` is empty, or says why nobody can be sure of it.
    """

    def __init__(self, database: Database, blobs: Blobs, identity: Identity, places: Places) -> None:
        self.identity = identity
        self.places = places
        self.why = ""
        self._wrong: WrongStore | None = None
        self._database = database
        self._blobs = blobs
        self._log = structlog.get_logger("inbox.store")

    async def look(self) -> None:
        """Compares the two copies of the identity.

        Raises:
            WrongStore: they differ; :meth:`check` raises from now on until they agree again.
            StoreUnavailable, StoreError: one of the two does not answer.
        """
        before = self.why
        try:
            self.identity = await verify(self._database, self._blobs, self.places)
        except WrongStore as error:
            self._wrong, self.why = error, str(error)
            if self.why != before:
                self._log.error("stores_do_not_match", error=self.why)
            raise
        except StoreError as error:
            # What is not there refuses mail by itself; whether it is the right one shows when it is back.
            self.why = str(error)
            raise
        self._wrong, self.why = None, ""
        if before:
            self._log.info("stores_match_again", installation=self.identity.installation)

    def check(self) -> None:
        """Raises WrongStore if the last look found that the two are no pair."""
        if self._wrong is not None:
            raise WrongStore(str(self._wrong))


class GuardedBlobs:
    """``Blobs`` of ``inbox.store.ports``: writes nothing into a wrong store.

    A message whose blob was put aside as an orphan is read from there. That can only happen after another database
    was in use; the sweeper puts the blob back.
    """

    def __init__(self, blobs: Blobs, pairing: Pairing) -> None:
        self._blobs = blobs
        self._pairing = pairing
        self._logged: set[str] = set()
        self._log = structlog.get_logger("inbox.store")

    async def put(self, key: str, content: Content) -> None:
        self._pairing.check()
        await self._blobs.put(key, content)

    async def create(self, key: str, content: Content) -> bool:
        self._pairing.check()
        return await self._blobs.create(key, content)

    async def move(self, key: str, target: str) -> None:
        self._pairing.check()
        await self._blobs.move(key, target)

    async def get(self, key: str) -> Content:
        return await self._found(key, self._blobs.get)

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._found(key, lambda one: self._blobs.read(one, offset, length))

    async def delete(self, key: str) -> None:
        self._pairing.check()
        await self._blobs.delete(key)

    def keys(self, prefix: str = "") -> AsyncIterator[tuple[str, float]]:
        return self._blobs.keys(prefix)

    async def remove_unfinished(self, before: float) -> int:
        self._pairing.check()
        return await self._blobs.remove_unfinished(before)

    async def open(self) -> None:
        await self._blobs.open()

    async def close(self) -> None:
        await self._blobs.close()

    async def _found(self, key: str, look: Callable[[str], Awaitable[T]]) -> T:
        try:
            return await look(key)
        except NotFound as absent:
            error = absent
        # The sweeper may be putting it back at this moment, so the key itself is asked again at the end.
        for one in (ORPHANS + key, key):
            with contextlib.suppress(NotFound):
                found = await look(one)
                if one != key and key not in self._logged and len(self._logged) < _LOGGED:
                    self._logged.add(key)
                    self._log.warning("orphan_read", key=key)
                return found
        raise error


class GuardedIngest:
    """``Ingest`` of ``inbox.store.ports``: refuses mail while the stores are no pair."""

    def __init__(self, ingest: Ingest, pairing: Pairing) -> None:
        self._ingest = ingest
        self._pairing = pairing

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        self._pairing.check()
        return await self._ingest.accept(accepted)
