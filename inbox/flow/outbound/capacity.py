"""Capacity of sets of MX hosts: simultaneous connections, and messages per period.

The limits hold in each process. They are counted per set of MX hosts, not per domain: a thousand domains at one
provider share one limit.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

#: Maximum number of idle sets with a rate limit that are remembered; the one unused for longest is forgotten.
MOST_IDLE: Final = 20_000
#: Seconds until a job that found all connections in use is tried again.
BUSY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one set of MX hosts.

    Attributes:
        connections: simultaneous attempts, each of which has its own connection.
        rate: messages in ``per_seconds``; 0 means no limit.
    """

    connections: int
    rate: float = 0.0
    per_seconds: float = 60.0


@dataclass(slots=True)
class _Use:
    """``tokens``: messages that may be sent at once (token bucket), as of ``refilled_at``."""

    connections: int = 0
    tokens: float = 0.0
    refilled_at: float = 0.0


class Capacity:
    """Connections in use, by key. Times are of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._uses: OrderedDict[str, _Use] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uses)

    def free(self, key: str, limits: Limits) -> bool:
        """Whether a connection is free."""
        use = self._uses.get(key)
        return use is None or use.connections < limits.connections

    def take(self, key: str, limits: Limits, now: float) -> float:
        """Takes one connection and one message. Returns 0, or the seconds to wait; then nothing was taken."""
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = _Use(tokens=max(1.0, limits.rate), refilled_at=now)
            self._forget_idle()
        self._uses.move_to_end(key)
        if use.connections >= limits.connections:
            return BUSY_SECONDS
        if limits.rate > 0:
            per_second = limits.rate / limits.per_seconds
            use.tokens = min(max(1.0, limits.rate), use.tokens + (now - use.refilled_at) * per_second)
            use.refilled_at = now
            if use.tokens < 1.0:
                return (1.0 - use.tokens) / per_second
            use.tokens -= 1.0
        use.connections += 1
        return 0.0

    def give_back(self, key: str, limits: Limits) -> None:
        """Releases the connection that :meth:`take` took."""
        use = self._uses[key]
        use.connections -= 1
        if use.connections == 0 and limits.rate <= 0:
            del self._uses[key]

    def _forget_idle(self) -> None:
        if len(self._uses) <= MOST_IDLE:
            return
        idle = next((key for key, use in self._uses.items() if use.connections == 0), None)
        if idle is not None:
            del self._uses[idle]
