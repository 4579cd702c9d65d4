"""Limits of connections: their number, how long each may keep the server waiting, and its number of errors.

All servers use them. While most connections are in use, every peer has less time; when all are in use, a new connection
from a quiet network replaces one of the network that holds the most. A connection that produces only errors, or
commands without effect, is closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from math import inf
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.peers import block_of

#: Fraction of the connection limit above which connections are short.
_SHORT: Final = 0.75
#: Seconds in which a whole command must arrive while connections are short (Postfix, stress-adaptive behaviour: 10).
CROWDED_SECONDS: Final = 20.0
#: Seconds between two checks of the deadlines of all connections.
SWEEP_SECONDS: Final = 1.0
#: Connections of one network that are compared when one of them has to make room.
_COMPARED: Final = 64
#: Seconds before the next search for a connection that could make room, after a search that found none.
_FRUITLESS_SECONDS: Final = 0.2
#: A logged-in connection makes room only if its network holds at least this part of all connections.
_LARGE_PART: Final = 0.125
#: Fraction of the limit that is added for connections through a proxy whose client is not identified yet.
_UNIDENTIFIED: Final = 0.25

#: Values of ``Limited.standing``.
STRANGER: Final = 0
IN_TRANSACTION: Final = 1
LOGGED_IN: Final = 2


class Limited(Protocol):
    """A connection as its limits see it. All times are readings of the monotonic clock.

    Attributes:
        deadline: the end of the peer's time; infinite while the server is working. A connection whose message is
            being stored has no deadline, and therefore is never evicted.
        pressing: the deadline while connections are short.
        waiting_since: when the server began to wait for this command, message or write.
        standing: ``STRANGER``, ``IN_TRANSACTION`` or ``LOGGED_IN``.
    """

    deadline: float
    pressing: float
    waiting_since: float

    @property
    def standing(self) -> int: ...

    def expire(self) -> None:
        """Ends the wait: the deadline has passed."""
        ...

    def evict(self) -> None:
        """Ends the connection now: another one takes its place, and it is no longer counted."""
        ...


class ConnectionLimits:
    """Counts connections, enforces their deadlines, and chooses which one makes room.

    Checking all connections periodically costs less than a timer that every command sets and cancels.

    Args:
        clock: deadlines are compared with its monotonic reading.
        max_connections: all together; 0: no limit.
        max_per_peer: for one IPv4 address or IPv6 /64 network; 0: no limit.
    """

    def __init__(self, clock: Clock, max_connections: int, max_per_peer: int) -> None:
        self.clock = clock
        self.evicted = 0
        self._max_connections = max_connections
        self._max_per_peer = max_per_peer
        self._blocks: dict[Limited, int] = {}
        self._members: dict[int, dict[Limited, None]] = {}
        self._by_size: dict[int, dict[int, None]] = {}
        self._unidentified: dict[Limited, None] = {}
        self._peers: Counter[int] = Counter()
        self._fruitless_until = self._fruitless_least = -inf
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> tuple[Limited, ...]:
        """The connections that are open now."""
        return (*self._blocks, *self._unidentified)

    @property
    def short(self) -> bool:
        """True if so many connections are in use that peers get less time."""
        return 0 < self._max_connections * _SHORT <= len(self._blocks)

    def enter(self, connection: Limited, peer: IPv4Address | IPv6Address) -> bool:
        """Counts a new connection, evicting another one if necessary; False if there is no room for it."""
        block = block_of(peer)
        if self._max_connections and len(self._blocks) >= self._max_connections and not self._make_room(block):
            return False
        self._blocks[connection] = block
        members = self._members.setdefault(block, {})
        self._resize(block, len(members), len(members) + 1)
        members[connection] = None
        return True

    def enter_unidentified(self, connection: Limited) -> bool:
        """Counts a new connection that comes through a proxy; False if too many of these are not identified yet."""
        if self._max_connections and len(self._unidentified) >= max(8, int(self._max_connections * _UNIDENTIFIED)):
            return False
        self._unidentified[connection] = None
        return True

    def identify(self, connection: Limited, peer: IPv4Address | IPv6Address) -> bool:
        """Counts a connection for the client behind the proxy; otherwise as :meth:`enter`."""
        self._unidentified.pop(connection, None)
        return self.enter(connection, peer)

    def leave(self, connection: Limited) -> None:
        """Stops counting a connection."""
        self._unidentified.pop(connection, None)
        block = self._blocks.pop(connection, None)
        if block is None:
            return
        members = self._members[block]
        self._resize(block, len(members), len(members) - 1)
        del members[connection]
        if not members:
            del self._members[block]

    def enter_peer(self, peer: IPv4Address | IPv6Address) -> bool:
        """Counts a connection of this peer; False if it has too many; only a counted one leaves."""
        key = _key(peer)
        if self._max_per_peer and self._peers[key] >= self._max_per_peer:
            return False
        self._peers[key] += 1
        return True

    def leave_peer(self, peer: IPv4Address | IPv6Address) -> None:
        """Stops counting a connection of this peer."""
        key = _key(peer)
        self._peers[key] -= 1
        if not self._peers[key]:
            del self._peers[key]

    def start(self) -> None:
        """Checks all deadlines periodically, until :meth:`stop`."""
        if self._timer is None:
            self._tick()

    def stop(self) -> None:
        """Stops the periodic check."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sweep(self) -> None:
        """Ends the wait of every connection whose deadline has passed."""
        now, short = self.clock.monotonic(), self.short
        for connection in [
            found
            for found in self.connections
            if found.deadline <= now or (short and found.deadline < inf and found.pressing <= now)
        ]:
            connection.deadline = connection.pressing = inf
            connection.expire()

    def _tick(self) -> None:
        self.sweep()
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._tick)

    def _resize(self, block: int, before: int, after: int) -> None:
        if before:
            same = self._by_size[before]
            del same[block]
            if not same:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[block] = None

    def _make_room(self, block: int) -> bool:
        """Evicts a connection of a network that holds more than the new one's would; False if there is none."""
        least = len(self._members.get(block, ())) + 2
        now = self.clock.monotonic()
        if now < self._fruitless_until and least >= self._fruitless_least:
            return False
        large = max(least, int(self._max_connections * _LARGE_PART))
        victim = self._victim(least, IN_TRANSACTION) or self._victim(large, LOGGED_IN)
        if victim is None:
            # A search for each new connection of a flood would cost more than the flood itself.
            self._fruitless_until, self._fruitless_least = now + _FRUITLESS_SECONDS, least
            return False
        self.leave(victim)
        self.evicted += 1
        victim.evict()
        return True

    def _victim(self, least: int, standing: int) -> Limited | None:
        """The connection to evict: in the largest network with a candidate, the lowest standing, then the longest wait.

        Args:
            least: the number of connections that its network must hold.
            standing: the highest standing that it may have.
        """
        for size in sorted(self._by_size, reverse=True):
            if size < least:
                return None
            for block in self._by_size[size]:
                found: list[Limited] = []
                for connection in self._members[block]:
                    if connection.deadline < inf and connection.standing <= standing:
                        found.append(connection)
                        if len(found) == _COMPARED:
                            break
                if found:
                    return min(found, key=lambda each: (each.standing, each.waiting_since))
        return None


