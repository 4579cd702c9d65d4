"""The identity that a database and its blob store share, and what the database records about its blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """The two ids that pair a database with a blob store: both store them.

    Attributes:
        installation: generated when the database is started for the first time.
        store: generated with the blob store's own copy of the identity, so two folders that were set up for one
            database differ. Empty in a database that is not paired with a blob store yet.
    """

    installation: str
    store: str = ""


class InstallationRecords(Protocol):
    """The database's copy of the identity, and the blobs that it has released.

    A blob is released in the transaction that removes its message: both backends do it in the database (a trigger, an
    event), so no command can forget it. The new blob of a message that existed already is also released. Every method
    may raise ``StoreUnavailable``.
    """

    async def identity(self) -> Identity | None:
        """Returns the identity, or None if this database was never started with a blob store."""
        ...

    async def claim(self, installation: str) -> Identity:
        """Writes the installation's id unless one is stored; returns the stored identity."""
        ...

    async def pair(self, store: str) -> Identity:
        """Writes the blob store's id unless one is stored; returns the stored identity. Raises NotFound if there is no
        identity at all."""
        ...

    async def replace(self, installation: str) -> None:
        """Overwrites the identity. The blob store is unknown afterwards."""
        ...

    async def secret(self, name: str) -> bytes:
        """Returns the key of 32 octets that the installation uses for one purpose; the first call generates it. All
        processes and instances get the same key."""
        ...

    async def sample(self, count: int) -> list[str]:
        """Returns at most ``count`` blob paths, half of them of the oldest and half of the newest messages."""
        ...

    async def released(self, blob_paths: Sequence[str]) -> set[str]:
        """Returns those blobs that were released."""
        ...

    async def forget_released(self, blob_paths: Sequence[str]) -> None:
        """Removes the records of these blobs, after the sweeper has dealt with them."""
        ...

    async def prune_released(self, before: float) -> int:
        """Removes records older than ``before`` (seconds since the epoch); returns how many."""
        ...
