"""The sign of life that a server process gives its parent: an octet on a pipe, from its event loop.

A process that is stopped, or whose event loop hangs, still holds its connections and is alive for the kernel; only
the missing sign of life shows that it hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

#: Seconds between two signs of life.
BEAT_SECONDS: Final = 1.0
_PIECE: Final = 4096


async def beat(descriptor: int) -> None:
    """Gives signs of life until it is cancelled.

    Args:
        descriptor: the writing end of the pipe, which does not block.
    """
    while True:
        # A parent that is suspended does not read; one that has ended needs no more signs of life.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(descriptor, b".")
        await asyncio.sleep(BEAT_SECONDS)


class Pulse:
    """The parent's side of the pipe of one child."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        for descriptor in (self._reading, self.writing):
            os.set_blocking(descriptor, False)
        self._silent = 0
        self._begun = False

    def handed_over(self) -> None:
        """Closes this process's copy of the child's end: the child has inherited it."""
        os.close(self.writing)

    def silent(self) -> int:
        """Checks for signs of life; returns how many checks in a row found none.

        Checks are counted instead of time, because a parent that was suspended has seen nothing. A child that
        has not begun, because it still reads its policies or migrates its database, is not silent.
        """
        try:
            found = bool(os.read(self._reading, _PIECE))
        except BlockingIOError:
            found = False
        self._begun = self._begun or found
        self._silent = 0 if found or not self._begun else self._silent + 1
        return self._silent

    def close(self) -> None:
        """Closes the pipe: the child has ended."""
        os.close(self._reading)
