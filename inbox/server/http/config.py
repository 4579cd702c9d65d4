"""Settings of the HTTP server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

Network = IPv4Network | IPv6Network
LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Settings that the operator can change.

    Attributes:
        tls: the operator's certificate. None: the server speaks plain HTTP, with proxies and loopback only.
        max_connections: all together; 0: no limit.
        proxies: networks of the reverse proxies that may name the client (X-Forwarded-For, X-Forwarded-Proto).
        metrics: networks whose clients may read ``/metrics`` and the reason of a failed ``/readyz``.
        origins: origins of web pages whose scripts may use the API (CORS).
    """

    tls: ssl.SSLContext | None = None
    max_connections: int = 256
    proxies: tuple[Network, ...] = ()
    metrics: tuple[Network, ...] = LOOPBACK
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits that a stranger cannot pass. Times are in seconds, sizes in octets.

    Attributes:
        peer_connections: connections of one IPv4 address or IPv6 /64 network; proxies have no such limit.
        header_octets: request line and header fields together.
        header_fields: their number.
        body_octets: the body of a request.
        header_seconds: from the first octet of a request to the end of its header.
        body_seconds, body_rate: a body has ``body_seconds``, and one more for each ``body_rate`` octets that arrived.
        idle_seconds: from a response to the next request, and from the connection to the first one.
        write_seconds: for a client that does not read its response.
        requests: on one connection.
        pipelined: requests that wait for the response to the one before.
        tls_seconds: for the TLS handshake.
        stop_seconds: for requests in progress when the server stops.
    """

    peer_connections: int = 100
    header_octets: int = 32 * 1024
    header_fields: int = 100
    body_octets: int = 72 * 1024 * 1024
    header_seconds: float = 20.0
    body_seconds: float = 30.0
    body_rate: int = 16 * 1024
    idle_seconds: float = 65.0
    write_seconds: float = 60.0
    requests: int = 10_000
    pipelined: int = 8
    tls_seconds: float = 20.0
    stop_seconds: float = 10.0


def listed(address: IPv4Address | IPv6Address, networks: tuple[Network, ...]) -> bool:
    """True if one of the networks contains the address."""
    return any(address in network for network in networks)
