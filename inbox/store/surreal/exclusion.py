"""Let some operations of a process run alone, and the others side by side.

An optimistic transaction fails if another one changes what it has read. A large one beside many small ones fails again
and again; so it runs alone, as far as this process is concerned.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Exclusion:
    """Operations that run alone have precedence over those that run side by side and have not begun."""

    def __init__(self) -> None:
        self._entry = asyncio.Lock()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Waits until nothing runs alone."""
        async with self._entry:
            self._running += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if self._running == 0:
                self._idle.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Waits until nothing runs."""
        async with self._entry:
            await self._idle.wait()
            yield
