"""The hosts that accept mail for a domain (RFC 5321 §5.1, RFC 7505)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import groupby
from typing import Final, TypeVar

from inbox.base.clock import Clock, SystemClock
from inbox.base.kept import Kept
from inbox.dns.answers import DnsError, DnsTemporary, Mx, Resolver, VerifiableResolver
from inbox.flow.outbound.ports import HostReply, Hosts

#: MX records of one domain that are used: the most preferred ones.
MX_HOSTS: Final = 20
#: Seconds for which it is remembered whether a host is this server, and the number of hosts that are remembered.
OWN_SECONDS: Final = 60.0
MOST_KNOWN: Final = 10_000
#: Addresses of one host that are used, for each family.
HOST_ADDRESSES: Final = 8
#: Prefixes of IPv6 addresses that stand for an IPv4 address, and the bits below it: NAT64 and 6to4.
_EMBEDDED: Final = ((ip_network("64:ff9b::/96"), 0), (ip_network("2002::/16"), 80))
#: The IPv6 addresses that are assigned to public hosts, and networks in it that have none, although the standard
#: library calls them global: Teredo, whose addresses stand for hosts behind a NAT, and documentation.
_GLOBAL: Final = ip_network("2000::/3")
_NEVER: Final = (ip_network("2001::/32"), ip_network("3fff::/20"))

IpAddress = IPv4Address | IPv6Address
Found = TypeVar("Found")


def temporary(text: str) -> HostReply:
    """No answer from the DNS; a later attempt may get one."""
    return HostReply(451, "4.4.3", text, "dns")


def permanent(enhanced: str, text: str) -> HostReply:
    """According to the DNS, no host accepts this mail."""
    return HostReply(550, enhanced, text, "dns")


class Denied(Exception):
    """The DNS has no mail server or no address for a name. The text says so to the sender."""


async def verified(resolver: VerifiableResolver, name: str, find: Callable[[str], Awaitable[Found]]) -> Found:
    """The result of ``find(name)``, which raises :class:`Denied` on a negative answer of the DNS.

    A broken DNS server that denies every name must not have the whole queue returned to its senders.

    Raises:
        Denied: the DNS server works, and denies the name also without cached answers.
        DnsTemporary: it does not work.
    """
    try:
        return await find(name)
    except Denied:
        resolver.forget(name)
    try:
        return await find(name)
    except Denied as denied:
        if fault := await resolver.fault():
            raise DnsTemporary(f"the DNS server is broken: {fault}") from denied
        raise


async def addresses_of(resolver: VerifiableResolver, host: str) -> list[IpAddress]:
    """The addresses of a host, as :func:`addresses`, and verified: never empty.

    Raises:
        Denied, DnsTemporary, NameUnfit.
    """

    async def find(name: str) -> list[IpAddress]:
        found = await addresses(resolver, name)
        if not found:
            raise Denied(f"The host {name} has no address")
        return found

    return await verified(resolver, host, find)


class MailExchangers:
    """Finds the hosts of a domain.

    Args:
        own_names: the names of this server, in lower case: an MX record with one of them is this server.
        is_own: says whether an address is its own; a host with such an address is this server.
        shuffle: puts hosts of equal preference in a random order, in place.
    """

    def __init__(
        self,
        resolver: VerifiableResolver,
        own_names: Collection[str] = (),
        is_own: Callable[[IpAddress], bool] | None = None,
        shuffle: random.Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._resolver = resolver
        self._own_names = frozenset(name.lower().removesuffix(".") for name in own_names)
        self._is_own = is_own
        self._known: Kept[bool] = Kept(clock if clock is not None else SystemClock(), OWN_SECONDS, MOST_KNOWN)
        self._random = shuffle if shuffle is not None else random.SystemRandom()

    async def find(self, domain: str) -> Hosts | HostReply:
        """The hosts in the order in which they are tried; those of equal preference in a random order.

        Returns a reply instead if no host accepts the mail: a null MX (5.1.10), a domain that does not exist (5.1.2),
        no host but this server (5.4.6), or the DNS did not answer (4.4.3). Address literals are their own host.
        """
        try:
            return await verified(self._resolver, domain, self._find)
        except Denied as denied:
            return permanent("5.1.2", str(denied))
        except DnsTemporary as error:
            return temporary(f"The mail servers of {domain} could not be looked up: {error}")
        except DnsError as error:
            return permanent("5.1.2", f"The domain {domain} cannot exist: {error}")

    async def fault(self) -> str:
        """The reason why the DNS server answers nobody or denies every name; empty if it works."""
        return await self._resolver.fault()

    async def _find(self, domain: str) -> Hosts | HostReply:
        if domain.startswith("["):
            return await self._without_us(domain, (Mx(0, domain),))
        answer = await self._resolver.mx(domain)
        records: Sequence[Mx] = answer.records
        if not records:
            # RFC 5321 §5.1: without MX records, the domain itself is the host.
            if not answer.exists:
                raise Denied(f"The domain {domain} does not exist")
            if not await addresses(self._resolver, domain):
                raise Denied(f"The domain {domain} has no mail server")
            records = (Mx(0, domain),)
        elif all(not record.host for record in records):
            return permanent("5.1.10", f"The domain {domain} does not accept mail (null MX)")
        return await self._without_us(domain, records)

    async def _without_us(self, domain: str, records: Sequence[Mx]) -> Hosts | HostReply:
        used = sorted((each for each in records if each.host), key=lambda each: each.preference)[:MX_HOSTS]
        ours = [each.preference for each in used if await self._is_us(each.host)]
        if ours:
            # Hosts that are not more preferred than this server would send the mail back.
            used = [each for each in used if each.preference < min(ours)]
            if not used:
                return permanent("5.4.6", f"The mail for {domain} loops back to this server")
        names: list[str] = []
        for _, equal in groupby(used, key=lambda each: each.preference):
            group = [each.host for each in equal]
            self._random.shuffle(group)
            names.extend(name for name in group if name not in names)
        return Hosts(tuple(names), " ".join(sorted(names)))

    async def _is_us(self, host: str) -> bool:
        if host in self._own_names:
            return True
        if self._is_own is None:
            return False
        known = self._known.get((host,))
        if known is None:
            try:
                known = any(self._is_own(address) for address in await addresses(self._resolver, host))
            except DnsError:
                return False  # The attempt resolves the host again and reports the error.
            self._known.put((host,), known)
        return known


async def addresses(resolver: Resolver, host: str) -> list[IpAddress]:
    """The addresses of a host, IPv6 and IPv4 in turn; a literal in brackets, or an address, is itself.

    Raises:
        DnsTemporary: a look-up failed, and the other one found nothing.
        NameUnfit: the name cannot exist.
    """
    literal = _literal(host)
    if literal is not None:
        return [literal]
    failure: DnsTemporary | None = None
    sixes: Sequence[IpAddress] = ()
    fours: Sequence[IpAddress] = ()
    try:
        sixes = (await resolver.aaaa(host)).records[:HOST_ADDRESSES]
    except DnsTemporary as error:
        failure = error
    try:
        fours = (await resolver.a(host)).records[:HOST_ADDRESSES]
    except DnsTemporary as error:
        failure = error
    found: list[IpAddress] = []
    for number in range(max(len(sixes), len(fours))):
        found.extend(sixes[number : number + 1])
        found.extend(fours[number : number + 1])
    if not found and failure is not None:
        raise failure
    return found


def _literal(host: str) -> IpAddress | None:
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_public(address: IpAddress) -> bool:
    """False for addresses that no stranger's MX can have: loopback, private, link-local, multicast and reserved ones.

    An MX record with such an address would let a stranger reach services of this network.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        for network, shift in _EMBEDDED:
            if address in network:
                return is_public(IPv4Address(int(address) >> shift & 0xFFFF_FFFF))
        if address not in _GLOBAL or any(address in network for network in _NEVER):
            return False
    return address.is_global and not address.is_multicast
