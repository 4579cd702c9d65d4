"""The bytes of a message: immutable, in memory while they are few and in a file when they are many."""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from inbox.base.limits import SPOOL_OCTETS

CHUNK: int = 256 * 1024
#: A content that is hashed without letting other threads run: 16 KB take about 40 µs.
SMALL: int = 16 * 1024
Buffer = bytes | mmap.mmap


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
        """Something that ``re`` and slices work on, without a copy of a large message in memory."""
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
    """Bytes in a file that nobody writes to any more. The file stays open until the object is gone.

    Args:
        path: the file; it may be unlinked once this object is made.
        unlink: remove the name at once, so that nothing is left behind after a crash.

    Raises:
        OSError: the file cannot be opened.
    """

    __slots__ = ("_fd", "_map", "_size", "path")

    def __init__(self, path: Path, *, unlink: bool = False) -> None:
        self.path = path
        self._map: mmap.mmap | None = None
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size
        if unlink:
            path.unlink()

    @classmethod
    def adopt(cls, fd: int) -> FileContent:
        """A content of the open file ``fd``, which may have no name any more; the descriptor is ours from now on.

        ``path`` then names the descriptor (Linux) and can be opened while the object lives.
        """
        content = cls.__new__(cls)
        content.path = Path(f"/proc/self/fd/{fd}")
        content._map = None
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
        if self._size == 0:
            return b""
        if self._map is None:
            self._map = mmap.mmap(self._fd, self._size, access=mmap.ACCESS_READ)
        return self._map


class PrefixedContent:
    """Bytes in front of a content: how headers are added without copying or touching the message."""

    __slots__ = ("_prefix", "_rest", "_whole")

    def __init__(self, prefix: bytes, rest: Content) -> None:
        self._prefix = prefix
        self._rest = rest
        self._whole: Buffer | None = None

    @property
    def size(self) -> int:
        return len(self._prefix) + self._rest.size

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        first = True
        for chunk in self._rest.chunks(size):
            # The prefix is small: joined with the first piece it saves a write.
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
        if self._whole is None:
            self._whole = _gathered(self)
        return self._whole


def _gathered(content: Content) -> Buffer:
    """All bytes as one buffer; more than SPOOL_OCTETS of them go into an unnamed file and not into memory."""
    if content.size <= SPOOL_OCTETS:
        return b"".join(content.chunks())
    with tempfile.TemporaryFile() as file:
        for chunk in content.chunks():
            file.write(chunk)
        file.flush()
        return mmap.mmap(file.fileno(), content.size, access=mmap.ACCESS_READ)


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
        return _gathered(self)


def sha256(content: Content) -> str:
    """SHA-256 of all bytes, in hexadecimal."""
    digest = hashlib.sha256()
    # hashlib lets go of the interpreter's lock for 2,048 octets or more; for a small mail, to get it back from other
    # threads takes longer than the hash.
    size = 2047 if content.size <= SMALL else CHUNK
    for chunk in content.chunks(size):
        digest.update(chunk)
    return digest.hexdigest()
