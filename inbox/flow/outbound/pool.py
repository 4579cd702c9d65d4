"""Idle connections, kept for the next message to the same host with the same TLS policy, source and credentials."""

from __future__ import annotations

import asyncio
from typing import Final

from inbox.flow.outbound.connect import Connection, Target

#: Seconds after which a connection is not used again, as in Postfix.
AGE_SECONDS: Final = 300.0
#: Seconds for which an idle connection is kept. Peers close them after minutes, and each one occupies the peer.
IDLE_SECONDS: Final = 10.0
#: Idle connections in total.
MOST_IDLE: Final = 200


class Pool:
    """Keeps connections by :class:`Target`: two policies or two tenants' sources never share one."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle: dict[Target, list[tuple[Connection, asyncio.TimerHandle]]] = {}
        self._count = 0
        self._idle_seconds = idle_seconds
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, target: Target) -> Connection | None:
        """A connection that is ready for a message, the one used last; None if there is none."""
        now = asyncio.get_running_loop().time()
        while idle := self._idle.get(target):
            connection, timer = idle.pop()
            self._count -= 1
            timer.cancel()
            if not idle:
                del self._idle[target]
            if connection.usable and now - connection.opened_at < AGE_SECONDS:
                return connection
            self._close(connection)
        return None

    def give(self, connection: Connection, messages: int) -> None:
        """Keeps the connection, or closes it if it may not be used again.

        Args:
            messages: after which a connection is closed.
        """
        loop = asyncio.get_running_loop()
        spent = connection.messages >= messages or loop.time() - connection.opened_at >= AGE_SECONDS
        if spent or not connection.usable or self._count >= MOST_IDLE:
            self._close(connection)
            return
        timer = loop.call_later(self._idle_seconds, self._expire, connection)
        self._idle.setdefault(connection.target, []).append((connection, timer))
        self._count += 1

    async def close(self) -> None:
        """Ends all idle sessions with QUIT."""
        for idle in list(self._idle.values()):
            for connection, timer in idle:
                timer.cancel()
                self._close(connection)
        self._idle.clear()
        self._count = 0
        if self._closing:
            await asyncio.wait(set(self._closing))

    def _expire(self, connection: Connection) -> None:
        idle = self._idle.get(connection.target, [])
        kept = [each for each in idle if each[0] is not connection]
        self._count -= len(idle) - len(kept)
        if kept:
            self._idle[connection.target] = kept
        else:
            self._idle.pop(connection.target, None)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(connection.quit())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
