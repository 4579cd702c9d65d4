"""Room on the disk: mail is refused before a disk is full, and a reserve lets users make room.

A full disk must not keep anybody from logging in and deleting mail. So two parts of a disk are not for mail: a floor
below which no mail is accepted, and a file that only takes room, the reserve, which is removed when something else has
filled the disk to the last octet. Logins, flag changes and deletions then have its room.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

import structlog

from inbox.base.errors import StorageFull

#: Octets of the floor, and of the reserve: about ten steps of a long job with their write-ahead log.
RESERVE_OCTETS: Final = 8 * 1024 * 1024
#: On a small disk each of them is this share of the whole.
_SHARE: Final = 16
#: The name of the reserve in the data folder.
RESERVE: Final = "reserve"
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CHUNK: Final = 1 << 20


class Room:
    """The room of one folder.

    Args:
        folder: need not exist before the methods are called.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reserve = folder / RESERVE
        self._log = structlog.get_logger("inbox.store")

    def check(self, octets: int = 0) -> None:
        """Returns if ``octets`` of new mail, of its rows or of records may be written.

        Raises:
            StorageFull: what is free is left to logins, flag changes and deletions.
        """
        free, floor = self._free()
        if free - octets >= 2 * floor:
            return  # The hot path of every delivery: whether the reserve is there makes no difference.
        # While the reserve is given away, more must be free: what is free may be the reserve.
        needed = floor if self._reserve.exists() else 2 * floor
        if free - octets < needed:
            raise StorageFull(f"no room at {self._folder}: {free >> 10} KiB free, {needed >> 10} KiB are not for mail")

    def keep(self) -> bool:
        """Makes the reserve if there is none and there is room for it; returns whether it is there."""
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
        """Gives the reserve's room away; returns whether there was a reserve."""
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
        """Whether hardly anything can be written."""
        free, floor = self._free()
        return free < floor // 4

    def _free(self) -> tuple[int, int]:
        """What is free, and the floor; a folder that cannot be asked has room: whoever writes hears what is wrong."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return RESERVE_OCTETS * 16, RESERVE_OCTETS
        floor = min(RESERVE_OCTETS, found.f_blocks * found.f_frsize // _SHARE)
        return found.f_bavail * found.f_frsize, floor


def _fill(path: Path, octets: int) -> None:
    # Octets of chance: a file system that compresses, or leaves zeros out, must take the room, too.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, max(1, octets))
        left = octets
        while left:
            left -= os.write(descriptor, os.urandom(min(_CHUNK, left)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
