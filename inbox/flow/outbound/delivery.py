"""One leased job: policy, capacity, ``deliver`` hooks, the attempt, and the consequences of its replies.

:meth:`JobDelivery.run` returns the outcome for the queue to record. It changes nothing itself, except that the sender
is notified before the outcome is recorded: a crash in between repeats the notification, which is recognised, while the
other order could lose it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from inbox.base.clock import Clock
from inbox.base.errors import PolicyError, StoreError
from inbox.flow.judge import Judge
from inbox.flow.outbound.backoff import Backoff
from inbox.flow.outbound.breaker import Circuits
from inbox.flow.outbound.capacity import Limits
from inbox.flow.outbound.conclusion import Conclusion, Ended
from inbox.flow.outbound.conversion import encoded
from inbox.flow.outbound.gatherer import Backlog, Gatherer
from inbox.flow.outbound.leaps import ExpiryTime
from inbox.flow.outbound.lines import Lines
from inbox.flow.outbound.outgoing import added_fields, outgoing
from inbox.flow.outbound.ports import Attempted, Attempts, Contents, Exchangers, HostReply, Hosts, Outgoing, Way
from inbox.flow.outbound.results import (
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
from inbox.flow.outbound.transmission import Held, Transmission
from inbox.flow.outbound.ways import circuit_of, hosts_of, way_of, way_via
from inbox.mail.content import Content, PrefixedContent
from inbox.plugin.api.context import Delivery
from inbox.plugin.api.services import Log
from inbox.policy.outbound import OutboundPolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Defer, Reject, Via
from inbox.store.ports.queue import Finished, QueuedJob, Sending

#: Jobs of one domain that look up its hosts at the same time: an unreachable name server must not occupy the worker.
LOOK_UPS: Final = Limits(64)
#: Seconds until a job is tried again whose sender's policy is unusable: an operator has to correct it.
POLICY_SECONDS: Final = 300.0
#: Seconds until a job is tried again because the DNS server is broken.
DNS_SECONDS: Final = 120.0
BROKEN_DNS: Final = "The DNS server is broken"
CAPACITY: Final = "The limits for these hosts are reached"
BUSY_DNS: Final = "Too many concurrent look-ups of this domain"
UNKNOWN_OUTCOME: Final = "The outcome of the last attempt is unknown"
CIRCUIT: Final = "These hosts could not be reached several times in a row; they are tried again later"
_REASONS: Final = {
    CAPACITY: "capacity",
    CIRCUIT: "circuit",
    BUSY_DNS: "dns",
    BROKEN_DNS: "dns",
    UNKNOWN_OUTCOME: "unknown_outcome",
}


@dataclass(frozen=True, slots=True)
class _Postponed:
    """No attempt was made; the job is due again after this many seconds."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Pace:
    """The objects that decide how often and when a job is tried."""

    lines: Lines
    circuits: Circuits
    backoff: Backoff
    backlog: Backlog
    max_attempts: int


