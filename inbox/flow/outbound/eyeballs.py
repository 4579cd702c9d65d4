"""The first of several addresses that accepts a connection (happy eyeballs), and a memory of dead ones."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

from inbox.base.clock import Clock
from inbox.flow.outbound.connect import Connection, Failed, Target, dial

#: Seconds after which the next address is tried while the connection to the last one is pending.
STAGGER_SECONDS: Final = 0.25
#: Seconds for one connection. Hosts answer within a second or two; one dead host of two must not reduce the rate.
CONNECT_SECONDS: Final = 10.0
#: Seconds for which an address that did not accept a connection is tried after all others.
DEAD_SECONDS: Final = 60.0
#: Addresses that are remembered as dead.
MOST_DEAD: Final = 10_000


class Dialer:
    """Opens connections.

    Args:
        seconds: the limit of each reply, and of a connection if it is less than CONNECT_SECONDS.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._dead: dict[tuple[str, int, str | None], float] = {}

    def is_dead(self, target: Target) -> bool:
        """Whether the address recently did not accept a connection."""
        until = self._dead.get(_key(target))
        return until is not None and until > self._clock.monotonic()

    async def first(self, targets: Sequence[Target], context: ssl.SSLContext) -> tuple[Connection, list[Target]]:
        """A connection to one of the addresses, and the addresses that were not found dead, without the one used.

        Raises:
            Failed: no address accepts a connection; the reply is that of the last one.
        """
        waiting = sorted(targets, key=self.is_dead)
        pending: dict[asyncio.Task[Connection], Target] = {}
        failed: list[Target] = []
        failure: Failed | None = None
        try:
            while waiting or pending:
                if waiting:
                    target = waiting.pop(0)
                    pending[self._begin(target, context)] = target
                done, _ = await asyncio.wait(
                    pending, timeout=STAGGER_SECONDS if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    target = pending[task]
                    error = task.exception()
                    if error is None:
                        del pending[task]
                        self._dead.pop(_key(target), None)
                        return task.result(), [each for each in targets if each is not target and each not in failed]
                    del pending[task]
                    if not isinstance(error, Failed):
                        raise error
                    failure = error
                    failed.append(target)
                    self._bury(target)
        finally:
            for task in pending:
                task.cancel()
                task.add_done_callback(_abort)
        assert failure is not None
        raise failure

    def _begin(self, target: Target, context: ssl.SSLContext) -> asyncio.Task[Connection]:
        seconds = min(self._seconds, CONNECT_SECONDS)
        return asyncio.get_running_loop().create_task(dial(target, context, seconds, self._seconds))

    def _bury(self, target: Target) -> None:
        if len(self._dead) >= MOST_DEAD:
            del self._dead[next(iter(self._dead))]
        self._dead.pop(_key(target), None)
        self._dead[_key(target)] = self._clock.monotonic() + DEAD_SECONDS


def _key(target: Target) -> tuple[str, int, str | None]:
    return target.address, target.port, target.source


def _abort(task: asyncio.Task[Connection]) -> None:
    """Closes a connection that was made after the caller had stopped waiting for it."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()
