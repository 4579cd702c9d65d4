"""Blobs in memory, for tests that are not about blobs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from inbox.base.errors import NotFound
from inbox.mail.content import Content, MemoryContent


class MemoryBlobs:
    """``Blobs`` of ``inbox.store.ports``. ``reads`` counts what was read, by key."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.reads: list[tuple[str, int, int]] = []

    async def put(self, key: str, content: Content) -> None:
        self.data[key] = b"".join(content.chunks())

    async def create(self, key: str, content: Content) -> bool:
        if key in self.data:
            return False
        await self.put(key, content)
        return True

    async def move(self, key: str, target: str) -> None:
        self.data[target] = self._of(key)
        del self.data[key]

    async def get(self, key: str) -> Content:
        return MemoryContent(self._of(key))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        self.reads.append((key, offset, length))
        return self._of(key)[offset : offset + length]

    async def delete(self, key: str) -> None:
        self.data.pop(key, None)

    async def keys(self, prefix: str = "") -> AsyncIterator[tuple[str, float]]:
        for key in sorted(self.data):
            if key.startswith(prefix):
                yield key, 0.0

    async def remove_unfinished(self, before: float) -> int:
        del before
        return 0

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _of(self, key: str) -> bytes:
        if key not in self.data:
            raise NotFound(f"no blob {key}")
        return self.data[key]
