"""One attempt of a leased job: the record that its final dot is about to be sent, a connection, and the dialog."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.flow.outbound import attempt
from inbox.flow.outbound.backoff import Backoff
from inbox.flow.outbound.gatherer import Backlog, Gatherer
from inbox.flow.outbound.ports import Attempted, Attempts, HostReply, Outgoing, Way
from inbox.flow.outbound.results import UNKNOWN, UNRECORDED, is_unreachable, without_attempt
from inbox.flow.outbound.slots import Slots
from inbox.mail.content import Content
from inbox.plugin.api.services import Log
from inbox.store.ports.queue import Finished, QueuedJob, Sending

#: The longest attempt, in seconds. It ends by itself before, with the results that it has; this is the last resort.
ATTEMPT_SECONDS: Final = attempt.ATTEMPT_SECONDS + 60
#: Seconds for which the record of a dot is valid that was made before there was a connection. It is made again after
#: that, with a look at the lease: the process may have been suspended.
FRESH_SECONDS: Final = 2.0
#: The part of a lease that may pass before it is extended.
FRESH_LEASE: Final = 1 / 3
_NO_BACKOFF: Final = Backoff(0, 0)


@dataclass(slots=True)
class Held:
    """A job that the worker holds.

    ``lost``: another worker may have it. ``dot``: the final dot may have been sent. ``unrecorded``: it was not sent,
    because the database could not record it. ``recorded_at``: the monotonic time of the record that the dot is about
    to be sent; negative if there is none. ``dropped``: the recipients, by address, that a ``deliver`` hook refused.
    ``tenant_name`` is for the log. ``content``: the message, if it is in memory. ``until``: the lease lasts at least
    until then, by the monotonic clock. ``lease``: the seconds for which it is extended. ``backoff``: the waits of the
    policy for its destination.
    """

    queued: QueuedJob
    content: Content | None = None
    until: float = math.inf
    lease: float = 0.0
    lost: bool = False
    dot: bool = False
    unrecorded: bool = False
    recorded_at: float = -1.0
    signed: bytes = b""
    tenant_name: str = ""
    dropped: Mapping[str, HostReply] = field(default_factory=dict)
    backoff: Backoff = _NO_BACKOFF

    def is_old(self, now: float) -> bool:
        """Whether the lease is to be extended."""
        return self.until - now <= self.lease * (1 - FRESH_LEASE)


class JobRunner(Protocol):
    """The delivery of jobs (:meth:`inbox.flow.outbound.delivery.JobDelivery.run`)."""

    async def run(self, held: Held) -> Finished | None: ...


class Transmission:
    """Sends messages over as many connections as a set of hosts may have.

    Args:
        sending: records final dots in batches.
        backlog: outcomes that are not recorded yet; no dot is sent while there are too many.
    """

    def __init__(
        self, attempts: Attempts, sending: Gatherer[Sending], backlog: Backlog, clock: Clock, log: Log
    ) -> None:
        self._attempts = attempts
        self._sending = sending
        self._backlog = backlog
        self._clock = clock
        self._log = log
        self.slots = Slots()

    async def send(self, held: Held, mail: Outgoing, way: Way, key: str, connections: int) -> Attempted | None:
        """One attempt, with its watchdog. None if the lease was lost."""
        if self.slots.is_healthy(key) and not await self._record(held):
            return None if held.lost else without_attempt(UNRECORDED, len(mail.recipients))
        async with self.slots.taken(key, connections):
            result = await self._watched(held, mail, way)
        if result.dot_sent or is_unreachable(result):
            self.slots.note(key, healthy=result.dot_sent)
        return None if held.lost else result

    async def _watched(self, held: Held, mail: Outgoing, way: Way) -> Attempted:
        started = self._clock.monotonic()

        async def before_dot() -> bool:
            await self._backlog.room()
            if held.lost:
                return False
            fresh = 0.0 <= held.recorded_at >= self._clock.monotonic() - FRESH_SECONDS
            if not (fresh or await self._record(held)):
                return False
            # This process may have been suspended since the database answered: then another worker may have the job.
            held.lost = self._clock.monotonic() >= held.until
            held.dot = not held.lost
            return held.dot

        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                return await self._attempts.attempt(mail, way, before_dot)
        except TimeoutError:
            self._log.error("outbound_attempt_stalled", job=held.queued.job.id, domain=way.domain)
            reply = UNKNOWN if held.dot else HostReply(0, "4.4.2", "The attempt took too long", "data")
            result = replace(without_attempt(reply, len(mail.recipients)), dot_sent=held.dot)
            return replace(result, seconds=self._clock.monotonic() - started)

    async def _record(self, held: Held) -> bool:
        """Records that the dot is about to be sent. False if the lease was lost, or nothing could be recorded."""
        now = self._clock.monotonic()
        # The outcome has a whole lease to be recorded, however busy the database is.
        longer = held.lease if held.is_old(now) else 0.0
        try:
            is_held = await self._sending.put(held.queued.job.id, Sending(held.queued, held.signed, longer))
        except StoreError as error:
            self._log.error("outbound_dot_not_recorded", job=held.queued.job.id, error=str(error))
            held.unrecorded = True
            return False
        held.lost = held.lost or not is_held
        held.recorded_at = now
        if is_held:
            held.until = max(held.until, now + longer)
        return not held.lost
