"""A message while it is received: in memory while it is small, otherwise in a file without a name."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from inbox.base.errors import StorageFull, StoreError
from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import Content, FileContent, MemoryContent
from inbox.store.room import FULL, Room

#: Octets that are collected before a write to the file: few thread switches, and still little memory.
SLICE: Final = 256 * 1024

#: Runs a blocking function outside the event loop.
RunOutside = Callable[[Callable[[], None]], Awaitable[None]]


class Spool:
    """Stores the pieces of one message; keeps at most ``threshold`` + :data:`SLICE` octets in memory.

    Nothing is fsynced here: the blob store makes a message durable, before the server replies 250.

    Args:
        directory: directory of the files; it must exist.
        run_outside: runs a write in a thread: a page cache that is full of dirty pages makes a plain write wait
            for the disk, and the event loop with it.
        threshold: larger messages go to a file.
    """

    __slots__ = ("_directory", "_fd", "_memory", "_run_outside", "_threshold", "_written")

    def __init__(self, directory: Path, run_outside: RunOutside, threshold: int = SPOOL_OCTETS) -> None:
        self._directory = directory
        self._run_outside = run_outside
        self._threshold = threshold
        self._memory = bytearray()  # not a list: a million pieces of one octet would take fifty times the memory
        self._fd = -1
        self._written = 0

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    @property
    def size(self) -> int:
        """The number of octets so far."""
        return self._written + len(self._memory)

    def take(self, piece: bytes) -> bool:
        """Adds a piece in memory. True if :meth:`flush` must be called before the next one."""
        self._memory += piece
        return len(self._memory) > (self._threshold if self._fd < 0 else SLICE)

    async def flush(self) -> None:
        """Writes what is in memory to the file.

        Raises:
            StorageFull: the disk or a quota is full.
            StoreError: the file cannot be created or written.
        """
        data, self._memory = self._memory, bytearray()
        Room(self._directory).check(len(data))
        try:
            await self._run_outside(lambda: self._append(data))
        except OSError as error:
            if error.errno in FULL:
                raise StorageFull(f"spool {self._directory}: {error}") from error
            raise StoreError(f"spool {self._directory}: {error}") from error

    async def finish(self) -> Content:
        """The whole message; the spool is empty afterwards.

        Raises:
            StoreError: as :meth:`flush`.
        """
        if self._fd < 0:
            data, self._memory = self._memory, bytearray()
            return MemoryContent(bytes(data))
        if self._memory:
            await self.flush()
        fd, self._fd = self._fd, -1
        return FileContent.adopt(fd)

    def _append(self, data: bytearray) -> None:
        if self._fd < 0:
            self._fd = _nameless_file(self._directory)
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.write(self._fd, view[done : done + SLICE])
        self._written += done


def _nameless_file(directory: Path) -> int:
    """A new file that disappears with its last descriptor, even if the process is killed."""
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            # Some file systems (NFS, overlay on old kernels) do not support files without a name (O_TMPFILE).
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    fd, name = tempfile.mkstemp(prefix="incoming-", dir=directory)
    Path(name).unlink()
    return fd
