"""A world for the worker of the outbound queue: a queue in memory with leases and fences, and scripted attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from inbox.base.errors import StoreUnavailable
from inbox.flow.judge import Judge
from inbox.flow.outbound.backoff import Backoff
from inbox.flow.outbound.breaker import Circuits
from inbox.flow.outbound.conclusion import Conclusion
from inbox.flow.outbound.delivery import JobDelivery, Pace
from inbox.flow.outbound.gatherer import Backlog, Gatherer
from inbox.flow.outbound.lines import Lines, Places
from inbox.flow.outbound.ports import (
    Attempted,
    HostReply,
    Hosts,
    Leases,
    Outgoing,
    Way,
)
from inbox.flow.outbound.senders import Senders
from inbox.flow.outbound.worker import MOST_HELD, MOST_UNRECORDED, QueueWorker, WorkerSettings
from inbox.mail.content import Content, MemoryContent
from inbox.mail.tenancy import Account, HostedDomain, Tenant
from inbox.plugin import Delivery, Plugin, hookimpl
from inbox.plugin.testing import FakeClock, MemoryLog, PluginTest
from inbox.policy.snapshot import PolicySet
from inbox.store.job_states import history_of
from inbox.store.ports.queue import (
    PENDING,
    Finished,
    Job,
    JobRecipient,
    Lane,
    Queue,
    QueuedJob,
    RecipientState,
    Sending,
)

OK = HostReply(250, "2.0.0", "queued", "dot")
LATER = HostReply(451, "4.3.0", "try later", "rcpt")
NOBODY = HostReply(550, "5.1.1", "no such user", "rcpt")
DEAD = HostReply(0, "4.4.1", "connection timed out", "connect")
#: After the dot, no reply came.
VANISHED = HostReply(0, "4.4.2", "connection reset", "dot")


class FakeQueue:
    """The rules of the real one: leases end, each lease has a new fence, and a write under an old fence has no effect.

    ``away``: the database cannot be reached. ``transactions`` counts the writes by method.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.jobs: dict[str, QueuedJob] = {}
        self.done: dict[str, Finished] = {}
        self.finished: list[Finished] = []
        self.transactions: dict[str, int] = {"lease": 0, "sending": 0, "finish": 0, "renew": 0}
        self.away = False
        #: The destinations that the last lease avoided.
        self.avoided: Set[Lane] = frozenset()

    def add(self, *jobs: QueuedJob) -> None:
        for queued in jobs:
            states = queued.states or (PENDING,) * len(queued.job.recipients)
            self.jobs[queued.job.id] = replace(queued, states=states)

    def _begin(self, method: str) -> None:
        if self.away:
            raise StoreUnavailable("the database is away")
        self.transactions[method] += 1

    def _is_held(self, queued: Any) -> bool:
        current = self.jobs.get(queued.job.id)
        return current is not None and (current.lease_owner, current.fence) == (
            queued.lease_owner,
            queued.fence,
        )

    async def lease(self, owner: str, limit: int, seconds: float, avoided: Set[Lane] = frozenset()) -> list[QueuedJob]:
        self._begin("lease")
        self.avoided = avoided
        now = self.clock.now()
        due = [
            each
            for each in self.jobs.values()
            if (each.lease_owner is None and min(each.next_attempt_at, each.job.expires_at) <= now)
            or (each.lease_owner is not None and each.lease_until <= now)
        ]
        taken = []
        for each in _by_domain(due)[:limit]:
            leased = replace(each, lease_owner=owner, lease_until=now + seconds, fence=each.fence + 1)
            leased = replace(leased, attempts=each.attempts + 1)
            self.jobs[each.job.id] = leased
            taken.append(leased)
        return taken

    async def renew(self, jobs: Sequence[QueuedJob], seconds: float) -> set[str]:
        self._begin("renew")
        held = [each for each in jobs if self._is_held(each)]
        for each in held:
            self.jobs[each.job.id] = replace(self.jobs[each.job.id], lease_until=self.clock.now() + seconds)
        return {each.job.id for each in held}

    async def sending(self, sending: Sequence[Sending]) -> set[str]:
        await asyncio.sleep(0)
        self._begin("sending")
        held = set()
        for each in sending:
            if self._is_held(each.job):
                held.add(each.job.job.id)
                job, now = self.jobs[each.job.job.id], self.clock.now()
                until = max(job.lease_until, now + each.lease)
                self.jobs[job.job.id] = replace(job, dot_sent_at=now, signed=each.signed, lease_until=until)
        return held

    async def finish(self, finished: Sequence[Finished]) -> set[str]:
        await asyncio.sleep(0)
        self._begin("finish")
        held = set()
        for each in finished:
            if not self._is_held(each.job):
                continue
            key = each.job.job.id
            held.add(key)
            self.finished.append(each)
            final = all(s.status != "pending" and s.reported for s in each.states)
            if final:
                self.done[key] = each
                del self.jobs[key]
                continue
            self.jobs[key] = replace(
                self.jobs[key],
                states=each.states,
                history=history_of(each),
                lease_owner=None,
                dot_sent_at=0.0,
                next_attempt_at=self.clock.now() + each.delay,
                attempts=self.jobs[key].attempts - (0 if each.counts else 1),
            )
        return held


