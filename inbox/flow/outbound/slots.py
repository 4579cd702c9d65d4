"""Connections to sets of MX hosts that attempts use, in this process.

A set of hosts is healthy while its attempts get to the final dot. For it, twice as many jobs as it has connections are
under way: the others run their hooks (a signature takes longer than a reply) and are recorded while the connections
are in use, so that no connection waits for the processor or the disk of this machine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

#: Sets of hosts that are remembered as healthy; beyond it, the one that became healthy first is forgotten.
MOST_HEALTHY: Final = 10_000


@dataclass(slots=True)
class _Use:
    used: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Slots:
    """The free connections of each set of MX hosts; first come, first served."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}
        self._healthy: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def is_healthy(self, key: str) -> bool:
        """Whether the last attempts got to the final dot."""
        return key in self._healthy

    def note(self, key: str, *, healthy: bool) -> None:
        """An attempt got to the final dot, or reached no host."""
        if not healthy:
            self._healthy.pop(key, None)
        elif key not in self._healthy:
            self._healthy[key] = None
            if len(self._healthy) > MOST_HEALTHY:
                del self._healthy[next(iter(self._healthy))]

    @asynccontextmanager
    async def taken(self, key: str, most: int) -> AsyncIterator[None]:
        """Uses one of ``most`` connections, when it is free."""
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = _Use()
        if use.used < most:
            use.used += 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            use.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give(key, use)
                raise
        try:
            yield
        finally:
            self._give(key, use)

    def _give(self, key: str, use: _Use) -> None:
        """Passes the connection on to the next in line."""
        while use.waiting:
            turn = use.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        use.used -= 1
        if use.used == 0:
            del self._uses[key]
