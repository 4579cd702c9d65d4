"""The DNS interface: queries, answers and errors. All code except the resolver uses only this module."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Generic, Protocol, TypeVar

from inbox.base.errors import InboxError

R = TypeVar("R")


class DnsError(InboxError):
    """A question got no answer."""

    code, status, text = 451, "4.4.3", "A DNS look-up failed, try again later"


class DnsTemporary(DnsError):
    """No answer now: SERVFAIL, REFUSED, a timeout, a bogus signature. A later query may succeed."""


#: The beginning of the text of :class:`LookupsSpent`, and the reason in facts that depend on it.
SPENT: Final = "too many slow look-ups"


class LookupsSpent(DnsTemporary):
    """The message, or the network that it came from, has used up its budget of slow look-ups. The text quotes no input.

    The sender can cause this, so it must never lead to accepting mail that would have been refused: defer the mail
    instead.
    """


class AnswerUnfit(DnsTemporary):
    """There is an answer, but it is larger than the resolver reads, or it is not a DNS message."""


class NameUnfit(DnsError):
    """The name cannot exist: an empty label, one of more than 63 octets, more than 253 in all (RFC 1035 §2.3.4).

    Names come from mail; callers treat this as a permanent error.
    """

    code, status, text = 550, "5.4.4", "A domain name is malformed"


@dataclass(frozen=True, slots=True)
class Mx:
    """RFC 5321 §5.1. ``host`` is in lower case without the trailing dot; empty for a null MX (RFC 7505)."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Tlsa:
    """RFC 6698 §2.1."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """The records of one name and type, after CNAMEs.

    ``exists`` is False for NXDOMAIN; without records, True means NODATA. ``authentic``: a validating resolver that is
    trusted (on loopback) vouches for it (the AD bit). ``ttl``: seconds for which it may be kept.
    """

    records: tuple[R, ...] = ()
    exists: bool = True
    authentic: bool = False
    ttl: float = 0.0


class Resolver(Protocol):
    """Queries by type. Names are A-labels, in any case, with or without a trailing dot.

    Every method raises NameUnfit for an invalid name, and DnsTemporary when there is no answer now. It raises nothing
    else, and ends within the resolver's time limit. Answers are cached for their TTL; concurrent equal questions share
    one query.
    """

    async def txt(self, name: str) -> Answer[bytes]:
        """The strings of each TXT record joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2)."""
        ...

    async def a(self, name: str) -> Answer[IPv4Address]: ...

    async def aaaa(self, name: str) -> Answer[IPv6Address]: ...

    async def mx(self, name: str) -> Answer[Mx]:
        """The records, sorted by preference."""
        ...

    async def ptr(self, address: IPv4Address | IPv6Address) -> Answer[str]:
        """The host names of an address, in lower case without the trailing dot."""
        ...

    async def tlsa(self, name: str) -> Answer[Tlsa]: ...

    async def cname(self, name: str) -> Answer[str]:
        """The target of the alias only, in lower case without the trailing dot."""
        ...


class VerifiableResolver(Resolver, Protocol):
    """A resolver whose negative answers can be verified before something permanent follows from them.

    A broken DNS server may deny every name. Therefore a caller that would, for instance, return mail to its sender
    calls :meth:`forget`, asks again, and believes the second answer only if :meth:`fault` then finds nothing.
    """

    def forget(self, name: str) -> None:
        """Removes the cached hosts and addresses of a name: they may be from a time at which the server was broken."""
        ...

    async def fault(self) -> str:
        """The reason why nothing that the DNS server denies counts: it does not know the name servers of the root,
        which each resolver can find. Empty if it knows them. Asks the server, except for a few seconds
        after a failure."""
        ...
