"""Clocks. Everything that needs the time gets a clock through its constructor."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings; tests pass a clock of their own."""

    def now(self) -> float:
        """Seconds since the epoch, for what is stored or shown."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back, for measuring and for time-outs."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
