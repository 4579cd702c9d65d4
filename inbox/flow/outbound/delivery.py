"""One leased job: policy, capacity, ``deliver`` hooks, the attempt, and the consequences of its replies.

:meth:`JobDelivery.run` returns the outcome for the queue to record. It changes nothing itself, except that the sender
is notified before the outcome is recorded: a crash in between repeats the notification, which is recognised, while the
other order could lose it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from inbox.base.clock import Clock
from inbox.base.errors import PolicyError, StoreError
from inbox.flow.judge import Judge
from inbox.flow.outbound.backoff import Backoff
from inbox.flow.outbound.breaker import Circuits
from inbox.flow.outbound.capacity import Limits
from inbox.flow.outbound.conclusion import Conclusion, Ended
from inbox.flow.outbound.gatherer import Gatherer
from inbox.flow.outbound.lines import Lines
from inbox.flow.outbound.outgoing import added_fields, outgoing
from inbox.flow.outbound.ports import (
    Attempted,
    Attempts,
    Contents,
    Exchangers,
    HostReply,
    Hosts,
    Outgoing,
    Way,
)
from inbox.flow.outbound.results import (
    UNKNOWN,
    Ends,
    applied,
    dropped,
    error_of,
    given_up,
    is_unknown,
    is_unreachable,
    pending,
    record,
    with_dropped,
    without_attempt,
)
from inbox.flow.outbound.senders import Sender, Senders, delivery_of
from inbox.mail.content import Content, PrefixedContent
from inbox.plugin.api.context import Delivery
from inbox.plugin.api.services import Log
from inbox.policy.outbound import OutboundPolicy, Smarthost
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Defer, Reject, Via
from inbox.store.ports.queue import Finished, QueuedJob, Sending

#: The longest attempt, in seconds: it bounds the number of hosts tried, and the time that a slow host can take.
ATTEMPT_SECONDS: Final = 1800.0
#: Jobs of one domain that look up its hosts at the same time: an unreachable name server must not occupy the worker.
LOOK_UPS: Final = Limits(64)
CAPACITY: Final = "The limits for these hosts are reached"
CIRCUIT: Final = "These hosts could not be reached several times in a row; they are tried again later"


@dataclass(slots=True)
class Held:
    """A job that the worker holds.

    ``lost``: another worker may have it. ``dot``: the final dot may have been sent. ``unrecorded``: it was not sent,
    because the database could not record it. ``dropped``: the recipients, by address, that a ``deliver`` hook refused.
    ``tenant_name`` is for the log. ``content``: the message, if it is in memory.
    """

    queued: QueuedJob
    content: Content | None = None
    lost: bool = False
    dot: bool = False
    unrecorded: bool = False
    signed: bytes = b""
    tenant_name: str = ""
    dropped: Mapping[str, HostReply] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _PutOff:
    """No attempt was made; the job is due again after this many seconds."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Pace:
    """The objects that decide how often and when a job is tried."""

    lines: Lines
    circuits: Circuits
    backoff: Backoff
    max_attempts: int


