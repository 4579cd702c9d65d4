"""Lines of jobs that wait for a connection to their set of MX hosts, in this process.

A job that finds all connections in use waits in its set's line, in which tenants and classes take turns. A line may
take half of the places that the worker has left; further jobs return to the queue for a moment. So the lines for
several busy or dead sets together never fill the worker, and jobs of other sets have room.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from inbox.base.clock import Clock
from inbox.flow.outbound.capacity import BUSY_SECONDS, Capacity, Limits

#: The unit that takes turns: a tenant and a class.
Turn = tuple[str, str]


@dataclass(slots=True)
class _Line:
    turns: OrderedDict[Turn, deque[asyncio.Future[float]]] = field(default_factory=OrderedDict)
    length: int = 0

    def append(self, turn: Turn, place: asyncio.Future[float]) -> None:
        self.turns.setdefault(turn, deque()).append(place)
        self.length += 1

    def pop(self) -> asyncio.Future[float] | None:
        """Removes and returns the next job that is still waiting."""
        while self.turns:
            turn, places = self.turns.popitem(last=False)
            place = places.popleft()
            self.length -= 1
            if places:
                self.turns[turn] = places
            if not place.done():
                return place
        return None


@dataclass(slots=True)
class Places:
    """The places of a worker: the maximum number of jobs that it may hold, and the current number."""

    most: int
    taken: int = 0

    @property
    def free(self) -> int:
        return self.most - self.taken


class Lines:
    """Connections by set of MX hosts, and the lines for them."""

    def __init__(self, clock: Clock, places: Places) -> None:
        self._clock = clock
        self._places = places
        self._capacity = Capacity()
        self._lines: dict[str, _Line] = {}

    def __len__(self) -> int:
        """The jobs that wait in all lines."""
        return sum(line.length for line in self._lines.values())

    async def enter(self, key: str, limits: Limits, turn: Turn) -> float:
        """Takes a connection, when it is this job's turn. Returns 0, or the seconds after which to try again; then no
        connection was taken. After 0, call :meth:`leave`."""
        line = self._lines.get(key)
        if line is None:
            wait = self._capacity.take(key, limits, self._clock.monotonic())
            if wait == 0.0 or self._capacity.free(key, limits):
                return wait
            line = self._lines[key] = _Line()
        if 2 * line.length >= self._places.free:
            return BUSY_SECONDS
        place: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        line.append(turn, place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.result() == 0.0:
                self.leave(key, limits)
            raise

    def leave(self, key: str, limits: Limits) -> None:
        """Gives the connection to the next in line."""
        self._capacity.give_back(key, limits)
        line = self._lines.get(key)
        while line is not None:
            place = line.pop()
            if place is None:
                del self._lines[key]
                return
            wait = self._capacity.take(key, limits, self._clock.monotonic())
            place.set_result(wait)
            # If the limits were raised in the meantime, more than one may proceed.
            if wait == 0.0 and not self._capacity.free(key, limits):
                return
