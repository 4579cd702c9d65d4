"""Fair shares of the event loop for the connections of every server.

A peer that always has input ready would keep its connection's task running without ever suspending, and every other
connection would wait for it. So a task that has used its time slice queues for its next one, and the queue admits one
task in each pass of the event loop, network by network: a network delays others by one slice per pass, however many
connections it opens.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final

#: Seconds of work after which a connection waits for its turn.
SLICE_SECONDS: Final = 0.001
#: Part of the time in which a connection waited for its peer or for storage that counts against the work it has done:
#: a connection below this share of the event loop never queues.
FREE_SHARE: Final = 0.1
#: Connections that one network may open at once, and for each second afterwards, before new ones queue for a turn.
STARTS_BURST: Final = 100.0
STARTS_PER_SECOND: Final = 20.0
#: Networks whose connections are counted; the one that was seen longest ago is forgotten first.
NETWORKS: Final = 10_000

#: Reads a monotonic clock, in seconds.
Reading = Callable[[], float]


class Turns:
    """The queue of connections that have used their slice. One object serves all servers of a process.

    Args:
        reading: the clock that measures work.
    """

    def __init__(self, reading: Reading = time.perf_counter) -> None:
        self.reading = reading
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._scheduled = False
        self._starts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def take(self, network: str) -> None:
        """Waits for a turn: one is given in each pass of the event loop, to each network in rotation.

        Args:
            network: the peer's, as :func:`inbox.base.peers.site_of` names it.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._queues.setdefault(network, deque()).append(turn)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._give)
        await turn

    async def begin(self, network: str) -> None:
        """Waits for a turn if this network opens connections faster than its allowance.

        A connection that ends soon never uses up a slice; without this limit, a flood of them would never queue.
        """
        left, since = self._starts.pop(network, (STARTS_BURST, 0.0))
        now = self.reading()
        left = min(STARTS_BURST, left + (now - since) * STARTS_PER_SECOND) - 1
        self._starts[network] = (max(left, 0.0), now)
        if len(self._starts) > NETWORKS:
            self._starts.popitem(last=False)
        if left < 0:
            await self.take(network)

    def _give(self) -> None:
        while self._queues:
            network, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[network] = queue
            if not turn.done():  # a cancelled connection needs no turn
                turn.set_result(None)
                break
        self._scheduled = bool(self._queues)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._give)


class Share:
    """The work of one connection, measured while :meth:`run` drives its coroutine.

    Args:
        turns: the queue that all connections share.
        network: the peer's; an attribute, because a PROXY header can change it.
    """

    __slots__ = ("_reading", "_since", "_turns", "_worked", "network")

    def __init__(self, turns: Turns, network: str) -> None:
        self.network = network
        self._turns = turns
        self._reading = turns.reading
        self._since = self._reading()
        self._worked = 0.0

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Awaits the connection's coroutine, after a turn if its network opens too many connections."""
        try:
            await self._turns.begin(self.network)
        except BaseException:
            work.close()
            raise
        await _Metered(self, work)

    async def pause(self) -> None:
        """Returns at once while the connection is within its slice; otherwise waits for its turn.

        Call this wherever a peer can keep the task busy without suspending it: between commands, between pieces of
        a message, between the steps of a long response.
        """
        if self._worked + self._reading() - self._since >= SLICE_SECONDS:
            await self._turns.take(self.network)
            self._worked, self._since = 0.0, self._reading()

    async def turn(self) -> None:
        """Waits for a turn in any case: for work that is known to be expensive, such as a TLS handshake."""
        await self._turns.take(self.network)
        self._worked, self._since = 0.0, self._reading()

    def resumed(self, waited: float) -> None:
        """The event loop has resumed the connection's task after ``waited`` seconds."""
        self._since = self._reading()
        self._worked = max(0.0, self._worked - waited * FREE_SHARE)

    def suspended(self) -> float:
        """The connection's task waits now; returns the reading of the clock."""
        now = self._reading()
        self._worked += now - self._since
        return now


class _Metered(Awaitable[None]):
    """Awaits a coroutine and reports each of its suspensions to the share."""

    __slots__ = ("_reading", "_share", "_work")

    def __init__(self, share: Share, work: Coroutine[Any, Any, None]) -> None:
        self._share = share
        self._work = work
        self._reading = share._reading

    def __await__(self) -> Generator[Any, None, None]:
        share, work, reading = self._share, self._work, self._reading
        error: BaseException | None = None
        share.resumed(0.0)
        while True:
            try:
                awaited = work.send(None) if error is None else work.throw(error)
            except StopIteration:
                return
            error = None
            since = share.suspended()
            try:
                yield awaited
            except GeneratorExit:
                work.close()
                raise
            except BaseException as thrown:  # noqa: BLE001  the coroutine handles every exception that reaches the task
                error = thrown
            share.resumed(reading() - since)
