"""The port of the blob store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from inbox.mail.content import Content


class Blobs(Protocol):
    """Immutable bytes under a key such as ``msg/{org}/{mailbox}/{message_id}.eml``."""

    async def put(self, key: str, content: Content) -> None:
        """Durable when it returns (fsynced, or acknowledged by S3). Writing a key twice replaces it."""
        ...

    async def create(self, key: str, content: Content) -> bool:
        """Writes a blob only if there is none under ``key``; returns whether it did. Of several processes that
        try at once one succeeds. A few S3 servers cannot do that: callers read what is there afterwards."""
        ...

    async def move(self, key: str, target: str) -> None:
        """Gives a blob another key and the current time; it is never lost on the way. Raises NotFound."""
        ...

    async def get(self, key: str) -> Content:
        """Raises NotFound."""
        ...

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """A part; shorter at the end. Raises NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Removing what is not there is no error."""
        ...

    def keys(self, prefix: str = "") -> AsyncIterator[tuple[str, float]]:
        """Keys and the time at which each was written, for the sweeper."""
        ...

    async def remove_unfinished(self, before: float) -> int:
        """Removes what writers that died left behind (temporary files, begun uploads) if it was last written to
        before this time; returns how many. Blobs are not touched."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...
