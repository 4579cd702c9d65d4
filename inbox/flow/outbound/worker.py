"""The worker of the outbound queue: leases jobs that are due, delivers them, and records the outcome.

One worker runs in each process; any number of processes and instances share a queue. A worker holds a bounded number
of jobs, however many are queued. It renews their leases while it works; a job whose lease was lost is dropped, unless
its final dot may have been sent. Each outcome is recorded with the fence of its lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from inbox.base.clock import Clock
from inbox.base.errors import Conflict, StorageFull, StoreError, StoreUnavailable
from inbox.flow.outbound.delivery import CIRCUIT, reason_of
from inbox.flow.outbound.gatherer import Backlog, Gatherer
from inbox.flow.outbound.lines import Places
from inbox.flow.outbound.meters import OutboundMeters
from inbox.flow.outbound.ports import Leases
from inbox.flow.outbound.results import pending
from inbox.flow.outbound.transmission import Held, JobRunner
from inbox.flow.tracing import Tracer
from inbox.mail.content import Content
from inbox.plugin.api.services import Log
from inbox.store.ports.changes import QUEUE, Changes
from inbox.store.ports.queue import MOST_JOBS, Finished, Lane, Lease, QueuedJob

#: Maximum number of jobs that one worker holds. A line for one set of hosts takes half of what is left, and must have
#: room for MOST_HANDED and a claim: a job that finds none waits a second or two.
MOST_HELD: Final = 2000
#: With fewer jobs than this, it immediately claims as many as the settings allow.
FEW_HELD: Final = 150
#: Up to this many jobs, it takes new ones from the process that accepts them: to store, claim and read them again costs
#: more than all of the delivery.
MOST_HANDED: Final = 300
#: Seconds between claims for new jobs while the worker has enough to do.
PAUSE_SECONDS: Final = 0.1
#: Outcomes that wait to be recorded; with more, no final dot is sent.
MOST_UNRECORDED: Final = 50
#: Leases that one transaction renews.
RENEWED_AT_ONCE: Final = 100
#: The part of a lease between two renewals. A lease is renewed when a third has passed: four renewals may fail.
RENEWED_EVERY: Final = 1 / 6
#: Seconds until an outcome that the database did not accept is written again.
RETRY_SECONDS: Final = 1.0
#: Domains and classes, at most, that claims avoid because their circuit is open, and for how many seconds.
MOST_AVOIDED: Final = 1000
AVOIDED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """``SMTP_OUTBOUND_QUEUE_*``: seconds between checks of the queue, jobs per claim, seconds of a lease."""

    poll: float = 2.0
    batch: int = 100
    lease: float = 120.0


class QueueWorker:
    """Works on the queue until it is stopped.

    Args:
        owner: the name of this worker in leases, different for each process and each start.
        finishing: records outcomes in batches.
        backlog: the outcomes that wait for it; ``delivery`` has the same.
        changes: wakes the worker for new jobs of any process; without it, only :meth:`wake` and the poll do.
    """

    def __init__(
        self,
        queue: Leases,
        delivery: JobRunner,
        finishing: Gatherer[Finished],
        backlog: Backlog,
        places: Places,
        settings: WorkerSettings,
        clock: Clock,
        log: Log,
        owner: str,
        changes: Changes | None = None,
    ) -> None:
        self._queue = queue
        #: The program sets both; without a tracer, nothing is traced.
        self.meters = OutboundMeters()
        self.tracer: Tracer | None = None
        self._changes = changes
        self._delivery = delivery
        self._finishing = finishing
        self._backlog = backlog
        self._places = places
        self._settings = settings
        self._clock = clock
        self._log = log
        self._owner = owner
        self._held: dict[asyncio.Task[None], Held] = {}
        #: The same by job, and the lock of the claim under way.
        self._jobs: dict[str, Held] = {}
        self._claiming = asyncio.Lock()
        self._wakes = asyncio.Event()
        self._stopping = False
        self._reachable = True
        #: The jobs of the last claim, and those that ended since: attempted, or deferred without an attempt.
        self._claimed = 0
        self._attempted = 0
        self._put_off = 0
        #: Domains and classes whose jobs would only wait, and until when, by the monotonic clock.
        self._avoided: dict[Lane, float] = {}

    def __len__(self) -> int:
        return len(self._held)

    def wake(self) -> None:
        """A job may be due: check the queue now."""
        self._wakes.set()

    async def run(self) -> None:
        """Runs until :meth:`stop`. Does not raise because of the database."""
        beside = [asyncio.create_task(self._renew_for_ever())]
        if self._changes is not None:
            beside.append(asyncio.create_task(self._follow(self._changes)))
        try:
            while not self._stopping:
                await self._step()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)

    async def stop(self, seconds: float) -> None:
        """Claims no more, lets attempts end within ``seconds``, then drops the rest: their leases expire."""
        self._stopping = True
        self.wake()
        if self._held:
            await asyncio.wait(list(self._held), timeout=seconds)
        rest = list(self._held)
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)

    async def _follow(self, changes: Changes) -> None:
        subscription = changes.subscribe([QUEUE])
        try:
            while True:
                await subscription.wait()
                self.wake()
        finally:
            subscription.close()

    # --- claiming ---

    async def _step(self) -> None:
        # While outcomes wait for a busy database, further jobs would only wait with them, and their leases pass.
        await self._backlog.room()
        if self._stopping:
            return
        self._wakes.clear()
        limit = self._limit()
        until = self._lease_end()
        async with self._claiming:
            leased = await self._lease(limit) if limit > 0 else []
            self._claimed, self._attempted, self._put_off = len(leased), 0, 0
            for queued in leased:
                known = self._jobs.get(queued.job.id)
                if known is not None and not known.lost and queued.fence == known.queued.fence + 1:
                    # The lease ended while this worker had the job, and no other had it since: the work continues.
                    known.queued, known.until = queued, until
                else:
                    self._begin(Held(queued, until=until))
        await asyncio.sleep(0)
        if not self._may_claim() and not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll):
                    await self._wakes.wait()
            # New jobs arrive all the time on a busy server: most of them would only be deferred.
            if len(self._held) > FEW_HELD and not self._may_claim():
                await asyncio.sleep(PAUSE_SECONDS)

    def _limit(self) -> int:
        """The jobs to claim: as many as were attempted since the last claim. If others had to be deferred, twice as
        many: tenants and domains take turns in a claim, so those that cannot proceed now take a share of it."""
        most = min(self._settings.batch, MOST_JOBS, max(1, self._places.free // 4), self._places.free)
        if len(self._held) <= FEW_HELD:
            return most
        return min(most, 10 + 2 * self._attempted if self._put_off else max(10, self._attempted))

    def _may_claim(self) -> bool:
        """Whether to claim before the next poll. A claim that returned nothing, or only jobs that cannot proceed now,
        is not repeated immediately."""
        if self._claimed == 0 or self._places.free <= 0:
            return False
        if len(self._held) <= FEW_HELD:
            return self._attempted > 0 or self._put_off == 0
        return self._attempted > 0 and 2 * (self._attempted + self._put_off) >= self._claimed

    async def _lease(self, limit: int) -> list[QueuedJob]:
        try:
            avoided = frozenset(self._avoided_now())
            leased = list(await self._queue.lease(self._owner, limit, self._settings.lease, avoided))
        except StoreError as error:
            self._unreachable(error)
            return []
        # A defect must not end the worker: other jobs may be claimed at the next poll.
        except Exception:  # noqa: BLE001
            self._log.error("outbound_claim_failed", exc_info=True)
            return []
        self._reached()
        return leased

    def _avoided_now(self) -> Iterable[Lane]:
        now = self._clock.monotonic()
        self._avoided = {lane: until for lane, until in self._avoided.items() if until > now}
        return self._avoided

    def _note(self, finished: Finished, *, put_off: bool) -> None:
        """Claims avoid the other jobs of a destination whose circuit is open: each would cost as much as a delivery."""
        job = finished.job.job
        lane = job.domain, job.job_class
        if not put_off:
            self._avoided.pop(lane, None)
        elif finished.error == CIRCUIT and len(self._avoided) < MOST_AVOIDED:
            self._avoided[lane] = self._clock.monotonic() + min(finished.delay, AVOIDED_SECONDS)

    def _reached(self) -> None:
        if not self._reachable:
            self._reachable = True
            self._log.info("outbound_queue_reachable")

    def _unreachable(self, error: StoreError) -> None:
        if self._reachable:
            self._reachable = False
            self._log.error("outbound_queue_unreachable", error=str(error), retries_every=self._settings.poll)

    def spare_lease(self, jobs: int) -> Lease | None:
        """A lease for this number of new jobs, which :meth:`take` then gets; None while the worker is busy or stops."""
        if self._stopping or self._backlog.is_full or len(self._held) + jobs > MOST_HANDED:
            return None
        return Lease(self._owner, self._clock.now(), self._settings.lease)

    def take(self, queued: QueuedJob, content: Content | None = None) -> None:
        """Starts a job that this worker has leased; ``content`` is its message, if that is in memory."""
        # The lease began before the commit, which may have taken long.
        left = min(self._settings.lease, queued.lease_until - self._clock.now())
        self._begin(Held(queued, content, self._clock.monotonic() + left))

    def _begin(self, held: Held) -> None:
        held.lease = self._settings.lease
        task = asyncio.create_task(self._work(held))
        self._held[task] = self._jobs[held.queued.job.id] = held
        self._places.taken += 1
        task.add_done_callback(self._ended)

    def _lease_end(self) -> float:
        """The end of a lease that is taken or renewed now, by the monotonic clock; the database's is not earlier."""
        return self._clock.monotonic() + self._settings.lease

    def _ended(self, task: asyncio.Task[None]) -> None:
        held = self._held.pop(task)
        if self._jobs.get(held.queued.job.id) is held:
            del self._jobs[held.queued.job.id]
        self._places.taken -= 1
        if task.cancelled() and held.lost:
            self._lost(held)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("outbound_job_failed", job=held.queued.job.id, exc_info=error)
        if self._may_claim():
            self.wake()

    # --- one job ---

    async def _work(self, held: Held) -> None:
        try:
            finished = await self._delivery.run(held)
        except StoreError as error:
            self._log.error("outbound_job_interrupted", job=held.queued.job.id, error=str(error))
            await self._interrupted(held, error)
            return
        if finished is None:
            self._lost(held)
            return
        put_off = finished.attempt is None and bool(pending(finished.states))
        self._note(finished, put_off=put_off)
        if put_off:
            self._put_off += 1
            self.meters.put_off(reason_of(finished.error))
        else:
            self._attempted += 1
        if await self._finish(held, finished):
            self._tell(finished, held)
        else:
            self._lost(held)

    def _lost(self, held: Held) -> None:
        """Another worker may have the job; what this one found out is not recorded."""
        self.meters.lost(held.queued.job.job_class)
        self._log.warning("outbound_lease_lost", job=held.queued.job.id, dot_sent=held.dot)

    async def _interrupted(self, held: Held, error: StoreError) -> None:
        """Nothing was decided, for instance because the blob store is unavailable. Without a record each lease would
        count as an attempt. A job whose dot may have been sent, or whose sender must be notified, is due when its
        lease ends."""
        self._put_off += 1
        self.meters.put_off("store")
        if not held.dot and pending(held.queued.states):
            states = held.queued.states
            await self._finish(held, Finished(held.queued, states, self._settings.lease, str(error), counts=False))

    async def _finish(self, held: Held, finished: Finished) -> bool:
        """Records the outcome, however long the database is unavailable, full or busy: without it, the message
        is sent again."""
        with self._backlog:
            return await self._recorded(held, finished)

    async def _recorded(self, held: Held, finished: Finished) -> bool:
        while True:
            leased = held.queued
            if finished.job is not leased:
                finished = replace(finished, job=leased)
            try:
                is_held = await self._finishing.put(finished.job.job.id, finished)
            except (StoreUnavailable, StorageFull, Conflict) as error:
                self._unreachable(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._reached()
                if is_held:
                    return True
                async with self._claiming:  # A claim under way may have leased the job again.
                    if held.queued is leased:
                        return False

    def _tell(self, finished: Finished, held: Held) -> None:
        job, attempt = finished.job, finished.attempt
        if attempt is None and pending(finished.states):
            return
        failed = sum(state.status == "failed" for state in finished.states)
        outcome = "retry" if pending(finished.states) else "dead_letter" if failed else "success"
        self._log.info(
            "smtp.egress.queue",
            outcome=outcome,
            job=job.job.id,
            transaction=job.job.transaction,
            tenant=held.tenant_name or job.tenant,
            domain=job.job.domain,
            attempt=job.attempts,
            delivered=sum(state.status == "delivered" for state in finished.states),
            failed=failed,
            host="" if attempt is None else attempt.host,
            stage="" if attempt is None else attempt.stage,
            code=0 if attempt is None else attempt.code,
            reply="" if attempt is None else attempt.text,
            **({"delay": round(finished.delay, 1)} if outcome == "retry" else {}),
        )
        now = self._clock.now()
        self.meters.finished(finished, now)
        if self.tracer is not None:
            self.tracer.finished(finished, held.tenant_name or job.tenant, outcome, now)

    # --- leases ---

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease * RENEWED_EVERY)
            await self.renew()

    async def renew(self) -> None:
        """Renews the leases of which a third has passed. Drops the jobs that other workers may have, unless their dot
        may have been sent."""
        # Most jobs end before that. Those whose leases end first come first, as a busy database may take long.
        now = self._clock.monotonic()
        old = [(task, held) for task, held in self._held.items() if held.is_old(now)]
        old.sort(key=lambda each: each[1].until)
        for begin in range(0, len(old), RENEWED_AT_ONCE):
            await self._renew(old[begin : begin + RENEWED_AT_ONCE])

    async def _renew(self, jobs: Sequence[tuple[asyncio.Task[None], Held]]) -> None:
        until, leased = self._lease_end(), [held.queued for _, held in jobs]
        try:
            renewed = await self._queue.renew(leased, self._settings.lease)
        except StoreError as error:
            # No other worker can claim them while the database is unavailable; the fence decides afterwards.
            self._unreachable(error)
            return
        for (task, held), queued in zip(jobs, leased, strict=True):
            if held.queued is not queued:
                continue  # A claim has leased the job again in the meantime.
            if queued.job.id in renewed:
                held.until = until
            elif not task.done():
                held.lost = True
                if not held.dot:
                    task.cancel()
