"""A clock that a test sets."""

from __future__ import annotations


class FakeClock:
    """Stands still until :meth:`advance`."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
