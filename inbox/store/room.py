"""Disk space management: refuses mail before a disk is full, and keeps a reserve with which users can free space.

A full disk must not keep users from logging in and deleting mail. So two parts of a disk are not for mail: a floor of
free space below which no mail is accepted, and a file that only occupies space, the reserve, which is removed when
something else has filled the disk to the last octet. Logins, flag changes and deletions then use its space.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import time
from pathlib import Path
from typing import Final

import structlog

from inbox.base.errors import StorageFull

#: Octets of the floor, and of the reserve: enough for about ten steps of a long job with their write-ahead log.
RESERVE_OCTETS: Final = 8 * 1024 * 1024
#: On a small disk each of them is this share of its size.
_SHARE: Final = 16
#: The name of the reserve in the data folder.
RESERVE: Final = "reserve"
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CHUNK: Final = 1 << 20
#: With this many floors of free space, the next look is due after _LOOK_SECONDS: nothing writes half a gigabyte sooner.
_PLENTY: Final = 64
_LOOK_SECONDS: Final = 0.1


class Room:
    """The disk space of one folder's file system.

    Args:
        folder: must exist only when a method is called.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reserve = folder / RESERVE
        self._log = structlog.get_logger("inbox.store")
        self._plenty_until = -math.inf

    def check(self, octets: int = 0) -> None:
        """Returns if ``octets`` of new mail, rows or records may be written.

        Raises:
            StorageFull: the remaining space is reserved for logins, flag changes and deletions.
        """
        # The hot path of every delivery.
        now = time.monotonic()
        if now < self._plenty_until:
            return
        free, floor = self._free()
        if free - octets >= _PLENTY * floor:
            self._plenty_until = now + _LOOK_SECONDS
        if free - octets >= 2 * floor:
            return  # Whether the reserve exists makes no difference.
        # While the reserve is released, more must be free, because the free space may be the reserve's.
        needed = floor if self._reserve.exists() else 2 * floor
        if free - octets < needed:
            raise StorageFull(f"no room at {self._folder}: {free >> 10} KiB free, {needed >> 10} KiB are reserved")

    def keep(self) -> bool:
        """Creates the reserve if it is missing and there is space for it; returns whether it exists."""
        if self._reserve.exists():
            return True
        free, floor = self._free()
        if free < 4 * floor:
            return False
        unfinished = self._reserve.with_name(f"{RESERVE}.{os.getpid()}")
        try:
            _fill(unfinished, floor)
            unfinished.rename(self._reserve)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            self._log.warning("disk_reserve_not_made", path=str(self._reserve), error=str(error))
            return False
        return True

    def release(self) -> bool:
        """Releases the reserve; returns whether there was one."""
        try:
            self._reserve.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._log.error("disk_reserve_not_released", path=str(self._reserve), error=str(error))
            return False
        self._log.error("disk_full_reserve_released", path=str(self._reserve))
        return True

    def is_full(self) -> bool:
        """Whether almost nothing can be written."""
        free, floor = self._free()
        return free < floor // 4

    def _free(self) -> tuple[int, int]:
        """Returns the free space and the floor. If they cannot be determined there is room: the write itself will
        report the error."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return RESERVE_OCTETS * 16, RESERVE_OCTETS
        floor = min(RESERVE_OCTETS, found.f_blocks * found.f_frsize // _SHARE)
        return found.f_bavail * found.f_frsize, floor


def _fill(path: Path, octets: int) -> None:
    # Random octets: a file system that compresses, or omits zeros, must allocate the space, too.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, max(1, octets))
        left = octets
        while left:
            left -= os.write(descriptor, os.urandom(min(_CHUNK, left)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
