"""Clocks. Objects that need the time receive a clock through their constructor."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A wall clock and a monotonic clock; tests pass their own."""

    def now(self) -> float:
        """Seconds since the epoch, for what is stored or shown."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back, for measuring and timeouts."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
