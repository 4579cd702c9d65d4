"""Look-ups of any record type, for commands that check a domain: dnspython in a thread.

The resolver of the mail flow knows seven types and caches answers; an operator who has just changed a record wants to
see the current record of any type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import dns.exception
import dns.flags
import dns.nameserver
import dns.resolver

from inbox.dns.message import PAYLOAD
from inbox.dns.upstream import Server

#: Time limits in seconds: for one query, and for one attempt.
LIFETIME: Final = 5.0
ATTEMPT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Shown:
    """The records of a name and type as in a zone file; of TXT records, the text. ``octets`` are the raw TXT records.
    ``failure`` is the reason why there is no answer; it is empty for an answer without records."""

    values: tuple[str, ...] = ()
    authentic: bool = False
    failure: str = ""
    octets: tuple[bytes, ...] = ()


class Lookup:
    """Look-ups at these servers, cached for the lifetime of the object.

    ``trusted``: all of them are on loopback, so that the AD bit can be trusted.
    """

    def __init__(self, servers: Sequence[Server], lifetime: float = LIFETIME) -> None:
        self._servers = servers
        self._lifetime = lifetime
        self.trusted = all(server.trusted for server in servers)
        #: The dnspython resolver, for libraries that make their own queries.
        self.resolver = self._resolver(dns.flags.RD | dns.flags.AD)
        self._unchecked = self._resolver(dns.flags.RD | dns.flags.CD)

    def ask(self, name: str, kind: str) -> Shown:
        """Aliases are followed, except for CNAME itself."""
        return self._ask(self.resolver, name, kind)

    def ask_unchecked(self, name: str, kind: str) -> Shown:
        """Without validation (CD, RFC 4035 §3.2.2): returns records even if their signatures are invalid."""
        return self._ask(self._unchecked, name, kind)

    def addresses(self, name: str) -> tuple[str, ...]:
        """Addresses of both families."""
        return self.ask(name, "A").values + self.ask(name, "AAAA").values

    def _resolver(self, flags: int) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(each.address, each.port) for each in self._servers]
        resolver.use_edns(0, 0, PAYLOAD)
        resolver.flags = flags
        resolver.timeout, resolver.lifetime = ATTEMPT, self._lifetime
        resolver.cache = dns.resolver.LRUCache()
        return resolver

    def _ask(self, resolver: dns.resolver.Resolver, name: str, kind: str) -> Shown:
        try:
            answer = resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            replies = error.kwargs["responses"].values()
            return Shown(authentic=self.trusted and all(reply.flags & dns.flags.AD for reply in replies))
        except (dns.exception.DNSException, OSError) as error:
            return Shown(failure=_why(error))
        authentic = self.trusted and bool(answer.response.flags & dns.flags.AD)
        rdatas: list[Any] = list(answer.rrset or ())
        if kind != "TXT":
            return Shown(tuple(sorted(rdata.to_text() for rdata in rdatas)), authentic)
        octets = tuple(b"".join(rdata.strings) for rdata in rdatas)
        return Shown(tuple(each.decode("utf-8", "backslashreplace") for each in octets), authentic, octets=octets)


def _why(error: Exception) -> str:
    if isinstance(error, dns.resolver.NoNameservers):
        reasons = (why if isinstance(why, str) else type(why).__name__ for _, _, _, why, _ in error.kwargs["errors"])
        return ", ".join(dict.fromkeys(reasons))
    return "no answer in time" if isinstance(error, dns.exception.Timeout) else type(error).__name__