class ErrorBudget:
    """The number of errors, and of commands without effect, that a connection may still send.

    Args:
        errors: rejected commands that are tolerated; 0: no limit.
        idle: commands without effect that are tolerated; 0: no limit.
        idle_text: the text of the reply when the peer has sent too many of these.
    """

    __slots__ = ("_errors", "_idle", "_idle_text", "_max_errors", "_max_idle")

    def __init__(self, errors: int, idle: int, idle_text: str) -> None:
        self._max_errors = errors
        self._max_idle = idle
        self._idle_text = idle_text
        self._errors = self._idle = 0

    def error(self) -> None:
        """Counts a rejected command."""
        self._errors += 1

    def idle(self) -> None:
        """Counts a command without effect."""
        self._idle += 1

    def restore(self) -> None:
        """Resets both counters: the peer has done useful work."""
        self._errors = self._idle = 0

    @property
    def closing_reason(self) -> str:
        """The reason to close the connection; empty if it may continue."""
        if self._max_errors and self._errors > self._max_errors:
            return "Too many errors"
        if self._max_idle and self._idle > self._max_idle:
            return self._idle_text
        return ""


def _key(peer: IPv4Address | IPv6Address) -> int:
    # The owner of one IPv6 address has the whole /64. Bit 64 distinguishes the two kinds.
    return int(peer) if peer.version == 4 else 1 << 64 | int(peer) >> 64
