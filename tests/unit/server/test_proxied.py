"""PROXY headers in front of any protocol: who may send one, what comes behind it, and headers that do not come."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.server.limits import ConnectionLimits
from inbox.server.proxied import NotListed, read_proxy_header
from inbox.server.transport import Channel, Disconnected, TimedOut
from inbox.wire.proxy import Proxied, ProxyError
from tests.support.transport import MemoryTransport

NETWORKS = (ip_network("10.0.0.0/8"),)
HEADER = b"PROXY TCP4 198.51.100.9 203.0.113.1 5000 25\r\n"
CLIENT = Proxied(ip_address("198.51.100.9"), 5000, ip_address("203.0.113.1"), 25)


class Connection:
    def __init__(self, peer: str = "10.1.2.3") -> None:
        self.clock = FakeClock()
        self.limits = ConnectionLimits(self.clock, 0, 0)
        self.channel = Channel(lambda _channel: None, self.clock, 60.0)
        self.transport = MemoryTransport(self.channel, (peer, 1))
        self.limits.enter_unidentified(self.channel)

    def read(self) -> asyncio.Task[Proxied | None]:
        return asyncio.create_task(read_proxy_header(self.channel, NETWORKS, 10.0, self.clock))


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("cut", [0, 1, 20, len(HEADER), len(HEADER) + 3])
async def test_octets_after_the_header_belong_to_the_protocol(cut: int) -> None:
    whole = HEADER + b"EHLO x\r\n"
    connection = Connection()
    reading = connection.read()
    connection.transport.send(whole[:cut])
    await settle()
    connection.transport.send(whole[cut:])
    assert await reading == CLIENT
    assert connection.channel.take() == b"EHLO x\r\n"


async def test_an_ipv4_client_that_is_written_as_ipv6_is_an_ipv4_client() -> None:
    connection = Connection()
    connection.transport.send(b"PROXY TCP6 ::ffff:198.51.100.9 2001:db8::1 5000 25\r\n")
    proxied = await connection.read()
    assert proxied is not None
    assert proxied.source == ip_address("198.51.100.9")


async def test_a_load_balancer_may_connect_for_itself() -> None:
    connection = Connection()
    connection.transport.send(b"PROXY UNKNOWN\r\n")
    assert await connection.read() is None


async def test_authorization_as_another_user_is_refused() -> None:
    connection = Connection("192.0.2.7")
    connection.transport.send(HEADER)
    with pytest.raises(NotListed, match=r"192\.0\.2\.7 is not in server\.proxy_networks"):
        await connection.read()


async def test_anything_else_is_refused() -> None:
    connection = Connection()
    connection.transport.send(b"EHLO x\r\n")
    with pytest.raises(ProxyError):
        await connection.read()


async def test_a_header_that_does_not_come_is_given_up() -> None:
    connection = Connection()
    reading = connection.read()
    for octet in b"PRO":
        connection.transport.send(bytes([octet]))
        await settle()
        connection.clock.advance(4)
        connection.limits.sweep()
    with pytest.raises(TimedOut):
        await reading


@pytest.mark.parametrize("end", ["half_close", "lose", "nudge"])
async def test_a_connection_that_ends_before_it_or_a_server_that_stops(end: str) -> None:
    connection = Connection()
    reading = connection.read()
    connection.transport.send(b"PROXY")
    await settle()
    getattr(connection.channel if end == "nudge" else connection.transport, end)()
    with pytest.raises(Disconnected):
        await reading
