"""Connections that come through a load balancer, which names the client in a PROXY header."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from inbox.base.clock import Clock
from inbox.base.peers import unmapped
from inbox.server.limits import CROWDED_SECONDS
from inbox.server.transport import Channel, Disconnected
from inbox.wire import proxy


class NotListed(proxy.ProxyError):
    """A connection from an address that is not a configured load balancer."""


async def read_proxy_header(
    channel: Channel, networks: Iterable[IPv4Network | IPv6Network], seconds: float, clock: Clock
) -> proxy.Proxied | None:
    """Reads the PROXY header with which every connection of a load balancer begins.

    Args:
        networks: the networks of load balancers; no other peer may name a client.
        seconds: for the whole header.

    Returns:
        The client that the header names (an IPv4 client as an IPv4 address); None if the load balancer connects for
        itself.

    Raises:
        NotListed: the peer is not in any of ``networks``.
        proxy.ProxyError: the peer does not send a valid header.
        TimedOut, Evicted, Disconnected: the header did not arrive.
    """
    address, _ = channel.peer
    if not any(address in network for network in networks):
        raise NotListed(f"{address} is not in server.proxy_networks")
    since = clock.monotonic()
    data = b""
    while (header := proxy.parse(data)) is None:
        await channel.wait(since + seconds, since + CROWDED_SECONDS, since)
        piece = channel.take()
        if not piece:
            raise Disconnected("end of input, or the server is stopping")
        data += piece
    channel.untake(data[header.octets :])
    client = header.proxied
    return None if client is None else replace(client, source=unmapped(client.source))
