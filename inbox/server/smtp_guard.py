"""How many connections there may be, and how long each may keep us waiting."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from math import inf
from typing import Final, Protocol

from inbox.base.clock import Clock

#: Part of the connections that there may be, from which on it is a crowd.
_CROWD: Final = 0.75
#: Seconds without an octet from a client that are borne in a crowd (Postfix, stress-adaptive behaviour: 10).
CROWDED_SECONDS: Final = 20.0


class Guarded(Protocol):
    """A connection as the guard sees it.

    ``deadline`` is a reading of the monotonic clock; infinite while we are the ones who keep the client waiting.
    ``waiting_since`` is when that wait began.
    """

    deadline: float
    waiting_since: float

    def expire(self) -> None:
        """The deadline has passed."""
        ...


class Guard:
    """Counts connections and looks after their deadlines.

    One look at all of them now and then costs less than a timer that every command sets and cancels.

    Args:
        clock: its monotonic reading is what deadlines are compared with.
        max_connections: all together; 0: no cap.
        max_per_peer: for one IPv4 address or IPv6 /64 network; 0: no cap.
    """

    def __init__(self, clock: Clock, max_connections: int, max_per_peer: int) -> None:
        self._clock = clock
        self._max_connections = max_connections
        self._max_per_peer = max_per_peer
        self._connections: set[Guarded] = set()
        self._peers: Counter[int] = Counter()

    @property
    def connections(self) -> tuple[Guarded, ...]:
        """Those that are open now."""
        return tuple(self._connections)

    def enter(self, connection: Guarded) -> bool:
        """Counts a new connection; False if there are too many."""
        if self._max_connections and len(self._connections) >= self._max_connections:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: Guarded) -> None:
        """The connection is over."""
        self._connections.discard(connection)

    def enter_peer(self, peer: IPv4Address | IPv6Address) -> bool:
        """Counts a connection of this peer; False if it has too many. Only a counted one leaves."""
        key = _key(peer)
        if self._max_per_peer and self._peers[key] >= self._max_per_peer:
            return False
        self._peers[key] += 1
        return True

    def leave_peer(self, peer: IPv4Address | IPv6Address) -> None:
        """A connection of this peer is over."""
        key = _key(peer)
        self._peers[key] -= 1
        if not self._peers[key]:
            del self._peers[key]

    def sweep(self) -> None:
        """Ends the waiting of every connection whose deadline has passed; in a crowd all of them come sooner.

        Silent clients could otherwise keep everybody out for minutes with a few packets.
        """
        now = self._clock.monotonic()
        crowded = 0 < self._max_connections * _CROWD <= len(self._connections)
        latest = now - CROWDED_SECONDS if crowded else -inf
        for connection in [
            found
            for found in self._connections
            if found.deadline <= now or (found.deadline < inf and found.waiting_since <= latest)
        ]:
            connection.deadline = inf
            connection.expire()


def _key(peer: IPv4Address | IPv6Address) -> int:
    # Who has one IPv6 address has the whole /64. Bit 64 tells the two kinds apart.
    return int(peer) if peer.version == 4 else 1 << 64 | int(peer) >> 64
