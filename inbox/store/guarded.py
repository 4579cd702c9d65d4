"""Guards around a running server's stores: they refuse mail as soon as database and blob store do not match."""

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
#: Each key of an orphan that was read is logged once, up to this many keys.
_LOGGED: Final = 1000


class Pairing:
    """The current state of the pair. It is created after the two were found to match.

    ``identity`` belongs to the pair; ``why`` is empty, or the reason why the pair is not confirmed.
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
            # A store that is down refuses mail by itself; whether it is the right one is checked when it is back.
            self.why = str(error)
            raise
        self._wrong, self.why = None, ""
        if before:
            self._log.info("stores_match_again", installation=self.identity.installation)

    def check(self) -> None:
        """Raises WrongStore if the last :meth:`look` found that the two do not match."""
        if self._wrong is not None:
            raise WrongStore(str(self._wrong))


class GuardedBlobs:
    """``Blobs`` of ``inbox.store.ports`` that writes nothing into a wrong store.

    If a message's blob was moved aside as an orphan it is read from there. That can only happen after another database
    was in use; the sweeper moves the blob back.
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
        # The sweeper may be moving it back at this moment, so the original key is tried again at the end.
        for one in (ORPHANS + key, key):
            with contextlib.suppress(NotFound):
                found = await look(one)
                if one != key and key not in self._logged and len(self._logged) < _LOGGED:
                    self._logged.add(key)
                    self._log.warning("orphan_read", key=key)
                return found
        raise error


class GuardedIngest:
    """``Ingest`` of ``inbox.store.ports`` that refuses mail while the stores do not match."""

    def __init__(self, ingest: Ingest, pairing: Pairing) -> None:
        self._ingest = ingest
        self._pairing = pairing

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        self._pairing.check()
        return await self._ingest.accept(accepted)