class JobDelivery:
    """Delivers jobs. Between them, it remembers only capacity, circuits, and whether DNS and clock are right."""

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
        self._transmission = Transmission(attempts, sending, pace.backlog, clock, log)
        self._conclusion = conclusion
        self._lines = pace.lines
        self._circuits = pace.circuits
        self._backoff = pace.backoff
        self._max_attempts = pace.max_attempts
        self._clock = clock
        self._log = log
        self._server_name = server_name
        self._dns_fault = ""
        self._expiry = ExpiryTime(clock, log)

    async def run(self, held: Held) -> Finished | None:
        """Delivers a job as far as it can be now. Returns what is to be recorded; None if the lease was lost.

        Raises:
            StoreError: nothing is to be recorded; the job is due again when its lease ends.
        """
        queued = held.queued
        tried = pending(queued.states)
        if not tried:
            return await self._reported(queued)
        try:
            sender: Sender | None = await self._senders.sender(queued)
        except PolicyError as error:
            self._log.error("outbound_policy_unusable", job=queued.job.id, tenant=queued.tenant, error=str(error))
            sender = None
        held.tenant_name = queued.tenant if sender is None else sender.tenant_name
        outbound = OutboundPolicy() if sender is None else sender.policy.outbound.towards(queued.job.domain)
        held.backoff = self._backoff.under(outbound.retry)
        ends = Ends(queued.attempts, outbound.retry.max_attempts or self._max_attempts, queued.job.expires_at)
        if self._expiry.now() >= queued.job.expires_at:
            ended = Ended(queued.states, tuple(tried), None)
            return await self._concluded(held, None, ended, ends, sender=sender, counts=False)
        if sender is None:
            delay = max(held.backoff.delay(queued.attempts), POLICY_SECONDS * (1 + self._backoff.chance()))
            return Finished(queued, queued.states, delay, "The policy of the sender is unusable", counts=False)
        wait = _unknown_wait(queued, held.backoff)
        if wait > 0:
            self._log.warning("outbound_outcome_unknown", job=queued.job.id, domain=queued.job.domain, delay=wait)
            return Finished(queued, queued.states, wait, UNKNOWN_OUTCOME, counts=False)
        return await self._attempted(held, sender, tried, ends, outbound)

    async def _reported(self, queued: QueuedJob) -> Finished:
        """Only the notification of the sender is missing. While it cannot be stored, nothing is recorded: the job is
        due again when its lease ends, not at once."""
        states = await self._conclusion.of(queued, Ended(queued.states, (), None), None, None)
        if not all(state.reported for state in states):
            raise StoreError("the notification of the sender could not be stored")
        return Finished(queued, states, error=error_of(states), counts=False)

    async def _attempted(
        self, held: Held, sender: Sender, tried: list[int], ends: Ends, outbound: OutboundPolicy
    ) -> Finished | None:
        queued = held.queued
        started = self._clock.now()
        found = None if outbound.smarthost is not None else await self._hosts(queued)
        if isinstance(found, _Postponed):
            return await self._put_off(held, sender, found)
        if isinstance(found, HostReply):
            result: Attempted | _Postponed | None = without_attempt(found, len(tried))
            delivery = None
        else:
            way = way_of(queued, outbound, found, self._server_name)
            delivery, result = await self._along(held, sender, tried, way, outbound)
        if result is None:
            return None
        if isinstance(result, _Postponed):
            return await self._put_off(held, sender, result)
        if _needs_dns(result) and (fault := await self._exchangers.fault()):
            self._note_dns(fault)
            return await self._put_off(held, sender, _Postponed(DNS_SECONDS, f"{BROKEN_DNS}: {fault}"))
        result = with_dropped(result, [queued.job.recipients[i].address for i in tried], held.dropped)
        states = applied(queued.states, tried, result.results, self._clock.now())
        ended = Ended(states, tuple(tried), result, record(result, started))
        counts = not held.unrecorded
        return await self._concluded(held, delivery, ended, ends, sender=sender, counts=counts)

    async def _hosts(self, queued: QueuedJob) -> Hosts | HostReply | _Postponed:
        domain = queued.job.domain
        line = f"look-up {domain}"
        wait = await self._lines.enter(line, LOOK_UPS, (queued.tenant, queued.job.job_class))
        if wait > 0:
            return _Postponed(wait, BUSY_DNS)
        try:
            found = await self._exchangers.find(domain)
        finally:
            self._lines.leave(line, LOOK_UPS)
        if isinstance(found, Hosts):
            self._note_dns("")
        return found

    def _note_dns(self, fault: str) -> None:
        """Logs that the DNS server is broken, once, and that it works again."""
        if fault and not self._dns_fault:
            self._log.error("outbound_dns_broken", error=fault, retries_every=DNS_SECONDS)
        elif self._dns_fault and not fault:
            self._log.info("outbound_dns_works")
        self._dns_fault = fault

    async def _along(
        self, held: Held, sender: Sender, tried: list[int], way: Way, outbound: OutboundPolicy
    ) -> tuple[Delivery | None, Attempted | _Postponed | None]:
        """Attempts this way when its capacity allows, or the way that a ``deliver`` hook chooses."""
        queued = held.queued
        key, circuit = hosts_of(way), circuit_of(way)
        limits = self._limits(key, outbound)
        turn = (queued.tenant, queued.job.job_class)
        wait = await self._lines.enter(key, limits, turn)
        if wait > 0:
            return None, _Postponed(wait, CAPACITY)
        chosen: Way | None = None
        try:
            wait = self._circuits.wait(circuit, self._clock.monotonic())
            if wait > 0:
                return None, _Postponed(wait, CIRCUIT)
            reached = False
            try:
                delivery, mail, chosen, refusal = await self._judged(held, sender, tried, way)
                if refusal is not None or mail is None:
                    return delivery, refusal
                if chosen is None:
                    result = await self._transmission.send(held, mail, way, key, outbound.connections)
                    reached = self._note(circuit, result, outbound)
                    return delivery, result
            finally:
                if not reached:
                    self._circuits.abandoned(circuit)
        finally:
            self._lines.leave(key, limits)
        return delivery, await self._send_elsewhere(held, mail, chosen, outbound)

    def _limits(self, key: str, outbound: OutboundPolicy) -> Limits:
        """Limits of the jobs under way: those that use a connection, and those that are prepared for healthy hosts."""
        ahead = outbound.connections if self._transmission.slots.is_healthy(key) else 0
        return Limits(outbound.connections + ahead, outbound.rate, outbound.rate_seconds)

    async def _send_elsewhere(
        self, held: Held, mail: Outgoing, way: Way, outbound: OutboundPolicy
    ) -> Attempted | _Postponed | None:
        key, circuit = hosts_of(way), circuit_of(way)
        limits = self._limits(key, outbound)
        wait = await self._lines.enter(key, limits, (held.queued.tenant, held.queued.job.job_class))
        if wait > 0:
            return _Postponed(wait, CAPACITY)
        try:
            wait = self._circuits.wait(circuit, self._clock.monotonic())
            if wait > 0:
                return _Postponed(wait, CIRCUIT)
            result = None
            try:
                result = await self._transmission.send(held, mail, way, key, outbound.connections)
            finally:
                if not self._note(circuit, result, outbound):
                    self._circuits.abandoned(circuit)
            return result
        finally:
            self._lines.leave(key, limits)

    def _note(self, circuit: str, result: Attempted | None, outbound: OutboundPolicy) -> bool:
        """Reports the result of an attempt to the circuit. False if it has no information about the hosts."""
        if result is None or all(reply.stage in {"dns", "policy"} for reply in result.results):
            return False
        if not is_unreachable(result):
            if self._circuits.reached(circuit):
                self._log.info("circuit_closed", hosts=circuit)
            return True
        limits = outbound.breaker
        if self._circuits.failed(circuit, self._clock.monotonic(), limits.failures, limits.cool_down):
            self._log.warning("circuit_open", hosts=circuit, seconds=limits.cool_down, why=result.results[0].text)
        return True

    # --- hooks and message ---

    async def _judged(
        self, held: Held, sender: Sender, tried: list[int], way: Way
    ) -> tuple[Delivery, Outgoing | None, Way | None, Attempted | _Postponed | None]:
        """Runs the ``deliver`` hooks. Returns the mail, and another way if a hook chose one; or a refusal."""
        queued = held.queued
        stored = held.content if held.content is not None else await self._stored(queued)
        prepended = queued.job.prepended
        content = PrefixedContent(prepended, stored) if prepended else stored
        mx = () if way.hosts is None else way.hosts.names
        delivery = delivery_of(queued, tried, sender.tenant_name, content, mx)
        outcome = await self._judge.judge(Stage.DELIVER, sender.policy, delivery=delivery)
        verdict = outcome.verdict
        if isinstance(verdict, Reject):
            reply = HostReply(verdict.code, verdict.enhanced, verdict.text, "policy")
            return delivery, None, None, without_attempt(reply, len(tried))
        if isinstance(verdict, Defer) and any(each.entry.name == outcome.decided_by for each in outcome.failures):
            # A plugin failed, no rule throttles: this counts as an attempt.
            reply = HostReply(verdict.code, verdict.enhanced, verdict.text, "policy")
            return delivery, None, None, without_attempt(reply, len(tried))
        if isinstance(verdict, Defer):
            self._log.info("outbound_deferred", job=queued.job.id, by=outcome.decided_by, text=verdict.text)
            return delivery, None, None, _Postponed(held.backoff.delay(queued.attempts), verdict.text)
        held.dropped = dropped(outcome.edits)
        tried = [i for i in tried if queued.job.recipients[i].address not in held.dropped]
        if not tried:
            return delivery, None, None, Attempted(())
        held.signed = queued.signed or added_fields(outcome.edits)
        chosen = next((way_via(way, edit) for edit in outcome.edits if isinstance(edit, Via)), None)
        mode = sender.policy.outbound.towards(queued.job.domain).to_seven_bit
        convert = None
        if mode != "never":
            convert = partial(encoded, self._judge, sender.policy, delivery, content, even_signed=mode == "always")
        return delivery, outgoing(queued, tried, content, held.signed, sender.reverse_path, convert), chosen, None

    async def _stored(self, queued: QueuedJob) -> Content:
        """Reads the message.

        Raises:
            StoreError: it cannot be read, or its blob was cut or overwritten: a part of a message is never sent.
        """
        stored = await self._contents.get(queued.blob_path)
        if queued.size and stored.size != queued.size:
            raise StoreError(
                f"the blob {queued.blob_path} has {stored.size} octets instead of {queued.size}: restore it from a "
                "backup, or drop the job"
            )
        return stored

    # --- consequences ---

    async def _put_off(self, held: Held, sender: Sender, put_off: _Postponed) -> Finished:
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
        queued, expiry = held.queued, self._expiry.now()
        why = ends.over(expiry) if counts or expiry >= ends.expires_at else ""
        if why:
            ended = replace(ended, states=given_up(ended.states, why, self._clock.now()))
        attempted = ended.attempted
        unknown = attempted is not None and is_unknown(attempted)
        delay = held.backoff.full_delay(queued.attempts) if unknown else held.backoff.delay(queued.attempts)
        states = await self._conclusion.of(queued, ended, sender, delivery)
        return Finished(queued, states, delay, error_of(states), counts, ended.record)


def reason_of(error: str) -> str:
    """The label of metrics for a job that was deferred without an attempt, by the text of the outcome."""
    return _REASONS.get(error.partition(":")[0], "policy")


def _needs_dns(result: Attempted) -> bool:
    """Whether the attempt failed because names could not be looked up now."""
    return bool(result.results) and all(each.stage == "dns" and each.code < 500 for each in result.results)


def _unknown_wait(queued: QueuedJob, backoff: Backoff) -> float:
    """Seconds to wait, from now, because an attempt whose worker ended may have delivered the message. The time of its
    dot does not matter: the clock may have been set since."""
    return backoff.full_delay(max(1, queued.attempts - 1)) if queued.dot_sent_at > 0 else 0.0
