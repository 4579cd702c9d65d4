"""Background work on the stores: the check that they are a pair, and the sweeper of the blob store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import structlog

from inbox.app.serve.retention import FrozenClock
from inbox.app.wiring.installation import Installation
from inbox.store.sweeper import Sweeper, Swept

#: Seconds between two comparisons of the identities, and between two sweeps.
LOOK_SECONDS: Final = 30.0
SWEEP_SECONDS: Final = 3600.0


class Storage:
    """The stores of one process.

    Args:
        ages_by: measures the age of blobs (:class:`inbox.app.serve.retention.RetentionTime`); default: the clock.
    """

    def __init__(self, here: Installation, ages_by: Callable[[], Awaitable[float]] | None = None) -> None:
        self._here = here
        self._ages_by = ages_by
        self._swept: dict[str, Any] = {}
        self._log = structlog.get_logger("inbox.store")

    async def look(self) -> None:
        """Compares the identities of database and blob store.

        Raises:
            WrongStore: they are not a pair; mail is deferred until they are one again.
            StoreUnavailable, StoreError: one of the two does not answer.
        """
        await self._here.pairing.look()

    async def sweep(self) -> None:
        """One run of the sweeper.

        Raises:
            WrongStore, StoreUnavailable, StoreError: the sweep failed; it is tried again.
        """
        here = self._here
        # Only old blobs are orphans, and after a jump of the clock all blobs would look old.
        clock = here.clock if self._ages_by is None else FrozenClock(await self._ages_by())
        swept = await Sweeper(here.blobs, here.database, clock, here.pairing.look).sweep()
        self._swept = {"at": here.clock.now(), **asdict(swept)}
        if swept.alarm:
            self._log.error("sweep_stopped", why=swept.alarm, seen=swept.seen, unexplained=swept.unexplained)
        if swept.moved or swept.restored or swept.removed or swept.failed:
            self._log.info("swept", **_counts(swept))

    def view(self) -> Mapping[str, Any]:
        """The stores in ``GET /status``: the ids, ``why`` it is uncertain that they are a pair, and the
        last sweep (``{}`` before the first one)."""
        pairing = self._here.pairing
        return {
            "installation": pairing.identity.installation,
            "store": pairing.identity.store,
            "why": pairing.why,
            "sweep": self._swept,
        }


def _counts(swept: Swept) -> dict[str, int]:
    return {name: value for name, value in asdict(swept).items() if name != "alarm" and value}
