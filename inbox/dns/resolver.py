"""The one resolver of a process: it asks a DNS server, keeps the answers, and asks the same thing once at a time."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final

from inbox.base.clock import Clock
from inbox.base.limits import DNS_QUESTIONS, DNS_WAITING, DNS_ZONE_QUESTIONS, DNS_ZONE_WAITING
from inbox.dns.answers import Answer, DnsError, DnsTemporary, Mx, NameUnfit, Tlsa
from inbox.dns.cache import AnswerCache, Outcome, Question
from inbox.dns.message import name_octets
from inbox.dns.upstream import Upstream

#: Seconds for one question, the wait for its turn and all retries included (RFC 7208 §4.6.4 allows 20 for all of SPF).
LIFETIME: Final = 5.0
#: Seconds for which an answer is kept at least: a TTL of 0 would make us ask at each of a message's many look-ups.
LEAST_TTL: Final = 5.0
#: And at most. RFC 8767 §4 advises a cap of days; keys and policies that were withdrawn should not outlive one.
MOST_TTL: Final = 86_400.0
#: "There is none" is kept for as long as the zone's SOA says, up to this (RFC 2308 §5: one to three hours work well).
MOST_NEGATIVE_TTL: Final = 3_600.0
#: No answer: for how long nobody asks again (RFC 9520 §3.2: at least one second, at most five minutes).
FAILURE_TTL: Final = 5.0


class _Zone:
    """The questions about one organization's names that are under way: those that have their turn, and all."""

    __slots__ = ("flying", "turns")

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(DNS_ZONE_QUESTIONS)
        self.flying = 0


class CachingResolver:
    """``Resolver`` of ``inbox.dns.answers``, over UDP with EDNS and over TCP where an answer is cut off.

    Args:
        clock: tells how long an answer is kept.
        server: ``host:port``; None takes the system's, which are looked at when somebody asks.
        lifetime: seconds for one question.
        cache: where answers are kept.
        system: the system's servers, as in resolv.conf(5).
    """

    def __init__(
        self,
        clock: Clock,
        server: str | None = None,
        lifetime: float = LIFETIME,
        cache: AnswerCache | None = None,
        system: Path = Path("/etc/resolv.conf"),
    ) -> None:
        self._upstream = Upstream(clock, server, system)
        self._lifetime = lifetime
        self._cache = cache if cache is not None else AnswerCache(clock)
        self._turns = asyncio.Semaphore(DNS_QUESTIONS)
        self._flying: dict[Question, asyncio.Task[Outcome]] = {}
        self._zones: dict[str, _Zone] = {}

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

    async def validates(self) -> bool:
        """Does a trusted server vouch for the DNS's root (AD)? Raises DnsTemporary if there is no answer."""
        try:
            async with asyncio.timeout(self._lifetime):
                return (await self._upstream.ask(name_octets(""), "NS")).authentic
        except TimeoutError:
            raise DnsTemporary(f"no answer within {self._lifetime:g} seconds") from None

    async def _answer(self, question: Question) -> Answer[Any]:
        outcome = self._cache.get(question)
        if outcome is None:
            kind, name = question
            question = (kind, _normal(name))
            outcome = self._cache.get(question)
            if outcome is None:
                # A waiter that is cancelled gives up its wait, and not the question of the others.
                outcome = await asyncio.shield(self._flying.get(question) or self._ask(question))
        if isinstance(outcome, DnsError):
            raise type(outcome)(*outcome.args)  # anew: one that is raised twice gathers the tracebacks of both
        return outcome

    def _ask(self, question: Question) -> asyncio.Task[Outcome]:
        name = organization(question[1])
        zone = self._zones.get(name) or _Zone()
        if len(self._flying) >= DNS_WAITING or zone.flying >= DNS_ZONE_WAITING:
            raise DnsTemporary("too many questions wait for an answer")
        task = asyncio.get_running_loop().create_task(self._find(question, zone))
        self._flying[question] = task
        self._zones[name] = zone
        zone.flying += 1

        def landed(_: asyncio.Task[Outcome]) -> None:
            del self._flying[question]
            zone.flying -= 1
            if not zone.flying:
                del self._zones[name]

        task.add_done_callback(landed)
        return task

    async def _find(self, question: Question, zone: _Zone) -> Outcome:
        """What becomes of a question; kept for as long as it holds. Raises nothing: all waiters want to know."""
        outcome: Outcome
        ttl = FAILURE_TTL
        try:
            # The zone's turn comes first: who waits for it must not keep others from theirs.
            async with asyncio.timeout(self._lifetime), zone.turns, self._turns:
                outcome, ttl = await self._exchange(*question)
        except DnsTemporary as error:
            outcome = type(error)(f"{_told(question)}: {error}"[:200])
        except TimeoutError:
            outcome = DnsTemporary(f"{_told(question)}: no answer within {self._lifetime:g} seconds")
        except Exception as error:  # noqa: BLE001  a stranger's records made it; those who wait get it, named
            outcome = DnsTemporary(f"{_told(question)}: {type(error).__name__}: {error}"[:200])
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
    """The end of a name under which, roughly, one organization's name servers answer. It is not looked up: some share
    what they are asked in turns with their neighbours, and nothing else follows from it.
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


def _normal(name: str) -> str:
    """In lower case without the last dot. Raises NameUnfit."""
    if not name.isascii():
        raise NameUnfit(f"{name[:80]!r} is no A-label")
    normal = name.removesuffix(".").lower()
    if len(normal) > 253 or not all(0 < len(label) < 64 for label in normal.split(".")):
        raise NameUnfit(f"{name[:80]!r} has an empty label or is too long")
    return normal


def _told(question: Question) -> str:
    return f"{question[0]} of {question[1][:80]!r}"
