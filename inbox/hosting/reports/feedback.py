"""Observations for DMARC reports: counted in memory, written to the database every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from inbox.authentication.aggregate.records import encode_details, encode_observation, observation_key
from inbox.base.clock import Clock
from inbox.base.errors import Conflict, InboxError, NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.base.limits import OBSERVATION_OCTETS, OBSERVATIONS, OBSERVATIONS_OCTETS
from inbox.identity.directory import AddressDirectory
from inbox.plugin.api.feedback import IncomingReport, Observation
from inbox.plugin.api.services import Log, RunBlocking
from inbox.store.ports import DmarcReports, ObservationCount, StoredReport

#: Seconds between two writes.
INTERVAL: Final = 5.0
#: Counts per transaction: about 150 ms of the slower database.
BATCH: Final = 1000
#: Rows of a report that are encoded on the event loop: about half a millisecond.
INLINE_ROWS: Final = 100
#: Seconds by which the end of a report's period may be ahead of the server's clock: no period ends after the report is
#: sent, but clocks differ. A report that ends in a hundred years would never be pruned.
AHEAD: Final = 2 * 86_400.0


class ReportInFuture(InboxError):
    """A report about a period in the future."""


class _Counted:
    """Counts of observations since the last write."""

    __slots__ = ("count", "day", "policy_domain")

    def __init__(self, day: str, policy_domain: str) -> None:
        self.day = day
        self.policy_domain = policy_domain
        self.count = 0


class FeedbackLedger:
    """``Feedback`` of ``inbox.plugin.api.feedback`` over the database.

    A write with unknown outcome is retried and may count twice; a crash loses unwritten counts. These are statistics:
    no message waits for them.

    Args:
        most: different observations that wait for the database; more are dropped, and the log says how many.
    """

    def __init__(
        self,
        reports: DmarcReports,
        directory: AddressDirectory,
        run_blocking: RunBlocking,
        clock: Clock,
        log: Log,
        *,
        most: int = OBSERVATIONS,
    ) -> None:
        self._reports = reports
        self._directory = directory
        self._run_blocking = run_blocking
        self._clock = clock
        self._log = log
        self._most = most
        self._waiting: dict[bytes, _Counted] = {}
        self._octets = 0
        self._dropped = 0
        self._failing = False
        self._closing = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    def observe(self, observation: Observation) -> None:
        try:
            body = encode_observation(observation)
        except UnicodeEncodeError:  # An unpaired surrogate in a sender's text: no report can contain it.
            self._dropped += 1
            return
        counted = self._waiting.get(body)
        if counted is None:
            counted = self._room(body, observation.day, observation.policy_domain)
            if counted is None:
                self._dropped += 1
                return
        counted.count += 1

    async def keep(self, tenant: str, report: IncomingReport) -> bool:
        hosted = await self._directory.domain(report.domain)
        if hosted is None or hosted.tenant.id != tenant:
            return False
        try:
            return await file_report(self._reports, tenant, report, self._clock.now(), self._run_blocking)
        except ReportInFuture as error:
            self._log.warning("report_refused", domain=report.domain, error=str(error))
            return False
        except NotFound:  # The directory caches domains for a while; this one has just been removed.
            return False

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self, interval: float = INTERVAL) -> None:
        """Starts to write every ``interval`` seconds."""
        self._worker = asyncio.create_task(self._run(interval))

    async def close(self) -> None:
        """Writes the remaining counts; the database must still be open. Counts that cannot be written are lost, and the
        log reports them."""
        self._closing.set()
        if self._worker is not None:
            await self._worker
        await self.flush()
        if self._waiting:
            self._log.error("feedback_lost", observations=sum(one.count for one in self._waiting.values()))

    async def flush(self) -> None:
        """Writes the counts. Never raises: counts that cannot be written wait for the next attempt."""
        if self._dropped:
            self._log.warning("feedback_dropped", observations=self._dropped, distinct=self._most)
            self._dropped = 0
        taken, self._waiting, self._octets = self._waiting, {}, 0
        bodies = list(taken)
        for start in range(0, len(bodies), BATCH):
            batch = {body: taken[body] for body in bodies[start : start + BATCH]}
            if not await self._write(batch):
                self._put_back({body: taken[body] for body in bodies[start:]})
                return

    async def _run(self, interval: float) -> None:
        while not self._closing.is_set():
            try:
                await asyncio.wait_for(self._closing.wait(), interval)
            except TimeoutError:
                await self.flush()

    async def _write(self, batch: Mapping[bytes, _Counted]) -> bool:
        """False if the write has to be retried."""
        counts = [
            ObservationCount(one.day, one.policy_domain, observation_key(body), body, one.count)
            for body, one in batch.items()
        ]
        try:
            await self._reports.count(counts)
        except (StoreUnavailable, StorageFull, Conflict) as error:
            if not self._failing:
                self._log.warning("feedback_waits", error=str(error))
            self._failing = True
            return False
        except StoreError as error:
            # A retry would fail again, and everything after it would wait forever.
            self._log.error("feedback_refused", observations=sum(one.count for one in counts), error=str(error))
        self._failing = False
        return True

    def _put_back(self, batch: Mapping[bytes, _Counted]) -> None:
        for body, before in batch.items():
            counted = self._waiting.get(body) or self._room(body, before.day, before.policy_domain)
            if counted is None:
                self._dropped += before.count
            else:
                counted.count += before.count

    def _room(self, body: bytes, day: str, policy_domain: str) -> _Counted | None:
        """A new entry with the count 0; None if there is no room for it."""
        size = len(body)
        if len(self._waiting) >= self._most or size > OBSERVATION_OCTETS or self._octets + size > OBSERVATIONS_OCTETS:
            return None
        self._octets += size
        counted = self._waiting[body] = _Counted(day, policy_domain)
        return counted


async def file_report(
    reports: DmarcReports, tenant: str, report: IncomingReport, received_at: float, run_blocking: RunBlocking
) -> bool:
    """Files a report; False if it is already filed.

    Raises:
        ReportInFuture: its period ends in the future; it is not filed.
        NotFound: the tenant does not host the domain.
        StoreUnavailable
    """
    if report.end > received_at + AHEAD:
        raise ReportInFuture(f"the period of report {report.report_id} ends in the future")
    if len(report.rows) <= INLINE_ROWS:
        body = encode_details(report)
    else:
        body = await run_blocking("dmarc_reports", encode_details, report)
    stored = StoredReport(
        tenant=tenant,
        domain=report.domain,
        organization=report.organization,
        report_id=report.report_id,
        begin=report.begin,
        end=report.end,
        received_at=received_at,
        messages=sum(row.count for row in report.rows),
        passed=sum(row.count for row in report.rows if row.dkim_aligned or row.spf_aligned),
        body=body,
    )
    return await reports.add(stored)
