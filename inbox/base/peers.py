"""Peers as they are counted."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address


def network_of(peer: IPv4Address | IPv6Address) -> str:
    """Whom a limit is for: one IPv4 address, or the IPv6 /64 network, for who has one address of it has them all."""
    if isinstance(peer, IPv4Address):
        return str(peer)
    return f"{IPv6Address(int(peer) >> 64 << 64)}/64"
