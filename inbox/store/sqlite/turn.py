"""Fair turns for the processes that write to one SQLite file, by two lock files.

SQLite's busy handler polls with growing pauses and starves a process under load; a lock file makes processes wait in
the kernel. But the kernel does not hand a lock over: a process that releases it and requests it again at once gets it
before one that has to wake up first, so a long job in steps would lock out all others. Therefore a process requests the
lock while it holds a second one, the queue: a process that has just had its turn waits behind the next one.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType


class Turn:
    """``with turn:`` waits until no other process, and no other ``Turn`` of this one, is in its turn.

    Two threads must not share it: each needs its own ``Turn``.

    Args:
        path: the database file; the lock files are beside it.

    Raises:
        OSError: the lock files cannot be opened, or (on entering) the kernel has no more locks.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock = os.open(f"{path}.lock", flags, 0o600)
        try:
            self._queue = os.open(f"{path}.queue", flags, 0o600)
        except OSError:
            os.close(self._lock)
            raise

    def close(self) -> None:
        os.close(self._queue)
        os.close(self._lock)

    def __enter__(self) -> None:
        fcntl.flock(self._queue, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)