def _by_domain(due: Iterable[QueuedJob]) -> list[QueuedJob]:
    """Domains take turns."""
    lanes: dict[str, list[QueuedJob]] = {}
    for each in due:
        lanes.setdefault(each.job.domain, []).append(each)
    found: list[QueuedJob] = []
    while lanes:
        for name in list(lanes):
            found.append(lanes[name].pop(0))
            if not lanes[name]:
                del lanes[name]
    return found


Script = Callable[[Outgoing, Way], HostReply | list[HostReply] | Awaitable[HostReply]]


@dataclass
class FakeAttempts:
    """Attempts whose replies a function gives; ``dots`` has the id in each message whose final dot was sent."""

    script: Script
    mails: list[tuple[Outgoing, Way]] = field(default_factory=list)
    dots: list[str] = field(default_factory=list)
    dsn_supported: bool = True
    #: Replies to final dots wait for it.
    answers: asyncio.Event | None = None
    active: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    async def attempt(self, mail: Outgoing, way: Way, before_dot: Callable[[], Awaitable[bool]]) -> Attempted:
        self.mails.append((mail, way))
        self.active[way.domain] = self.active.get(way.domain, 0) + 1
        self.most[way.domain] = max(self.most.get(way.domain, 0), self.active[way.domain])
        try:
            return await self._attempt(mail, way, before_dot)
        finally:
            self.active[way.domain] -= 1

    async def _attempt(self, mail: Outgoing, way: Way, before_dot: Callable[[], Awaitable[bool]]) -> Attempted:
        reply = self.script(mail, way)
        if isinstance(reply, Awaitable):
            reply = await reply
        replies = reply if isinstance(reply, list) else [reply] * len(mail.recipients)
        host = way.smarthost.host if way.smarthost else f"mx.{way.domain}"
        if not any(each.stage == "dot" for each in replies):
            return Attempted(tuple(replies), host, "192.0.2.1", "", self.dsn_supported, 0.1)
        if not await before_dot():
            lost = HostReply(0, "4.3.0", "aborted", "dot")
            return Attempted((lost,) * len(replies), host, "192.0.2.1", "", self.dsn_supported, 0.1)
        self.dots.append(mail.content.read(0, mail.size).decode())
        if self.answers is not None:
            await self.answers.wait()
        return Attempted(tuple(replies), host, "192.0.2.1", "TLSv1.3", self.dsn_supported, 0.1, dot_sent=True)


@dataclass
class FakeExchangers:
    asked: list[str] = field(default_factory=list)
    answers: dict[str, HostReply | Hosts] = field(default_factory=dict)
    broken: str = ""

    async def fault(self) -> str:
        return self.broken

    async def find(self, domain: str) -> Hosts | HostReply:
        self.asked.append(domain)
        await asyncio.sleep(0)
        return self.answers.get(domain, Hosts((f"mx.{domain}",), f"mx.{domain}"))


@dataclass
class FakeBounces:
    reports: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    away: bool = False

    async def report(
        self,
        job: QueuedJob,
        states: Sequence[RecipientState],
        about: Sequence[int],
        kind: Literal["failed", "delayed", "relayed", "delivered"],
    ) -> None:
        if self.away:
            raise StoreUnavailable("no notification can be stored")
        self.reports.append((job.job.id, kind, tuple(job.job.recipients[index].address for index in about)))


@dataclass
class FakeSuppressions:
    entries: list[tuple[str, str, str, str, float | None]] = field(default_factory=list)
    away: bool = False

    async def suppress(
        self,
        tenant: str,
        scope: Literal["address", "domain"],
        target: str,
        reason: str,
        seconds: float | None,
        source: Literal["bounce", "complaint"] = "bounce",
    ) -> None:
        if self.away:
            raise StoreUnavailable("the list cannot be written")
        self.entries.append((tenant, scope, target, reason, seconds))


