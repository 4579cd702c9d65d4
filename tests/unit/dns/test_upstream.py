"""The servers that are queried, their order and number of queries."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from dns.rcode import REFUSED

from inbox.dns.answers import AnswerUnfit, DnsTemporary
from inbox.dns.message import name_octets
from inbox.dns.upstream import ADDRESSES_KEPT, LATE, ROUNDS, Server, Upstream
from inbox.plugin.api.standins import FakeClock
from tests.support.dns_script import ScriptedDns, reply, scripted


async def servers(upstream: Upstream) -> list[tuple[str, int, bool]]:
    return [(each.address, each.port, each.trusted) for each in await upstream.servers()]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:5353", ("127.0.0.1", 5353, True)),
        ("[::1]:53", ("::1", 53, True)),
        ("192.0.2.1:53", ("192.0.2.1", 53, False)),
    ],
)
async def test_the_server_that_is_named_is_asked_and_trusted_on_loopback_only(
    given: str, meant: tuple[str, int, bool]
) -> None:
    assert await servers(Upstream(FakeClock(), given)) == [meant]


async def test_a_server_may_be_given_by_its_name() -> None:
    clock = FakeClock()
    upstream = Upstream(clock, "localhost:5353")
    assert ("127.0.0.1", 5353, True) in await servers(upstream)
    once = await upstream.servers()
    assert await upstream.servers() is once
    clock.advance(ADDRESSES_KEPT)
    assert await upstream.servers() is not once


async def test_a_server_with_an_unknown_name() -> None:
    with pytest.raises(DnsTemporary, match="no address of the DNS server nowhere"):
        await Upstream(FakeClock(), f"nowhere{'x' * 64}.invalid:53").servers()


async def test_the_systems_servers_are_read_when_asked_for_and_again_when_they_change(tmp_path: Path) -> None:
    system = tmp_path / "resolv.conf"
    upstream = Upstream(FakeClock(), None, system)
    with pytest.raises(DnsTemporary, match=r"resolv.conf does not exist: set DNS_RESOLVER to host:port"):
        await upstream.servers()
    system.write_text("# nobody\nsearch example.test\n")
    with pytest.raises(DnsTemporary, match=r"resolv.conf names no DNS server: set DNS_RESOLVER"):
        await upstream.servers()
    system.write_text("nameserver 192.0.2.1\nnameserver 127.0.0.1\noptions edns0\n")
    assert await servers(upstream) == [("192.0.2.1", 53, False), ("127.0.0.1", 53, True)]
    system.write_text("nameserver 192.0.2.2\n")
    assert await servers(upstream) == [("192.0.2.2", 53, False)]
    system.write_text("nameserver not.an.address\n")
    with pytest.raises(DnsTemporary, match="names no DNS server"):
        await upstream.servers()


def test_a_server_on_loopback_is_trusted() -> None:
    trusted = {address: Server(address).trusted for address in ("127.0.0.53", "::1", "10.0.0.1", "2001:db8::1")}
    assert trusted == {"127.0.0.53": True, "::1": True, "10.0.0.1": False, "2001:db8::1": False}
    assert [str(Server("::1")), str(Server("127.0.0.1", 5353))] == ["[::1]:53", "127.0.0.1:5353"]


def answering(*scripted: ScriptedDns) -> Upstream:
    """Several servers come from resolv.conf only, and that names no ports: these are built by hand."""
    upstream = Upstream(FakeClock(), scripted[0].address)
    upstream._servers = tuple(Server("127.0.0.1", int(each.address.rpartition(":")[2])) for each in scripted)
    return upstream


async def test_the_next_server_is_asked_when_one_fails() -> None:
    async with scripted(reply(rcode=REFUSED)) as bad, scripted(reply("e.test. 60 IN A 192.0.2.1")) as good:
        found = await answering(bad, good).ask(name_octets("e.test"), "A")
        assert found.records == (ip_address("192.0.2.1"),)
        assert len(bad.asked) == len(good.asked) == 1


async def test_all_servers_fail_in_ways_of_their_own() -> None:
    nonsense = scripted(lambda question: [question.to_wire()[:2]])
    async with scripted(reply(rcode=REFUSED)) as one, nonsense as two:
        with pytest.raises(AnswerUnfit) as caught:
            await answering(one, two).ask(name_octets("e.test"), "A")
        assert str(caught.value) == f"{one.address} REFUSED, {two.address} answers with ends too soon"
        with pytest.raises(DnsTemporary, match="REFUSED") as refused:
            await answering(one).ask(name_octets("e.test"), "A")
        assert type(refused.value) is DnsTemporary


async def test_a_server_that_is_silent_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.dns.upstream.ATTEMPT", 0.05)
    async with scripted(lambda _: []) as silent:
        with pytest.raises(DnsTemporary, match="time-out"):
            await answering(silent).ask(name_octets("e.test"), "A")
        assert len(silent.asked) == ROUNDS


async def test_a_server_that_was_silent_is_asked_last_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.dns.upstream.ATTEMPT", 0.2)
    async with scripted(lambda _: []) as silent, scripted(reply("e.test. 60 IN A 192.0.2.1")) as good:
        upstream, clock = answering(silent, good), FakeClock()
        upstream._clock = clock
        for _ in range(3):
            await upstream.ask(name_octets("e.test"), "A")
        assert (len(silent.asked), len(good.asked)) == (1, 3)
        clock.advance(LATE)
        await upstream.ask(name_octets("e.test"), "A")
        assert (len(silent.asked), len(good.asked)) == (2, 4)
