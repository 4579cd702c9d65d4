"""The identity that a database and its blob store share, and what the database records about its blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """The two ids that make a database and a blob store a pair: both hold them.

    Attributes:
        installation: made when the database is started for the first time.
        store: made with the blob store's own copy of the identity, so two folders that were set up for one database
            differ. Empty in a database that does not know its blob store yet.
    """

    installation: str
    store: str = ""


class InstallationRecords(Protocol):
    """The database's copy of the identity, and the blobs that it has released.

    A blob is released in the transaction that removes its message: both backends do it in the database (a trigger, an
    event), so no command has to remember it. So is the blob that came with a message which was known already. Every
    method may raise ``StoreUnavailable``.
    """

    async def identity(self) -> Identity | None:
        """None if this database was never started with a blob store."""
        ...

    async def claim(self, installation: str) -> Identity:
        """Writes the installation's id if there is none; returns the identity that is there now."""
        ...

    async def pair(self, store: str) -> Identity:
        """Writes the blob store's id if none is known; returns the identity that is there now. Raises NotFound if
        there is no identity at all."""
        ...

    async def replace(self, installation: str) -> None:
        """Overwrites the identity. The blob store is unknown afterwards."""
        ...

    async def sample(self, count: int) -> list[str]:
        """The blob paths of the oldest and of the newest messages: at most ``count``, half of them of each."""
        ...

    async def released(self, blob_paths: Sequence[str]) -> set[str]:
        """Returns those blobs that belonged to a removed message, or came with a known one."""
        ...

    async def forget_released(self, blob_paths: Sequence[str]) -> None:
        """Removes the records of these blobs, after the sweeper has dealt with them."""
        ...

    async def prune_released(self, before: float) -> int:
        """Removes records older than ``before`` (seconds since the epoch); returns how many."""
        ...
