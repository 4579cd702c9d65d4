"""The resolver of a process: it queries a DNS server, caches answers, and joins concurrent equal queries."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final

from inbox.base.clock import Clock
from inbox.base.limits import DNS_QUESTIONS, DNS_SLOW_SECONDS, DNS_ZONE_QUESTIONS
from inbox.base.metrics import Counter, Family
from inbox.dns.answers import SPENT, Answer, DnsError, DnsTemporary, LookupsSpent, Mx, NameUnfit, Tlsa
from inbox.dns.cache import AnswerCache, Outcome, Question
from inbox.dns.lookups import Lookups, SlowLookups, current
from inbox.dns.message import name_octets
from inbox.dns.upstream import Upstream

#: Seconds for one question, all retries included (RFC 7208 §4.6.4 allows 20 for all of SPF).
LIFETIME: Final = 5.0
#: Minimum seconds for which an answer is cached: with a TTL of 0, each of a message's many look-ups would be a query.
LEAST_TTL: Final = 5.0
#: Maximum. RFC 8767 §4 advises a cap of days; withdrawn keys and policies should not outlive one day.
MOST_TTL: Final = 86_400.0
#: Negative answers are cached for the time in the zone's SOA, up to this (RFC 2308 §5: one to three hours work well).
MOST_NEGATIVE_TTL: Final = 3_600.0
#: After a failure: seconds until the next attempt (RFC 9520 §3.2: at least one second, at most five minutes).
FAILURE_TTL: Final = 5.0
#: The cache key for the reason why the DNS server is broken.
_ROOT: Final = ("root", "")


class _Flight:
    """One pending query: the network that asked first, the number of waiters, and its timeout."""

    __slots__ = ("given_up", "network", "question", "started", "task", "timeout", "waiting", "zone")

    def __init__(self, question: Question, network: str, started: float) -> None:
        self.question = question
        self.zone = organization(question[1])
        self.network = network
        self.started = started
        self.waiting = 0
        self.given_up = ""
        self.timeout: asyncio.Timeout | None = None
        self.task: asyncio.Task[Outcome]

    def give_up(self, why: str) -> None:
        """Ends the query now; its waiters get ``why``."""
        self.given_up = why
        if self.timeout is not None and not self.timeout.expired() and not self.task.done():
            self.timeout.reschedule(asyncio.get_running_loop().time())


class _Flights:
    """The pending queries by name, by network and by organization, in the order of their start."""

    def __init__(self) -> None:
        self.all: dict[Question, _Flight] = {}
        self._networks: dict[str, dict[Question, _Flight]] = {}
        self._zones: dict[str, int] = {}

    def has_room(self, zone: str, slow: float) -> bool:
        """Whether one more query about this organization may begin, if necessary in place of one that began before
        ``slow``."""
        if self._zones.get(zone, 0) >= DNS_ZONE_QUESTIONS:
            return False
        if len(self.all) < DNS_QUESTIONS:
            return True
        # Networks with many queries give way first, and slow queries of all networks before a new one is refused.
        for flights in (max(self._networks.values(), key=len), self.all):
            oldest = next(iter(flights.values()))
            if oldest.started <= slow:
                oldest.give_up(f"{SPENT}: others needed the capacity")
                self.remove(oldest)
                return True
        return False

    def add(self, flight: _Flight) -> None:
        self.all[flight.question] = flight
        self._networks.setdefault(flight.network, {})[flight.question] = flight
        self._zones[flight.zone] = self._zones.get(flight.zone, 0) + 1

    def remove(self, flight: _Flight) -> None:
        """Removes a query; may be called again."""
        if self.all.get(flight.question) is not flight:
            return
        del self.all[flight.question]
        del self._networks[flight.network][flight.question]
        if not self._networks[flight.network]:
            del self._networks[flight.network]
        self._zones[flight.zone] -= 1
        if not self._zones[flight.zone]:
            del self._zones[flight.zone]


class CachingResolver:
    """``Resolver`` of ``inbox.dns.answers``, over UDP with EDNS, and over TCP for truncated answers.

    Args:
        clock: for expiry of answers.
        server: ``host:port``; None: the system's servers, which are read for each query.
        lifetime: seconds for one query.
        cache: the cache of answers.
        system: the system's servers, as in resolv.conf(5).
        slow: seconds after which a look-up counts against the budgets of ``inbox.dns.lookups``.
    """

    def __init__(
        self,
        clock: Clock,
        server: str | None = None,
        lifetime: float = LIFETIME,
        cache: AnswerCache | None = None,
        system: Path = Path("/etc/resolv.conf"),
        slow: float = DNS_SLOW_SECONDS,
    ) -> None:
        self._upstream = Upstream(clock, server, system)
        self._lifetime = lifetime
        self._cache = cache if cache is not None else AnswerCache(clock)
        self._flights = _Flights()
        self._slow_after = slow
        self._slow = SlowLookups()
        self._results = Counter("inbox_dns_queries_total", "Questions to DNS servers, by their result.", ("result",))

    async def txt(self, name: str) -> Answer[bytes]:
        return await self._answer(("TXT", name))

    async def a(self, name: str) -> Answer[IPv4Address]:
        return await self._answer(("A", name))

    async def aaaa(self, name: str) -> Answer[IPv6Address]:
        return await self._answer(("AAAA", name))

    async def mx(self, name: str) -> Answer[Mx]:
        return await self._answer(("MX", name))

    async def ptr(self, address: IPv4Address | IPv6Address) -> Answer[str]:
        return await self._answer(("PTR", address.reverse_pointer))

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        return await self._answer(("TLSA", name))

    async def cname(self, name: str) -> Answer[str]:
        return await self._answer(("CNAME", name))

    def families(self) -> list[Family]:
        """Counts of the questions that the cache did not answer."""
        return [self._results.family()]

    async def validates(self) -> bool:
        """Whether a trusted server validates the DNS root (AD). Raises DnsTemporary without an answer."""
        try:
            async with asyncio.timeout(self._lifetime):
                return (await self._upstream.ask(name_octets(""), "NS")).authentic
        except TimeoutError:
            raise DnsTemporary(f"no answer within {self._lifetime:g} seconds") from None

    def forget(self, name: str) -> None:
        """``VerifiableResolver``. Raises NameUnfit."""
        for kind in ("MX", "A", "AAAA"):
            self._cache.forget((kind, _normal(name)))

    async def fault(self) -> str:
        """``VerifiableResolver``."""
        known = self._cache.get(_ROOT)
        if known is not None:
            return str(known)
        try:
            async with asyncio.timeout(self._lifetime):
                reply = await self._upstream.ask(name_octets(""), "NS")
            fault = "" if reply.records else "it denies that the DNS root has name servers"
        except DnsTemporary as error:
            fault = str(error)[:200]
        except TimeoutError:
            fault = f"no answer within {self._lifetime:g} seconds"
        if fault:
            self._cache.put(_ROOT, DnsTemporary(fault), FAILURE_TTL)
        return fault

    async def _answer(self, question: Question) -> Answer[Any]:
        outcome = self._cache.get(question)
        if outcome is None:
            kind, name = question
            question = (kind, _normal(name))
            outcome = self._cache.get(question)
            if outcome is None:
                outcome = await self._wait(self._flights.all.get(question) or self._ask(question))
        if isinstance(outcome, DnsError):
            raise type(outcome)(*outcome.args)  # a copy, because an error that is raised twice collects both tracebacks
        return outcome

    async def _wait(self, flight: _Flight) -> Outcome:
        """The outcome of a query. Cancelling a waiter does not cancel the query of the others."""
        message = current()
        flight.waiting += 1
        try:
            if message is not None:
                done, _ = await asyncio.wait({flight.task}, timeout=self._slow_after)
                if not done:
                    return await self._wait_slowly(flight, message)
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1

    async def _wait_slowly(self, flight: _Flight, message: Lookups) -> Outcome:
        refusal = self._slow.refusal(message)
        if refusal:
            if flight.waiting == 1:
                flight.give_up(refusal)
                self._flights.remove(flight)
            return LookupsSpent(refusal)
        self._slow.begin(message)
        try:
            return await asyncio.shield(flight.task)
        finally:
            self._slow.end(message)

    def _ask(self, question: Question) -> _Flight:
        dead = self._cache.get(_of_name_servers(question))
        if isinstance(dead, DnsTemporary):
            raise DnsTemporary(*dead.args)
        loop = asyncio.get_running_loop()
        message = current()
        flight = _Flight(question, "" if message is None else message.network, loop.time())
        if not self._flights.has_room(flight.zone, loop.time() - self._slow_after):
            raise LookupsSpent(f"{SPENT}: too many questions wait for an answer")
        flight.task = loop.create_task(self._find(flight))
        self._flights.add(flight)
        flight.task.add_done_callback(lambda _: self._flights.remove(flight))
        return flight

    async def _find(self, flight: _Flight) -> Outcome:
        """Finds the outcome of a query and caches it while it is valid. Never raises, because all waiters get the
        outcome."""
        outcome: Outcome
        question = flight.question
        ttl, result = FAILURE_TTL, "failed"
        try:
            async with asyncio.timeout(0 if flight.given_up else self._lifetime) as flight.timeout:
                outcome, ttl = await self._exchange(*question)
            result = "answered"
        except DnsTemporary as error:
            outcome = type(error)(f"{_named(question)}: {error}"[:200])
        except TimeoutError:
            if flight.given_up:
                self._results.add("given_up")
                return LookupsSpent(flight.given_up)
            result = "timeout"
            outcome = DnsTemporary(f"{_named(question)}: no answer within {self._lifetime:g} seconds")
            silent = f"the name servers of {question[1][:80]!r} did not answer a moment ago"
            self._cache.put(_of_name_servers(question), DnsTemporary(silent), FAILURE_TTL)
        except Exception as error:  # noqa: BLE001  caused by received records; the waiters get it as an error
            outcome = DnsTemporary(f"{_named(question)}: {type(error).__name__}: {error}"[:200])
        self._results.add(result)
        self._cache.put(question, outcome, ttl)
        return outcome

    async def _exchange(self, kind: str, name: str) -> tuple[Answer[Any], float]:
        reply = await self._upstream.ask(name_octets(name), kind)
        records = reply.records
        if kind == "MX":
            records = tuple(sorted(records, key=lambda mx: mx.preference))
        most = MOST_TTL if records else MOST_NEGATIVE_TTL
        ttl = min(max(float(reply.ttl or 0), LEAST_TTL), most)
        return Answer(records, reply.rcode == "NOERROR", reply.authentic, ttl), ttl


def organization(name: str) -> str:
    """The end of a name under which, roughly, one organization's name servers answer. It is a guess without a look-up:
    it only decides which names share capacity.
    """
    labels = name.split(".")
    match labels[-2:]:
        case ["in-addr", "arpa"]:
            count = 4  # a /16
        case ["ip6", "arpa"]:
            count = 10  # a /32
        case [second, top] if len(top) == 2 and len(second) <= 3:
            count = 3  # co.uk, com.au
        case _:
            count = 2
    return ".".join(labels[-count:])


def _of_name_servers(question: Question) -> Question:
    """The cache key for the state of the name servers of a query.

    An unanswered query costs five seconds, and so would the next one of the same type and domain
    (``s1._domainkey.example.org``, then ``_dmarc.example.org``).
    """
    kind, name = question
    labels = name.split(".")
    last = max((number for number, label in enumerate(labels, 1) if label[0] == "_"), default=0)
    return f"{kind} servers", ".".join(labels[last:])


def _normal(name: str) -> str:
    """The name in lower case without the trailing dot. Raises NameUnfit."""
    if not name.isascii():
        raise NameUnfit(f"{name[:80]!r} is not an A-label")
    normal = name.removesuffix(".").lower()
    if len(normal) > 253 or not all(0 < len(label) < 64 for label in normal.split(".")):
        raise NameUnfit(f"{name[:80]!r} has an empty label or is too long")
    return normal


def _named(question: Question) -> str:
    return f"{question[0]} of {question[1][:80]!r}"
