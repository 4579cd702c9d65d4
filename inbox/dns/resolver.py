"""The resolver: asks one DNS server or the system's, and keeps what it answered."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, TypeVar

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename

from inbox.base.clock import Clock
from inbox.dns.answers import Answer, DnsTemporary, Mx, NameUnfit, Tlsa

R = TypeVar("R")
#: Seconds for one question, all retries included (RFC 7208 §4.6.4 allows 20 for all of SPF).
LIFETIME: Final = 5.0
#: Octets of UDP payload: what fits without fragments (DNS flag day 2020).
PAYLOAD: Final = 1232


class CachingResolver:
    """``Resolver`` of ``inbox.dns.answers``.

    Args:
        clock: tells how long an answer is kept.
        server: ``host:port``; None takes the system's.
    """

    def __init__(self, clock: Clock, server: str | None = None, lifetime: float = LIFETIME) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        if server is not None:
            host, _, port = server.rpartition(":")
            self._resolver.nameservers = [host.strip("[]")]
            self._resolver.port = int(port)
        self._trusted = all(_is_loopback(str(each)) for each in self._resolver.nameservers)
        self._resolver.use_edns(0, dns.flags.DO if self._trusted else 0, PAYLOAD)
        self._resolver.cache = dns.resolver.LRUCache()

    async def txt(self, name: str) -> Answer[bytes]:
        return await self._ask(name, "TXT", lambda record: b"".join(record.strings))

    async def a(self, name: str) -> Answer[IPv4Address]:
        return await self._ask(name, "A", lambda record: IPv4Address(record.address))

    async def aaaa(self, name: str) -> Answer[IPv6Address]:
        return await self._ask(name, "AAAA", lambda record: IPv6Address(record.address))

    async def mx(self, name: str) -> Answer[Mx]:
        return await self._ask(name, "MX", lambda record: Mx(record.preference, _text(record.exchange)))

    async def ptr(self, address: IPv4Address | IPv6Address) -> Answer[str]:
        return await self._ask(str(dns.reversename.from_address(str(address))), "PTR", lambda r: _text(r.target))

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        return await self._ask(name, "TLSA", lambda r: Tlsa(r.usage, r.selector, r.mtype, bytes(r.cert)))

    async def cname(self, name: str) -> Answer[str]:
        return await self._ask(name, "CNAME", lambda record: _text(record.target))

    async def _ask(self, name: str, kind: str, read: Callable[[Any], R]) -> Answer[R]:
        try:
            asked = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError, ValueError) as error:
            raise NameUnfit(f"{name[:80]!r}: {type(error).__name__}") from None
        try:
            answer = await self._resolver.resolve(
                asked, kind, raise_on_no_answer=False, search=False, lifetime=self._lifetime
            )
        except dns.resolver.NXDOMAIN:
            return Answer(exists=False)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise DnsTemporary(f"{kind} of {name[:80]}: {type(error).__name__}") from None
        authentic = self._trusted and bool(answer.response.flags & dns.flags.AD)
        records = [read(record) for record in answer] if answer.rrset is not None else []
        if kind == "MX":
            records.sort(key=lambda mx: mx.preference)  # type: ignore[attr-defined]  # Mx, by the line above
        ttl = float(answer.rrset.ttl) if answer.rrset is not None else 0.0
        return Answer(tuple(records), True, authentic, ttl)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