class FakeDirectory:
    """demo.test belongs to a tenant."""

    def __init__(self, tenant: str = "demo") -> None:
        self._tenant = tenant

    async def domain(self, fqdn: str) -> HostedDomain | None:
        return HostedDomain(Tenant(self._tenant, "demo"), fqdn) if fqdn == "demo.test" else None

    async def first_account(self, tenant: str) -> Account | None:
        return Account("a1", tenant, "ann@demo.test", "") if tenant == self._tenant else None


class FakeContents:
    async def get(self, key: str) -> Content:
        return MemoryContent(f"Subject: {key}\r\n\r\nbody\r\n".encode())


class _Silent(Plugin):
    """Has no opinion."""

    @hookimpl
    def deliver(self, delivery: Delivery) -> None:
        return None


@dataclass
class _Held:
    current: PolicySet


class OutboundWorld:
    """A worker and its surroundings.

    Args:
        script: gives the replies of an attempt.
        plugin: its hooks run.
        outbound: the section of the policy.
        real: a database's queue, its clock, and the tenant whose domain is demo.test.
    """

    def __init__(
        self,
        script: Script = lambda mail, way: OK,
        plugin: type[Plugin] = _Silent,
        outbound: dict[str, Any] | None = None,
        *,
        max_attempts: int = 10,
        queue: FakeQueue | None = None,
        owner: str = "w1",
        real: tuple[Queue, FakeClock, str] | None = None,
    ) -> None:
        self.test = PluginTest(plugin, outbound=outbound, errors="outcome")
        self.clock = real[1] if real is not None else queue.clock if queue is not None else self.test.clock
        self.log: MemoryLog = self.test.log
        self.queue = queue or FakeQueue(self.clock)
        leases: Leases = self.queue if real is None else real[0]
        tenant = "demo" if real is None else real[2]
        self.attempts = FakeAttempts(script)
        self.exchangers = FakeExchangers()
        self.bounces, self.suppressions = FakeBounces(), FakeSuppressions()
        judge = Judge(_Held(self.test.policies), self.test.dispatcher)
        self.backoff = Backoff(30, 3600, lambda: 0.5)
        places, backlog = Places(MOST_HELD), Backlog(MOST_UNRECORDED)
        self.delivery = JobDelivery(
            judge,
            Senders(FakeDirectory(tenant), judge),
            FakeContents(),
            self.exchangers,
            self.attempts,
            Conclusion(judge, self.bounces, self.suppressions, self.clock, self.log),
            Gatherer(leases.sending, 1000),
            Pace(Lines(self.clock, places), Circuits(600), self.backoff, backlog, max_attempts),
            self.clock,
            self.log,
            "mx.demo.test",
        )
        self.worker = QueueWorker(
            leases,
            self.delivery,
            Gatherer(leases.finish, 1000),
            backlog,
            places,
            WorkerSettings(poll=0.01),
            self.clock,
            self.log,
            owner,
        )

    def job(self, name: str = "j1", **more: Any) -> QueuedJob:
        """A job that was created now and expires after a day; adds it to the queue."""
        now = self.clock.now()
        queued: dict[str, Any] = {
            key: more.pop(key) for key in ("states", "attempts", "signed", "dot_sent_at", "tenant") if key in more
        }
        defaults: dict[str, Any] = {
            "sender": "ann@demo.test",
            "recipients": (JobRecipient("bob@remote.test"),),
            "domain": "remote.test",
            "created_at": now,
            "expires_at": now + 86_400,
            "actor_account": "a1",
            "transaction": "t1",
            "door": "submission",
        }
        job = Job(name, **{**defaults, **more})
        given: dict[str, Any] = {"tenant": "demo", "states": (), **queued}
        self.queue.add(QueuedJob(job, email="e1", blob_path=name, **given))
        return self.queue.jobs[name]

    async def turn(self) -> None:
        """Leases what is due once, and waits until all of it ended."""
        for queued in await self.queue.lease("w1", 100, 120):
            self.worker.take(queued)
        await self.settled()

    async def settled(self) -> None:
        """Waits until the worker holds no job."""
        while len(self.worker):
            await asyncio.sleep(0)

    def last(self, name: str = "j1") -> Finished:
        """The last outcome of a job that was recorded."""
        return next(each for each in reversed(self.queue.finished) if each.job.job.id == name)

    def statuses(self, name: str = "j1") -> list[str]:
        return [state.status for state in self.last(name).states]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [fields for _, event, fields in self.log.events if event == name]
