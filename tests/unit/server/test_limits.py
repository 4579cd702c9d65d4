"""Limits of connections, deadlines, and eviction."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import inf
from pathlib import Path
from typing import Any

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.server.limits import CROWDED_SECONDS, IN_TRANSACTION, LOGGED_IN, STRANGER, ConnectionLimits
from tests.support.imap_world import client_tls
from tests.support.imap_world import world as imap_world
from tests.support.smtp_world import MemoryClient, reply, say, smtp_world
from tests.support.transport import MemoryTransport


class Connection:
    """One that waits for its peer since ``since``, unless the server works for it."""

    def __init__(self, since: float = 0.0, standing: int = STRANGER, *, working: bool = False) -> None:
        self.deadline = inf if working else since + 300
        self.pressing = inf if working else since + 20
        self.waiting_since = since
        self.standing = standing
        self.ended = ""

    def expire(self) -> None:
        self.ended = "expired"

    def evict(self) -> None:
        self.ended = "evicted"


def filled(guard: ConnectionLimits, networks: dict[str, list[Connection]]) -> None:
    for network, members in networks.items():
        within = ip_network(network)
        for number, connection in enumerate(members, 1):
            assert guard.enter(connection, within[number])


QUIET = ip_address("203.0.113.9")


def test_a_site_cannot_take_all_connections_with_one_from_each_of_its_networks() -> None:
    guard = ConnectionLimits(FakeClock(), 6, 0)
    site = [Connection(float(number)) for number in range(6)]
    for number, connection in enumerate(site):
        assert guard.enter(connection, ip_address(f"2001:db8:1:{number:x}::1"))
    assert guard.enter(Connection(9.0), QUIET)
    assert guard.enter(Connection(9.0), ip_address("2001:db8:2::1"))
    assert [each.ended for each in site] == ["evicted", "evicted", "", "", "", ""]


def test_the_network_with_the_most_connections_makes_room() -> None:
    guard = ConnectionLimits(FakeClock(), 6, 0)
    many, few = [Connection(n) for n in (3.0, 1.0, 2.0, 4.0)], [Connection(0.0), Connection(0.0)]
    filled(guard, {"192.0.2.0/24": many, "198.51.100.0/24": few})
    assert guard.enter(Connection(5.0), QUIET)
    assert [each.ended for each in many] == ["", "evicted", "", ""], "the one that waits longest"
    assert not any(each.ended for each in few)
    assert len(guard.connections) == 6
    assert guard.evicted == 1


def test_a_network_never_takes_room_from_one_that_holds_no_more() -> None:
    guard = ConnectionLimits(FakeClock(), 4, 0)
    filled(guard, {"192.0.2.0/24": [Connection(), Connection()], "198.51.100.0/24": [Connection(), Connection()]})
    assert not guard.enter(Connection(), ip_address("192.0.2.200"))
    assert guard.enter(Connection(), QUIET)
    assert not guard.enter(Connection(), ip_address("203.0.113.10"))


def test_a_connection_that_the_server_works_for_is_never_evicted() -> None:
    guard = ConnectionLimits(FakeClock(), 3, 0)
    working = [Connection(working=True) for _ in range(2)]
    waiting = Connection(9.0, IN_TRANSACTION)
    filled(guard, {"192.0.2.0/24": [*working, waiting]})
    assert guard.enter(Connection(), QUIET)
    assert waiting.ended == "evicted"
    assert not guard.enter(Connection(), ip_address("198.51.100.1"))
    assert not any(each.ended for each in working)


def test_a_transaction_is_worth_more_than_an_idle_connection() -> None:
    guard = ConnectionLimits(FakeClock(), 3, 0)
    old, new = Connection(0.0, IN_TRANSACTION), Connection(100.0)
    filled(guard, {"192.0.2.0/24": [old, new, Connection(50.0, IN_TRANSACTION)]})
    assert guard.enter(Connection(), QUIET)
    assert (old.ended, new.ended) == ("", "evicted")


def test_a_logged_in_client_is_evicted_only_from_a_large_network() -> None:
    guard = ConnectionLimits(FakeClock(), 32, 0)
    networks = {f"10.0.{n}.0/24": [Connection(0.0, LOGGED_IN) for _ in range(2)] for n in range(16)}
    filled(guard, networks)
    assert not guard.enter(Connection(), QUIET)
    hoard = ConnectionLimits(FakeClock(), 8, 0)
    filled(hoard, {"192.0.2.0/24": [Connection(float(n), LOGGED_IN) for n in range(8)]})
    assert hoard.enter(Connection(), QUIET)


def test_neighbours_in_ipv6_are_one_network() -> None:
    guard = ConnectionLimits(FakeClock(), 3, 0)
    same = [Connection(float(n)) for n in range(3)]
    for number, connection in enumerate(same):
        assert guard.enter(connection, IPv6Address(f"2001:db8::{number}"))
    assert not guard.enter(Connection(), IPv6Address("2001:db8::ffff"))
    assert guard.enter(Connection(), IPv6Address("2001:db8:1::1"))
    assert same[0].ended == "evicted"


def test_while_connections_are_short_a_command_has_less_time() -> None:
    clock = FakeClock()
    guard = ConnectionLimits(clock, 4, 0)
    now = clock.monotonic()
    slow, other, working = Connection(now), Connection(now + 15), Connection(working=True)
    for number, connection in enumerate((slow, other)):
        guard.enter(connection, IPv4Address(number))
    clock.advance(CROWDED_SECONDS)
    guard.sweep()
    assert not slow.ended, "there is no crowd"
    guard.enter(working, IPv4Address(9))
    guard.sweep()
    assert (slow.ended, other.ended, working.ended) == ("expired", "", "")


def test_closed_connections_are_forgotten() -> None:
    guard = ConnectionLimits(FakeClock(), 4, 1)
    one = Connection()
    assert guard.enter_peer(QUIET)
    assert not guard.enter_peer(QUIET)
    guard.enter(one, QUIET)
    guard.leave(one)
    guard.leave(one)
    guard.leave_peer(QUIET)
    assert guard.enter_peer(QUIET)
    assert not guard.connections
    assert not guard._members and not guard._by_size


def test_connections_behind_a_proxy_count_when_their_client_is_known() -> None:
    guard = ConnectionLimits(FakeClock(), 2, 0)
    filled(guard, {"192.0.2.0/24": [Connection(1.0), Connection(2.0)]})
    newcomer = Connection()
    assert guard.enter_unidentified(newcomer)
    assert guard.identify(newcomer, QUIET)
    pending = [Connection() for _ in range(20)]
    assert [guard.enter_unidentified(each) for each in pending].count(True) == 8
    assert not guard.identify(pending[0], QUIET)


def test_an_empty_claim_is_not_repeated_immediately() -> None:
    clock = FakeClock()
    guard = ConnectionLimits(clock, 2, 0)
    waiting = [Connection(working=True) for _ in range(2)]
    filled(guard, {"192.0.2.0/24": waiting})
    assert not guard.enter(Connection(), QUIET)
    waiting[0].deadline = 1000.0
    assert not guard.enter(Connection(), QUIET), "nobody looks"
    clock.advance(1)
    assert guard.enter(Connection(), QUIET)
    assert waiting[0].ended == "evicted"


# -- the servers


def client_of(world: object, peer: str) -> MemoryClient:
    return MemoryClient(MemoryTransport(world.server.connect(25), (peer, 40000)))  # type: ignore[attr-defined]


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_smtp_gives_a_newcomer_the_place_of_a_crowd(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_connections=4) as world:
        crowd = [client_of(world, f"192.0.2.{n}") for n in range(1, 5)]
        for client in crowd:
            assert (await reply(client))[-1].startswith("220")
        neighbour = client_of(world, "192.0.2.99")
        assert await reply(neighbour) == ["421 4.7.0 Too many connections, try again later"]
        quiet = client_of(world, "203.0.113.9")
        assert (await reply(quiet))[-1].startswith("220")
        await settle()
        ended = [client for client in crowd if client.transport.closed]
        assert [await reply(client) for client in ended] == [["421 4.7.0 Too many connections, try again later"]]


async def test_smtp_never_evicts_a_message_that_is_being_filed(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_connections=2) as world:
        world.receiving.gate = asyncio.Event()
        filing = []
        for number in (1, 2):
            client = client_of(world, f"192.0.2.{number}")
            await reply(client)
            await say(client, "EHLO x.test", "MAIL FROM:<a@x.test>", "RCPT TO:<bob@demo.test>", "DATA")
            client.send(b"text\r\n.\r\n")
            filing.append(client)
        await world.receiving.entered.wait()
        await settle()
        assert await reply(client_of(world, "203.0.113.9")) == ["421 4.7.0 Too many connections, try again later"]
        world.receiving.gate.set()
        assert [await reply(client) for client in filing] == [["250 2.0.0 OK"]] * 2


async def test_a_message_that_comes_slowly_is_cut_while_connections_are_short(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_connections=1) as world:
        client = await world.greeted()
        await say(client, "MAIL FROM:<a@x.test>", "RCPT TO:<bob@demo.test>", "DATA")
        for _ in range(int(CROWDED_SECONDS // 5)):
            client.send(b"x")
            await settle()
            world.pass_time(5)
        client.send(b"x" * 10_240)  # at 512 octets a second, that is twenty seconds' worth
        await settle()
        world.pass_time(5)
        await settle()
        assert not client.transport.closed
        world.pass_time(20)
        assert (await reply(client))[-1].startswith("421 4.4.2")


async def test_the_chunks_of_a_message_have_its_time_together(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_connections=1) as world:
        client = await world.greeted()
        await say(client, "MAIL FROM:<a@x.test>", "RCPT TO:<bob@demo.test>")
        for _ in range(2):
            assert (await say(client, b"BDAT 1\r\nx"))[0].startswith("250")
            world.pass_time(CROWDED_SECONDS * 0.6)
        client.send(b"BDAT 100\r\nx")
        await settle()
        world.pass_time(0)
        assert (await reply(client))[-1].startswith("421 4.4.2")


async def test_a_command_octet_by_octet_has_no_more_time_in_a_crowd(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_connections=1) as world:
        client = await world.greeted()
        for _ in range(5):
            client.send(b"N")
            await settle()
            world.pass_time(CROWDED_SECONDS / 4)
        assert (await reply(client))[-1].startswith("421 4.4.2")


async def test_behind_a_proxy_the_network_is_the_clients(tmp_path: Path) -> None:
    proxies = (ip_network("192.0.2.7/32"),)
    async with smtp_world(tmp_path, listen=False, max_connections=4, proxy_networks=proxies) as world:

        async def proxied(peer: str) -> MemoryClient:
            client = world.memory()
            client.send(f"PROXY TCP4 {peer} 198.51.100.1 40000 25\r\n".encode())
            return client

        for number in range(4):
            assert (await reply(await proxied(f"203.0.113.{number}")))[-1].startswith("220")
        assert (await reply(await proxied("203.0.113.77")))[-1].startswith("421 4.7.0")
        assert (await reply(await proxied("198.18.0.1")))[-1].startswith("220")


@pytest.mark.parametrize("tls", [False, True])
async def test_imap_gives_a_newcomer_the_place_of_a_crowd(tls: bool, tmp_path: Path) -> None:
    async with imap_world(tmp_path, max_connections=3) as w:
        port = w.tls_port if tls else w.plain_port
        options: dict[str, Any] = {"ssl": client_tls(), "server_hostname": "localhost"} if tls else {}
        crowd = []
        for number in range(1, 4):
            local = (f"127.5.1.{number}", 0)
            crowd.append(await asyncio.open_connection("127.0.0.1", port, local_addr=local, **options))
            assert (await crowd[-1][0].readline()).startswith(b"* OK")
        newcomer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.6.1.1", 0), **options)
        assert (await newcomer[0].readline()).startswith(b"* OK")
        assert await crowd[0][0].read(-1) == b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n"
        for _, writer in (*crowd, newcomer):
            writer.close()


async def test_imap_protects_who_is_logged_in(tmp_path: Path) -> None:
    async with imap_world(tmp_path, max_connections=2) as w, w.user() as known, w.connect():
        newcomer = await asyncio.open_connection("127.0.0.1", w.plain_port, local_addr=("127.6.1.1", 0))
        assert (await newcomer[0].readline()).startswith(b"* OK")
        await known.ok(b"NOOP")
        newcomer[1].close()


async def test_a_tls_handshake_that_never_begins_makes_room(tmp_path: Path) -> None:
    async with imap_world(tmp_path, max_connections=3) as w:
        idle = [
            await asyncio.open_connection("127.0.0.1", w.tls_port, local_addr=(f"127.5.1.{n}", 0)) for n in range(1, 4)
        ]
        async with asyncio.timeout(20):
            while len(w.server._acceptor.shaking) < 3:
                await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", w.tls_port, local_addr=("127.6.1.1", 0), ssl=client_tls(), server_hostname="localhost"
        )
        assert (await reader.readline()).startswith(b"* OK")
        for other in (*idle, (reader, writer)):
            other[1].close()


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
async def test_starttls_without_a_handshake_makes_room(protocol: str, tmp_path: Path) -> None:
    def source(address: str) -> dict[str, tuple[str, int]]:
        return {"local_addr": (address, 0)}

    async with imap_world(tmp_path, max_connections=2) as imap:
        async with smtp_world(tmp_path, max_connections=2, tls=imap.config.tls) as smtp:
            port = smtp.port if protocol == "smtp" else imap.plain_port
            greeting = b"220 " if protocol == "smtp" else b"* OK "
            guard = smtp.server.limits if protocol == "smtp" else imap.server.limits
            stuck = [await asyncio.open_connection("127.0.0.1", port, **source(f"127.5.1.{n}")) for n in (1, 2)]  # type: ignore[arg-type]
            for reader, writer in stuck:
                assert (await reader.readline()).startswith(greeting)
                writer.write(b"EHLO x.test\r\nSTARTTLS\r\n" if protocol == "smtp" else b"a STARTTLS\r\n")
                while not (await reader.readline()).startswith((b"220 2.0.0", b"a OK")):
                    pass
            async with asyncio.timeout(20):
                while not all(each.deadline < inf for each in guard.connections):
                    await asyncio.sleep(0)
            await settle()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, **source("127.6.1.1"))  # type: ignore[arg-type]
            assert (await reader.readline()).startswith(greeting)
            async with asyncio.timeout(20):
                await asyncio.wait(
                    [asyncio.ensure_future(one.read(-1)) for one, _ in stuck], return_when=asyncio.FIRST_COMPLETED
                )
            assert len(guard.connections) == 2
            for _, other in (*stuck, (reader, writer)):
                other.transport.abort()
        assert not smtp.log.errors
        assert not imap.log.errors


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
def test_starttls_without_a_handshake_makes_room_on_uvloop(protocol: str, tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(test_starttls_without_a_handshake_makes_room(protocol, tmp_path))


async def test_a_client_that_waits_for_the_banner_makes_room(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_connections=3, greet_delay_seconds=0.2) as world:
        crowd = [client_of(world, f"192.0.2.{number}") for number in range(3)]
        await settle()
        world.pass_time(CROWDED_SECONDS + 1)
        newcomer = client_of(world, "203.0.113.9")
        assert (await reply(newcomer))[-1].startswith("220")
        assert [client.transport.closed for client in crowd] == [True, False, False]
