"""Port of the blob store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from inbox.mail.content import Content


class Blobs(Protocol):
    """Immutable bytes under a key such as ``msg/{org}/{mailbox}/{message_id}.eml``."""

    async def put(self, key: str, content: Content) -> None:
        """Writes a blob. It is durable when the call returns (fsynced, or acknowledged by S3). Writing a key twice
        replaces the blob."""
        ...

    async def create(self, key: str, content: Content) -> bool:
        """Writes a blob unless ``key`` exists; returns whether it was written. If several processes try at the same
        time, one succeeds. A few S3 servers cannot guarantee that, so callers read the blob back afterwards."""
        ...

    async def move(self, key: str, target: str) -> None:
        """Moves a blob to another key and sets its time to now; it exists under at least one key at any moment. Raises
        NotFound."""
        ...

    async def get(self, key: str) -> Content:
        """Raises NotFound."""
        ...

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Returns part of a blob; shorter at its end. Raises NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Deletes a blob. Deleting a missing blob is not an error."""
        ...

    def keys(self, prefix: str = "") -> AsyncIterator[tuple[str, float]]:
        """Yields keys and the time at which each was written, for the sweeper."""
        ...

    async def remove_unfinished(self, before: float) -> int:
        """Removes what dead writers left behind (temporary files, incomplete uploads) if it was last written to before
        this time; returns how many. Blobs are not touched."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...
