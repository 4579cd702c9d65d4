"""Write-ahead log of a SQLite file: extend it in advance, and checkpoint it before it grows long.

SQLite copies the log into the database inside a commit, while all writers wait. Here a separate thread does that;
writers wait only while it copies what they wrote in the meantime, so that the log is empty for a moment and restarts at
its beginning.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from inbox.store.sqlite.turn import Turn

#: Pages of log after which it is copied into the database. More than SQLite's default of 1,000, because the copy is
#: synced.
CHECKPOINT_PAGES: Final = 2000
#: Octets of a page (SQLite's default) with its header in the log (https://sqlite.org/fileformat2.html#walformat).
FRAME_OCTETS: Final = 4096 + 24
#: Octets of a server's log at the start, and the size to which it shrinks after it has grown: room for two checkpoints,
#: because writers continue during the copy, and for some large batches.
LOG_OCTETS: Final = 2 * CHECKPOINT_PAGES * FRAME_OCTETS + 4 * 1024 * 1024
#: Pages after which a commit copies the log itself, if the thread could not.
LATEST_PAGES: Final = 4 * CHECKPOINT_PAGES
#: A log that was not extended in advance takes space as it grows: at most this share of the free space.
_SHARE: Final = 8
_LEAST_PAGES: Final = 64
#: Pages whose copying writers may have to wait for, and how often the thread tries to get down to that number.
_FEW_PAGES: Final = 200
_PASSES: Final = 3
#: Pages that a small commit adds, at most: the first step of the count.
_STEP: Final = 64

#: The lowest bit is the byte order of the checksums.
_MAGIC: Final = 0x377F0682
#: Magic, version, octets of a page, checkpoint sequence number, salt.
_HEADER: Final = struct.Struct(">IIII8s")


def pages_in(log: str | Path) -> int:
    """Returns the pages in a write-ahead log since it last restarted at its beginning; 0 if there is no log.

    Valid frames have the log's salt and are at its beginning; frames of an earlier round may follow.
    """
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _pages(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        return 0


def _pages(descriptor: int, least: int = 0) -> int:
    """``least``: the pages of an earlier count, with which this one begins if they are still valid."""
    head = os.pread(descriptor, _HEADER.size, 0)
    if len(head) < _HEADER.size:
        return 0
    magic, _, page, _, salt = _HEADER.unpack(head)
    if magic & ~1 != _MAGIC:
        return 0
    first, step = 32, 24 + page

    def is_valid(frame: int) -> bool:
        return bool(os.pread(descriptor, 8, first + frame * step + 8) == salt)

    low, high = 0, max(0, (os.fstat(descriptor).st_size - first) // step)
    if 0 < least <= high and is_valid(least - 1):
        low, end = least, least + _STEP
        while end < high and is_valid(end - 1):
            low, end = end, end + 2 * (end - least)
        high = min(high, end)
    while low < high:
        middle = (low + high) // 2
        if is_valid(middle):
            low = middle + 1
        else:
            high = middle
    return low


def lengthen(path: str, inode: int, octets: int) -> bool:
    """Appends zeros to a log, or nothing if the disk is full or a quota forbids it.

    Returns False if the file is not the one with this inode: then nothing was written. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        # The lock that is held covers the log that was opened; another process may be writing to a different one.
        if os.fstat(descriptor).st_ino != inode:
            return False
        before = size = os.fstat(descriptor).st_size
        try:
            while size < octets:
                size += os.pwrite(descriptor, bytes(min(1 << 20, octets - size)), size)
            os.fsync(descriptor)
        except OSError as error:
            os.ftruncate(descriptor, before)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
    finally:
        os.close(descriptor)
    return True


class Checkpointer:
    """Copies the log of one database into it, in a separate thread, whenever the log has become long.

    Args:
        path: the database file.
        connect: opens a connection to it for the thread. Raises InboxError, sqlite3.Error.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._log_path = f"{path}-wal"
        self._connect = connect
        self._due = threading.Event()
        self._ending = False
        #: Pages that the last copy left in the log.
        self._left = 0
        self._pages = 0
        #: The log, open: a commit has checked that it is still the file at this path.
        self._descriptor: int | None = None
        self._thread: threading.Thread | None = None
        self._log = structlog.get_logger("inbox.store")

    def look(self) -> None:
        """Wakes the thread if the log is long. Call it after each commit."""
        if self._due.is_set():
            return
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._log_path, os.O_RDONLY | os.O_CLOEXEC)
            pages = self._pages = _pages(self._descriptor, self._pages)
            bound = self._bound(self._descriptor)
        except OSError:  # the log was removed, or its disk fails: the commit reports that
            return
        # A log that could not be emptied, because a reader uses an old snapshot, is retried when it has grown.
        if pages >= self._left + bound or bound <= pages < self._left:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sqlite-checkpoint", daemon=True)
                self._thread.start()
            self._due.set()

    def close(self) -> None:
        """Stops the thread, after the copy in progress."""
        if self._thread is not None:
            self._ending = True
            self._due.set()
            self._thread.join()
            self._thread = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def _bound(descriptor: int) -> int:
        if os.fstat(descriptor).st_size >= LOG_OCTETS:
            return CHECKPOINT_PAGES
        found = os.statvfs(descriptor)
        free = found.f_bavail * found.f_frsize // _SHARE // FRAME_OCTETS
        return max(_LEAST_PAGES, min(free, CHECKPOINT_PAGES))

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        turn: Turn | None = None
        try:
            connection, turn = self._connect(), Turn(self._path)
            while True:
                # close() sets _ending before it wakes this thread, so the signal is never missed.
                self._due.wait()
                self._due.clear()
                if self._ending:
                    return
                self._checkpoint(connection, turn)
        except Exception as error:  # noqa: BLE001  # commits continue, and copy a very long log themselves
            self._log.error("checkpoints_ended", path=str(self._path), error=repr(error))
        finally:
            if connection is not None:
                connection.close()
            if turn is not None:
                turn.close()

    def _checkpoint(self, connection: sqlite3.Connection, turn: Turn) -> None:
        try:
            for _ in range(_PASSES):
                copied = _copy(connection)
                if pages_in(self._log_path) - copied <= _FEW_PAGES:
                    break
            with turn:
                copied = _copy(connection)
                pages = pages_in(self._log_path)
            self._left = 0 if copied >= pages else pages
        except sqlite3.Error as error:
            self._left = pages_in(self._log_path)
            self._log.warning("checkpoint_failed", path=str(self._path), error=str(error))


def _copy(connection: sqlite3.Connection) -> int:
    """Copies the pages that no reader still needs in the log; returns how many of the log's pages are in the database
    now."""
    _, _, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(copied)
