"""The time by which jobs expire: the wall clock, except after it has leaped ahead."""

from __future__ import annotations

from typing import Final

from inbox.base.clock import Clock
from inbox.plugin.api.services import Log

#: Seconds that the wall clock gains on the monotonic one between two looks, and more: a leap.
LEAP_SECONDS: Final = 3_600.0
#: Seconds after a leap in which no job expires: the clock may be corrected, and each job gets attempts. A machine that
#: was suspended has the same leap.
GRACE_SECONDS: Final = 6 * 3_600.0


class ExpiryTime:
    """Notices leaps of the clock while the process runs."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._log = log
        self._offset = clock.now() - clock.monotonic()
        self._until = clock.monotonic()

    def now(self) -> float:
        """Seconds since the epoch; 0 while nothing is to expire."""
        wall, steady = self._clock.now(), self._clock.monotonic()
        gained, self._offset = wall - steady - self._offset, wall - steady
        if gained > LEAP_SECONDS:
            self._until = steady + GRACE_SECONDS
            self._log.warning("outbound_clock_leaped", seconds=round(gained), nothing_expires_for=GRACE_SECONDS)
        return wall if steady >= self._until else 0.0
