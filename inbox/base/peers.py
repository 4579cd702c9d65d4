"""Networks of peers, as limits and counters group them."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address


def network_of(peer: IPv4Address | IPv6Address) -> str:
    """The unit of per-peer limits: one IPv4 address, or the IPv6 /64 network, because a host usually controls all of
    its addresses."""
    if isinstance(peer, IPv4Address):
        return str(peer)
    return f"{IPv6Address(int(peer) >> 64 << 64)}/64"


def site_of(peer: IPv4Address | IPv6Address) -> str:
    """The unit whose connections share a turn: one IPv4 address, or the IPv6 /48 network of a site (RFC 6177 §2). With
    a turn for each of its /64 networks, a site would have 65,536 of them."""
    if isinstance(peer, IPv4Address):
        return str(peer)
    return f"{IPv6Address(int(peer) >> 80 << 80)}/48"


def block_of(peer: IPv4Address | IPv6Address) -> int:
    """The IPv4 /24 or IPv6 /48 network of an address, as a number: the unit that competes for connections.

    One site has an IPv6 /48 (RFC 6177 §2), and so 65,536 /64 networks: one connection from each would fill a server
    in which no network holds more than any other.
    """
    if isinstance(peer, IPv4Address):
        return int(peer) >> 8
    return 1 << 64 | int(peer) >> 80


@lru_cache(maxsize=4096)
def peer_address(text: str) -> IPv4Address | IPv6Address:
    """The address in a socket name, without a scope. The result is cached, because peers return.

    Raises:
        ValueError: not an IP address.
    """
    return unmapped(ip_address(text.partition("%")[0]))


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Convert an IPv4-mapped IPv6 address to IPv4 (RFC 4291 §2.5.5.2)."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
