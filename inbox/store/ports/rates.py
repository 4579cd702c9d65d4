"""Port of rate counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Counted:
    """A rate counter after it was increased: its count in this window, and when the window ends.

    ``local``: the count is of this process only, because the database cannot be written.
    """

    count: int
    expires_at: float
    local: bool = False


class RateCounters(Protocol):
    """Window counters shared by all instances (table ``smtp_rate_limit``).

    The counters of a ``Database`` never raise StoreError, see :class:`LastingRates`.
    """

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        """Adds ``amount`` to the counter of ``key`` in the window that contains ``now``."""
        ...

    async def prune(self, now: float) -> int:
        """Removes counters whose window has ended, in steps; returns how many."""
        ...


class LastingRates(RateCounters, Protocol):
    """Counters that fall back to memory while the database cannot be written."""

    @property
    def trouble(self) -> str:
        """Reason why the counters are in memory; empty while they are in the database."""
        ...
