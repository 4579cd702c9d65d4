"""Metrics of one server process, for ``GET /metrics``: the flow's counters, and values that are read on request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from inbox.app.serve.outbound import OutboundQueue
from inbox.app.serve.vitals import TIMEOUT_SECONDS, worker_view
from inbox.app.wiring.installation import Installation
from inbox.app.wiring.program import Parts
from inbox.base.errors import StoreError
from inbox.base.kept import Kept
from inbox.base.metrics import Family, gauge
from inbox.store.ports.queue import QueueCount

#: Seconds for which a count of the queue is reused: with SurrealDB counting reads all jobs.
QUEUE_SECONDS = 15.0
#: Seconds within which the queue is counted; otherwise its metrics are absent.
COUNT_SECONDS = 5.0
_STATES = ("queued", "processing", "held", "dead")


class ServerMetrics:
    """Collects the metrics of a process.

    Args:
        outbound: the worker of this process, if it has one.
        primary: also report what all processes share: database and queue.
    """

    def __init__(
        self, installation: Installation, parts: Parts, outbound: OutboundQueue | None = None, *, primary: bool
    ) -> None:
        self._installation = installation
        self._parts = parts
        self._outbound = outbound
        self._primary = primary
        self._counted: Kept[list[QueueCount]] = Kept(installation.clock, QUEUE_SECONDS, 1)

    async def families(self, connections: Mapping[str, int], uptime: float, lost_lines: int) -> list[Family]:
        """All metrics; what cannot be read within its time is absent, and its ``_up`` is 0."""
        found = [
            *self._parts.meters.families(),
            *self._parts.resolver.families(),
            *([] if self._outbound is None else self._outbound.families()),
            *([] if self._parts.telemetry is None else self._parts.telemetry.families()),
            gauge("inbox_uptime_seconds", "Seconds since the process started.", [({}, uptime)]),
            gauge("inbox_connections", "Open connections.", _by("listener", connections)),
            gauge("inbox_log_lost_lines", "Log lines that could not be written since the start.", [({}, lost_lines)]),
            self._failing(),
        ]
        shared = (self._database(), self._queue()) if self._primary else ()
        # Concurrent, so that the answer takes as long as the slowest of them.
        for families in await asyncio.gather(self._worker(), *shared):
            found += families
        return found

    def _failing(self) -> Family:
        failures: dict[str, float] = {}
        for one in self._parts.instances.failing():
            failures[one["plugin"]] = max(failures.get(one["plugin"], 0), one["failures"])
        return gauge(
            "inbox_plugin_failures", "Failures in a row of plugins whose last call failed.", _by("plugin", failures)
        )

    async def _worker(self) -> list[Family]:
        worker = self._installation.worker
        if worker is None:
            return []
        up = float((await worker_view(worker))["answers"])
        return [gauge("inbox_helper_up", "1 if the worker process answers.", [({"helper": "store"}, up)])]

    async def _database(self) -> list[Family]:
        clock, database = self._installation.clock, self._installation.database
        began = clock.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await database.ping()
            up = 1.0
        except (StoreError, TimeoutError):
            up = 0.0
        return [
            gauge("inbox_database_up", "1 if the database answers.", [({}, up)]),
            gauge("inbox_database_ping_seconds", "Time of the last ping.", [({}, clock.monotonic() - began)]),
            gauge(
                "inbox_rate_counters_in_memory", "1 while rate counters cannot be written.",
                [({}, float(bool(database.rates.trouble)))],
            ),
        ]  # fmt: skip

    async def _queue(self) -> list[Family]:
        counts = self._counted.get(())
        if counts is None:
            try:
                async with asyncio.timeout(COUNT_SECONDS):
                    counts = await self._installation.database.queue.count(None)
            except (StoreError, TimeoutError):
                return []  # inbox_database_up reports it, or the metrics are absent
            self._counted.put((), counts)
        return queue_families(counts, self._installation.clock.now())


def queue_families(counts: Sequence[QueueCount], now: float) -> list[Family]:
    """Depth and age of the queue by class; the labels name neither tenants nor destinations."""
    depth: dict[tuple[str, str], float] = {}
    oldest: dict[str, float] = {}
    for one in counts:
        for state in _STATES:
            key = (one.job_class, state)
            depth[key] = depth.get(key, 0.0) + getattr(one, state)
        if one.oldest:  # Dead jobs wait for nothing.
            oldest[one.job_class] = min(oldest.get(one.job_class, one.oldest), one.oldest)
    ages = {name: max(0.0, now - at) for name, at in oldest.items()}
    return [
        gauge(
            "inbox_queue_jobs", "Jobs in the queue, by class and state.",
            [({"class": name, "state": state}, count) for (name, state), count in sorted(depth.items())],
        ),
        gauge("inbox_queue_oldest_seconds", "Age of the oldest job that is not dead, by class.", _by("class", ages)),
    ]  # fmt: skip


def _by(label: str, values: Mapping[str, float]) -> list[tuple[dict[str, str], float]]:
    return [({label: name}, value) for name, value in sorted(values.items())]
