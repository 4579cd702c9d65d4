"""Syncs several files, one after the other or all with one wait.

A process that calls fsync for each file in turn waits for the disk once for each, and afterwards for a core. The kernel
syncs files that are submitted together (io_submit(2), ``IOCB_CMD_FSYNC``) at the same time, and the flushes of the
disk's cache become one: for 8 files it takes half as long, and on a busy machine a quarter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Final

#: Waits until the files are durable; returns an error number for each file, 0 if it is durable.
Finish = Callable[[], list[int]]
#: Begins to sync files, which must stay open until they are finished.
Begin = Callable[[Sequence[int]], Finish]

#: The maximum number of files that are synced together.
MOST_FILES: Final = 256
#: The system calls io_setup, io_destroy, io_getevents and io_submit, for which the C library has no functions.
_CALLS: Final = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
_FSYNC: Final = 2
#: ``struct iocb`` (aio_data, aio_lio_opcode, aio_fildes) and ``struct io_event`` (data, obj, res, res2) of
#: <linux/aio_abi.h>.
_REQUEST: Final = struct.Struct("<Q8xHxxI40x")
_EVENT: Final = struct.Struct("<QQqq")


def one_by_one(descriptors: Sequence[int]) -> Finish:
    """Syncs each file in turn."""
    return lambda: [_sync(descriptor) for descriptor in descriptors]


class GroupSync:
    """Syncs up to MOST_FILES files with one wait.

    Where the kernel has no asynchronous fsync or a sandbox forbids it, each file is synced in turn. Only one thread may
    use an object, and must finish what it began before it begins again.
    """

    def __init__(self) -> None:
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        self._context = ctypes.c_ulong(0)
        self._requests = ctypes.create_string_buffer(_REQUEST.size * MOST_FILES)
        first = ctypes.addressof(self._requests)
        self._pointers = (ctypes.c_void_p * MOST_FILES)(*(first + n * _REQUEST.size for n in range(MOST_FILES)))
        self._events = ctypes.create_string_buffer(_EVENT.size * MOST_FILES)
        numbers = _CALLS.get(platform.machine()) if sys.platform == "linux" else None
        self.is_supported = numbers is not None
        if numbers is not None:
            setup, self._destroy, self._getevents, self._submit = (ctypes.c_long(number) for number in numbers)
            self.is_supported = self._call(setup, ctypes.c_long(MOST_FILES), ctypes.byref(self._context)) == 0

    def close(self) -> None:
        """Frees the kernel's memory; afterwards each file is synced in turn."""
        if self.is_supported:
            self.is_supported = False
            self._call(self._destroy, self._context)

    def __call__(self, descriptors: Sequence[int]) -> Finish:
        """Begins to sync files. Raises ValueError if there are more than MOST_FILES."""
        if len(descriptors) > MOST_FILES:
            raise ValueError(f"{len(descriptors)} files are more than {MOST_FILES}")
        # A single file does not need another thread of the kernel.
        if not self.is_supported or len(descriptors) < 2:
            return one_by_one(descriptors)
        for place, descriptor in enumerate(descriptors):
            _REQUEST.pack_into(self._requests, place * _REQUEST.size, place, _FSYNC, descriptor)
        taken = self._call(self._submit, self._context, ctypes.c_long(len(descriptors)), self._pointers)
        return lambda: self._finish(descriptors, max(taken, 0))

    def _finish(self, descriptors: Sequence[int], taken: int) -> list[int]:
        # The kernel takes fewer files than it was given if it is short of memory, or if one cannot be synced this way.
        results = [0] * taken + [_sync(descriptor) for descriptor in descriptors[taken:]]
        left = taken
        while left:
            found = self._call(
                self._getevents, self._context, ctypes.c_long(left), ctypes.c_long(left), self._events, None
            )
            if found < 0:
                if ctypes.get_errno() == errno.EINTR:
                    continue
                raise OSError(ctypes.get_errno(), f"io_getevents: {os.strerror(ctypes.get_errno())}")
            for event in range(found):
                place, _, result, _ = _EVENT.unpack_from(self._events, event * _EVENT.size)
                results[place] = -result
            left -= found
        return results


def _sync(descriptor: int) -> int:
    try:
        os.fsync(descriptor)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
