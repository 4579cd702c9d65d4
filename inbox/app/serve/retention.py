"""The time that measures the age of records: it follows the clock without jumps.

Records that are removed by age cannot be restored, and a clock can be wrong: a machine that starts with a date of the
next decade would remove every decision record at once. So a separate time measures age. It advances at most four
times as fast as the process runs, is kept in a file between runs, and is never later than the clock. A server that was
off for two months keeps its records some days longer; one whose clock jumps forward logs this, and its operator has
days to correct the clock before anything is removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inbox.base.clock import Clock
from inbox.plugin.api.services import Log
from inbox.policy.edit import write_atomically

#: The highest speed of this time while it is behind, as a multiple of the process's own time.
RATE: Final = 4.0
DAY: Final = 86_400.0


class FrozenClock:
    """``Clock`` that shows a fixed time, for work that computes ages."""

    def __init__(self, moment: float) -> None:
        self._moment = moment

    def now(self) -> float:
        return self._moment

    def monotonic(self) -> float:
        return self._moment


class RetentionTime:
    """The retention time of one installation.

    Args:
        path: the file that keeps it between runs.
    """

    def __init__(self, path: Path, clock: Clock, log: Log) -> None:
        self._path = path
        self._clock = clock
        self._log = log
        self._time: float | None = None
        self._measured = 0.0

    @property
    def is_known(self) -> bool:
        """False before a first run: then ``newest`` matters to :meth:`now`."""
        if self._time is None:
            self._time = self._kept()
            self._measured = self._clock.monotonic()
        return self._time is not None

    def now(self, newest: float | None = None) -> float:
        """Seconds since the epoch, never later than the clock.

        Args:
            newest: the time of the newest record, for a first run: a clock far ahead of it is not believed.
        """
        wall, steady = self._clock.now(), self._clock.monotonic()
        if not self.is_known:
            self._time = wall if newest is None else min(wall, newest + DAY)
        assert self._time is not None, "set a moment ago"
        elapsed, self._measured = steady - self._measured, steady
        # It never goes back: after an hour with a clock set to 1970, catching up must not take years.
        self._time = max(self._time, min(wall, self._time + RATE * elapsed))
        self._keep(self._time)
        if wall - self._time > DAY:
            self._log.warning(
                "clock_leaped",
                clock=round(wall),
                ages_by=round(self._time),
                days=round((wall - self._time) / DAY, 1),
                check="the date of this machine; if it is right, this ends automatically",
            )
        return min(wall, self._time)

    def _kept(self) -> float | None:
        try:
            return float(self._path.read_text("ascii"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._log.warning("retention_time_unreadable", path=str(self._path), error=str(error))
            return None

    def _keep(self, value: float) -> None:
        try:
            write_atomically(self._path, f"{value:.0f}")
        except OSError as error:
            # The next run begins where this one did; old records stay a little longer.
            self._log.warning("retention_time_not_kept", path=str(self._path), error=str(error))
