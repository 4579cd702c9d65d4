"""The PROXY protocol, versions 1 and 2: the addresses of the client behind a load balancer.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt (sections 2.1 and 2.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from inbox.base.errors import ProtocolError
from inbox.base.limits import PROXY_HEADER_OCTETS

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16  # signature, version and command, family and transport, length
_V1_OCTETS = 107
_NUMBER = r"(0|[1-9][0-9]{0,4})"
_V1 = re.compile(rf"PROXY TCP([46]) ([0-9A-Fa-f.:]{{2,39}}) ([0-9A-Fa-f.:]{{2,39}}) {_NUMBER} {_NUMBER}\Z")
_MAX_PORT = 65535


class ProxyError(ProtocolError):
    """Not a PROXY header, or one with impossible contents."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """The client that the proxy speaks for, and the address and port that it called."""

    source: IPv4Address | IPv6Address
    source_port: int
    destination: IPv4Address | IPv6Address
    destination_port: int


@dataclass(frozen=True, slots=True)
class Header:
    """A complete header of ``octets`` octets. ``proxied`` is None if the proxy speaks for itself (health check) or
    does not know for whom: then the connection's own address counts.
    """

    octets: int
    proxied: Proxied | None


def parse(data: bytes) -> Header | None:
    """The header at the beginning of ``data``; None if more octets are needed.

    Raises:
        ProxyError: ``data`` does not begin with a header.
    """
    if data.startswith(SIGNATURE):
        return _version_2(data)
    if data.startswith(b"PROXY"):
        return _version_1(data)
    if SIGNATURE.startswith(data) or b"PROXY".startswith(data):
        return None
    raise ProxyError("no PROXY header")


def _version_1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _V1_OCTETS)
    if end < 0:
        if len(data) >= _V1_OCTETS:
            raise ProxyError("version 1: no end of line")
        return None
    try:
        line = data[:end].decode("ascii")
    except UnicodeDecodeError as error:
        raise ProxyError("version 1: not ASCII") from error
    if line == "PROXY UNKNOWN" or line.startswith("PROXY UNKNOWN "):
        return Header(end + 2, None)
    found = _V1.match(line)
    if found is None:
        raise ProxyError("version 1: malformed")
    kind: type[IPv4Address | IPv6Address] = IPv4Address if found[1] == "4" else IPv6Address
    source_port, destination_port = int(found[4]), int(found[5])
    if max(source_port, destination_port) > _MAX_PORT:
        raise ProxyError("version 1: no such port")
    try:
        return Header(end + 2, Proxied(kind(found[2]), source_port, kind(found[3]), destination_port))
    except ValueError as error:
        raise ProxyError("version 1: not an address") from error


def _version_2(data: bytes) -> Header | None:
    if len(data) < _FIXED:
        return None
    version, command = data[12] >> 4, data[12] & 0x0F
    family, transport = data[13] >> 4, data[13] & 0x0F
    length = int.from_bytes(data[14:16])
    if version != 2 or command > 1:
        raise ProxyError("version 2: unknown version or command")
    if length > PROXY_HEADER_OCTETS:
        raise ProxyError(f"version 2: {length} octets of header")
    if len(data) < _FIXED + length:
        return None
    whole = _FIXED + length
    if command == 0:  # LOCAL: the proxy itself
        return Header(whole, None)
    if transport != 1 or family not in (1, 2):  # AF_UNSPEC, datagrams, Unix sockets: not a client that we can name
        return Header(whole, None)
    size = 4 if family == 1 else 16
    if length < 2 * size + 4:
        raise ProxyError("version 2: too short for its addresses")
    addresses, ports = data[_FIXED : _FIXED + 2 * size], data[_FIXED + 2 * size :]
    kind: type[IPv4Address | IPv6Address] = IPv4Address if family == 1 else IPv6Address
    return Header(
        whole,
        Proxied(kind(addresses[:size]), int.from_bytes(ports[:2]), kind(addresses[size:]), int.from_bytes(ports[2:4])),
    )
