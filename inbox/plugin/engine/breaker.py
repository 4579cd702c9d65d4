"""Circuit breaker: blocks calls of a dependency for a while after several failures in a row."""

from __future__ import annotations

from inbox.base.clock import Clock


class Breaker:
    """Closed (calls pass), open (calls are refused at once), half-open (one trial call is under way).

    Args:
        clock: its ``monotonic`` times the cool-down.
        failures: number of failures in a row that opens it.
        cool_down: seconds from opening to the next trial.
    """

    __slots__ = ("__weakref__", "_clock", "_cool_down", "_failures", "_in_row", "_opened", "_trial", "reason")

    def __init__(self, clock: Clock, failures: int = 5, cool_down: float = 30.0) -> None:
        self._clock = clock
        self._failures = failures
        self._cool_down = cool_down
        self._in_row = 0
        self._opened: float | None = None
        self._trial = False
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """True from the failure that opened it to the first success after that."""
        return self._opened is not None

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._in_row

    def refuses(self) -> bool:
        """Whether a call must not be made now. After the cool-down one call is allowed, as a trial."""
        if self._opened is None:
            return False
        if self._trial or self._clock.monotonic() - self._opened < self._cool_down:
            return True
        self._trial = True
        return False

    def succeeded(self) -> None:
        """A call succeeded."""
        if self._in_row or self._opened is not None:
            self._in_row, self._opened, self._trial, self.reason = 0, None, False, ""

    def failed(self, reason: str) -> bool:
        """A call failed. True if this opened the breaker (again)."""
        self._in_row += 1
        self.reason = reason
        if self._trial or (self._opened is None and self._in_row >= self._failures):
            self._opened, self._trial = self._clock.monotonic(), False
            return True
        return False

    def abandoned(self) -> None:
        """A call was cancelled from outside, which does not count as a result; the next caller may try."""
        self._trial = False
