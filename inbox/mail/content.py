"""The bytes of a message: immutable, in memory if small, otherwise in a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from inbox.base.limits import SPOOL_OCTETS

CHUNK: int = 256 * 1024
#: Size up to which a content is hashed without releasing the GIL: 16 KB take about 40 µs.
SMALL: int = 16 * 1024


class View:
    """The bytes of a large content for access by pieces: ``view[a:b]`` reads them, and nothing is cached.

    Mapping the file would do the same, but its pages count as memory of the process while the map exists.
    """

    __slots__ = ("_content",)

    def __init__(self, content: Content) -> None:
        self._content = content

    def __len__(self) -> int:
        return self._content.size

    def __getitem__(self, place: slice) -> bytes:
        start, stop, step = place.indices(self._content.size)
        if step != 1:
            raise ValueError("a view has no steps")
        return self._content.read(start, stop - start) if stop > start else b""

    def __bytes__(self) -> bytes:
        return self._content.read(0, self._content.size)


Buffer = bytes | View


class Content(Protocol):
    """Bytes that can be read as often as needed, by several readers at once."""

    @property
    def size(self) -> int:
        """Octets."""
        ...

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """All bytes, in pieces of ``size`` octets."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """``length`` octets from ``offset``; fewer at the end."""
        ...

    def buffer(self) -> Buffer:
        """An object to slice, without a copy of a large message in memory."""
        ...


class MemoryContent:
    """Bytes in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        data = self._data
        if len(data) <= size:
            yield data
            return
        for start in range(0, len(data), size):
            yield data[start : start + size]

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def buffer(self) -> bytes:
        return self._data


class FileContent:
    """Bytes in a file that no longer changes. The file stays open during the lifetime of the object.

    Args:
        path: the file; it may be unlinked once this object exists.
        unlink: remove the name at once, so that a crash leaves no file behind.

    Raises:
        OSError: the file cannot be opened.
    """

    __slots__ = ("_fd", "_size", "path")

    def __init__(self, path: Path, *, unlink: bool = False) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size
        if unlink:
            path.unlink()

    @classmethod
    def adopt(cls, fd: int) -> FileContent:
        """A content of the open file ``fd``, which may have no name any more; the object takes ownership of the
        descriptor.

        ``path`` then names the descriptor (Linux) and can be opened while the object lives.
        """
        content = cls.__new__(cls)
        content.path = Path(f"/proc/self/fd/{fd}")
        content._fd = fd
        content._size = os.fstat(fd).st_size
        return content

    def __del__(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            os.close(fd)

    @property
    def size(self) -> int:
        return self._size

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        for start in range(0, self._size, size):
            yield os.pread(self._fd, size, start)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def buffer(self) -> Buffer:
        return _buffer_of(self)


class PrefixedContent:
    """A content with bytes in front of it: adds headers without copying or changing the message."""

    __slots__ = ("_prefix", "_rest")

    def __init__(self, prefix: bytes, rest: Content) -> None:
        self._prefix = prefix
        self._rest = rest

    @property
    def size(self) -> int:
        return len(self._prefix) + self._rest.size

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        first = True
        for chunk in self._rest.chunks(size):
            # The prefix is small: joining it with the first piece saves a write.
            yield self._prefix + chunk if first else chunk
            first = False
        if first:
            yield self._prefix

    def read(self, offset: int, length: int) -> bytes:
        cut = len(self._prefix)
        head = self._prefix[offset : offset + length]
        wanted = length - len(head)
        return head + self._rest.read(max(0, offset - cut), wanted) if wanted > 0 else head

    def buffer(self) -> Buffer:
        return _buffer_of(self)


def _buffer_of(content: Content) -> Buffer:
    """All bytes of a small content; one larger than SPOOL_OCTETS is read on access."""
    return content.read(0, content.size) if content.size <= SPOOL_OCTETS else View(content)


class TailContent:
    """A content without its first octets: the body behind a header section that was edited."""

    __slots__ = ("_offset", "_whole")

    def __init__(self, whole: Content, offset: int) -> None:
        self._whole = whole
        self._offset = min(offset, whole.size)

    @property
    def size(self) -> int:
        return self._whole.size - self._offset

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        for start in range(self._offset, self._whole.size, size):
            yield self._whole.read(start, size)

    def read(self, offset: int, length: int) -> bytes:
        return self._whole.read(self._offset + offset, length)

    def buffer(self) -> Buffer:
        return _buffer_of(self)


def sha256(content: Content) -> str:
    """SHA-256 of all bytes, in hexadecimal."""
    digest = hashlib.sha256()
    # hashlib releases the GIL for 2,048 octets or more; for a small mail, getting it back from other threads takes
    # longer than hashing.
    size = 2047 if content.size <= SMALL else CHUNK
    for chunk in content.chunks(size):
        digest.update(chunk)
    return digest.hexdigest()