class JobDelivery:
    """Delivers jobs; has no state of its own between them but capacity and circuits."""

    def __init__(
        self,
        judge: Judge,
        senders: Senders,
        contents: Contents,
        exchangers: Exchangers,
        attempts: Attempts,
        conclusion: Conclusion,
        sending: Gatherer[Sending],
        pace: Pace,
        clock: Clock,
        log: Log,
        server_name: str,
    ) -> None:
        self._judge = judge
        self._senders = senders
        self._contents = contents
        self._exchangers = exchangers
        self._attempts = attempts
        self._conclusion = conclusion
        self._sending = sending
        self._lines = pace.lines
        self._circuits = pace.circuits
        self._backoff = pace.backoff
        self._max_attempts = pace.max_attempts
        self._clock = clock
        self._log = log
        self._server_name = server_name

    async def run(self, held: Held) -> Finished | None:
        """Delivers a job as far as it can be now. Returns what is to be recorded; None if the lease was lost.

        Raises:
            StoreError: nothing is to be recorded; the job is due again when its lease ends.
        """
        queued = held.queued
        now = self._clock.now()
        ends = Ends(queued.attempts, self._max_attempts, queued.job.expires_at)
        tried = pending(queued.states)
        if not tried:
            return await self._reported(queued)
        try:
            sender: Sender | None = await self._senders.sender(queued)
        except PolicyError as error:
            self._log.error("outbound_policy_unusable", job=queued.job.id, tenant=queued.tenant, error=str(error))
            sender = None
        held.tenant_name = queued.tenant if sender is None else sender.tenant_name
        if now >= queued.job.expires_at:
            ended = Ended(queued.states, tuple(tried), None)
            return await self._concluded(held, None, ended, ends, sender=sender, counts=False)
        if sender is None:
            delay = self._backoff.delay(queued.attempts)
            return Finished(queued, queued.states, delay, "The policy of the sender is unusable", counts=False)
        wait = self._unknown_wait(queued, now)
        if wait > 0:
            self._log.warning("outbound_outcome_unknown", job=queued.job.id, domain=queued.job.domain, delay=wait)
            return Finished(queued, queued.states, wait, "The outcome of the last attempt is unknown", counts=False)
        return await self._attempted(held, sender, tried, ends)

    async def _reported(self, queued: QueuedJob) -> Finished:
        """Only the notification of the sender is missing. While it cannot be stored, nothing is recorded: the job is
        due again when its lease ends, not at once."""
        states = await self._conclusion.of(queued, Ended(queued.states, (), None), None, None)
        if not all(state.reported for state in states):
            raise StoreError("the notification of the sender could not be stored")
        return Finished(queued, states, error=error_of(states), counts=False)

    def _unknown_wait(self, queued: QueuedJob, now: float) -> float:
        """Seconds to wait because an earlier attempt, whose worker ended, may have delivered the message."""
        if queued.dot_sent_at <= 0:
            return 0.0
        full = self._backoff.full_delay(max(1, queued.attempts - 1))
        # A dot in the future was sent before the clock was set back: the wait begins now.
        return full - max(0.0, now - queued.dot_sent_at)

    async def _attempted(self, held: Held, sender: Sender, tried: list[int], ends: Ends) -> Finished | None:
        queued = held.queued
        outbound = sender.policy.outbound.towards(queued.job.domain)
        started = self._clock.now()
        found = None if outbound.smarthost is not None else await self._hosts(queued)
        if isinstance(found, _PutOff):
            return await self._put_off(held, sender, found)
        if isinstance(found, HostReply):
            result: Attempted | _PutOff | None = without_attempt(found, len(tried))
            delivery = None
        else:
            way = self._way(queued, outbound, found)
            delivery, result = await self._along(held, sender, tried, way, outbound)
        if result is None:
            return None
        if isinstance(result, _PutOff):
            return await self._put_off(held, sender, result)
        result = with_dropped(result, [queued.job.recipients[i].address for i in tried], held.dropped)
        states = applied(queued.states, tried, result.results, self._clock.now())
        ended = Ended(states, tuple(tried), result, record(result, started))
        counts = not held.unrecorded
        return await self._concluded(held, delivery, ended, ends, sender=sender, counts=counts)

    async def _hosts(self, queued: QueuedJob) -> Hosts | HostReply | _PutOff:
        domain = queued.job.domain
        line = f"look-up {domain}"
        wait = await self._lines.enter(line, LOOK_UPS, (queued.tenant, queued.job.job_class))
        if wait > 0:
            return _PutOff(wait, "Too many look-ups of this domain at one time")
        try:
            return await self._exchangers.find(domain)
        finally:
            self._lines.leave(line, LOOK_UPS)

    def _way(self, queued: QueuedJob, outbound: OutboundPolicy, hosts: Hosts | None) -> Way:
        sources = (outbound.source_ipv4, outbound.source_ipv6)
        return Way(
            queued.job.domain,
            hosts,
            outbound.smarthost,
            outbound.tls,
            outbound.ehlo_name or self._server_name,
            tuple(str(each) for each in sources if each is not None),
            outbound.messages_per_connection,
            queued.tenant,
        )

    async def _along(
        self, held: Held, sender: Sender, tried: list[int], way: Way, outbound: OutboundPolicy
    ) -> tuple[Delivery | None, Attempted | _PutOff | None]:
        """Attempts this way when its capacity allows, or the way that a ``deliver`` hook chooses."""
        queued = held.queued
        key, limits = _key(way), Limits(outbound.connections, outbound.rate, outbound.rate_seconds)
        turn = (queued.tenant, queued.job.job_class)
        wait = await self._lines.enter(key, limits, turn)
        if wait > 0:
            return None, _PutOff(wait, CAPACITY)
        chosen: Way | None = None
        try:
            wait = self._circuits.wait(key, self._clock.monotonic())
            if wait > 0:
                return None, _PutOff(wait, CIRCUIT)
            reached = False
            try:
                delivery, mail, chosen, refusal = await self._judged(held, sender, tried, way)
                if refusal is not None or mail is None:
                    return delivery, refusal
                if chosen is None:
                    result = await self._send(held, mail, way)
                    reached = self._note(key, result, outbound)
                    return delivery, result
            finally:
                if not reached:
                    self._circuits.abandoned(key)
        finally:
            self._lines.leave(key, limits)
        return delivery, await self._send_elsewhere(held, mail, chosen, limits, outbound)

    async def _send_elsewhere(
        self, held: Held, mail: Outgoing, way: Way, limits: Limits, outbound: OutboundPolicy
    ) -> Attempted | _PutOff | None:
        key = _key(way)
        wait = await self._lines.enter(key, limits, (held.queued.tenant, held.queued.job.job_class))
        if wait > 0:
            return _PutOff(wait, CAPACITY)
        try:
            wait = self._circuits.wait(key, self._clock.monotonic())
            if wait > 0:
                return _PutOff(wait, CIRCUIT)
            result = None
            try:
                result = await self._send(held, mail, way)
            finally:
                if not self._note(key, result, outbound):
                    self._circuits.abandoned(key)
            return result
        finally:
            self._lines.leave(key, limits)

    def _note(self, key: str, result: Attempted | None, outbound: OutboundPolicy) -> bool:
        """Reports the result of an attempt to the circuit. False if it has no information about the hosts."""
        if result is None or all(reply.stage in {"dns", "policy"} for reply in result.results):
            return False
        if not is_unreachable(result):
            if self._circuits.reached(key):
                self._log.info("circuit_closed", hosts=key)
            return True
        limits = outbound.breaker
        if self._circuits.failed(key, self._clock.monotonic(), limits.failures, limits.cool_down):
            self._log.warning("circuit_open", hosts=key, seconds=limits.cool_down, why=result.results[0].text)
        return True

    # --- hooks and message ---

    async def _judged(
        self, held: Held, sender: Sender, tried: list[int], way: Way
    ) -> tuple[Delivery, Outgoing | None, Way | None, Attempted | _PutOff | None]:
        """Runs the ``deliver`` hooks. Returns the mail, and another way if a hook chose one; or a refusal."""
        queued = held.queued
        stored = held.content if held.content is not None else await self._contents.get(queued.blob_path)
        prepended = queued.job.prepended
        content = PrefixedContent(prepended, stored) if prepended else stored
        mx = () if way.hosts is None else way.hosts.names
        delivery = delivery_of(queued, tried, sender.tenant_name, content, mx)
        outcome = await self._judge.judge(Stage.DELIVER, sender.policy, delivery=delivery)
        verdict = outcome.verdict
        if isinstance(verdict, Reject):
            reply = HostReply(verdict.code, verdict.enhanced, verdict.text, "policy")
            return delivery, None, None, without_attempt(reply, len(tried))
        if isinstance(verdict, Defer):
            self._log.info("outbound_deferred", job=queued.job.id, by=outcome.decided_by, text=verdict.text)
            return delivery, None, None, _PutOff(self._backoff.delay(queued.attempts), verdict.text)
        held.dropped = dropped(outcome.edits)
        tried = [i for i in tried if queued.job.recipients[i].address not in held.dropped]
        if not tried:
            return delivery, None, None, Attempted(())
        held.signed = queued.signed or added_fields(outcome.edits)
        chosen = next((_via(way, edit) for edit in outcome.edits if isinstance(edit, Via)), None)
        return delivery, outgoing(queued, tried, content, held.signed), chosen, None

    async def _send(self, held: Held, mail: Outgoing, way: Way) -> Attempted | None:
        """One attempt, with its watchdog. None if the lease was lost."""
        started = self._clock.monotonic()

        async def before_dot() -> bool:
            if held.lost:
                return False
            try:
                is_held = await self._sending.put(held.queued.job.id, Sending(held.queued, held.signed))
            except StoreError as error:
                self._log.error("outbound_dot_not_recorded", job=held.queued.job.id, error=str(error))
                held.unrecorded = True
                return False
            held.lost = not is_held
            held.dot = is_held
            return is_held

        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                result = await self._attempts.attempt(mail, way, before_dot)
        except TimeoutError:
            self._log.error("outbound_attempt_stalled", job=held.queued.job.id, domain=way.domain)
            reply = UNKNOWN if held.dot else HostReply(0, "4.4.2", "The attempt took too long", "data")
            result = replace(without_attempt(reply, len(mail.recipients)), dot_sent=held.dot)
            result = replace(result, seconds=self._clock.monotonic() - started)
        return None if held.lost else result

    # --- consequences ---

    async def _put_off(self, held: Held, sender: Sender, put_off: _PutOff) -> Finished:
        queued = held.queued
        states = await self._conclusion.of(queued, Ended(queued.states, (), None), sender, None)
        # With jitter: jobs that were deferred together do not all return at the same moment.
        delay = put_off.seconds * (1 + self._backoff.chance())
        return Finished(queued, states, delay, put_off.why, counts=False)

    async def _concluded(
        self,
        held: Held,
        delivery: Delivery | None,
        ended: Ended,
        ends: Ends,
        *,
        sender: Sender | None = None,
        counts: bool = True,
    ) -> Finished:
        queued, now = held.queued, self._clock.now()
        why = ends.over(now) if counts or now >= ends.expires_at else ""
        if why:
            ended = replace(ended, states=given_up(ended.states, why, now))
        attempted = ended.attempted
        unknown = attempted is not None and is_unknown(attempted)
        delay = self._backoff.full_delay(queued.attempts) if unknown else self._backoff.delay(queued.attempts)
        states = await self._conclusion.of(queued, ended, sender, delivery)
        return Finished(queued, states, delay, error_of(states), counts, ended.record)


def _key(way: Way) -> str:
    """Limits and circuits are those of a set of hosts."""
    if way.smarthost is not None:
        return f"{way.smarthost.host}:{way.smarthost.port}"
    return way.domain if way.hosts is None else way.hosts.key


def _via(way: Way, via: Via) -> Way:
    smarthost = Smarthost(host=via.host, port=via.port, protocol="lmtp" if via.lmtp else "smtp")
    return replace(
        way,
        hosts=None,
        smarthost=smarthost,
        tls=via.tls or way.tls,
        sources=(via.source,) if via.source else way.sources,
    )
