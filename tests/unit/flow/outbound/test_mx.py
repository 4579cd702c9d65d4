"""The hosts of a domain (RFC 5321 §5.1, RFC 7505)."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from inbox.dns.answers import DnsTemporary
from inbox.flow.outbound.mx import (
    MX_HOSTS,
    OWN_SECONDS,
    Denied,
    MailExchangers,
    addresses,
    addresses_of,
    is_public,
)
from inbox.flow.outbound.ports import HostReply, Hosts
from inbox.plugin.testing import FakeClock
from tests.support.host_dns import HostDns


@pytest.fixture
def dns() -> HostDns:
    return HostDns()


async def names(dns: HostDns, *own: str) -> tuple[str, ...]:
    found = await MailExchangers(dns, own).find("x.test")
    assert isinstance(found, Hosts), found
    return found.names


async def refusal(dns: HostDns, *own: str, domain: str = "x.test") -> tuple[int, str, str]:
    found = await MailExchangers(dns, own).find(domain)
    assert isinstance(found, HostReply), found
    return found.code, found.enhanced, found.stage


async def test_hosts_come_by_preference_and_equal_ones_at_random(dns: HostDns) -> None:
    dns.mx_records["x.test"] = [(20, "c.test"), (10, "a.test"), (10, "b.test")]
    seen = set()
    for seed in range(20):
        found = await MailExchangers(dns, shuffle=random.Random(seed)).find("x.test")
        assert isinstance(found, Hosts)
        assert found.names[-1] == "c.test"
        assert found.key == "a.test b.test c.test"
        seen.add(found.names)
    assert len(seen) == 2


async def test_without_mx_the_domain_is_the_host(dns: HostDns) -> None:
    dns.aaaa_records["x.test"] = ["2001:db8::1"]
    assert await names(dns) == ("x.test",)


async def test_null_mx_fails_at_once_without_an_address_look_up(dns: HostDns) -> None:
    dns.mx_records["x.test"] = [(0, "")]
    dns.a_records["x.test"] = ["192.0.2.1"]
    assert await refusal(dns) == (550, "5.1.10", "dns")
    assert dns.asked == [("MX", "x.test")]


async def test_nxdomain_is_permanent_and_servfail_temporary(dns: HostDns) -> None:
    assert await refusal(dns) == (550, "5.1.2", "dns")
    dns.txt_records["x.test"] = [b"no address"]
    assert await refusal(dns) == (550, "5.1.2", "dns")
    dns.fails.add("x.test")
    assert await refusal(dns) == (451, "4.4.3", "dns")
    assert await refusal(dns, domain="x" * 64 + ".test") == (550, "5.1.2", "dns")


async def test_our_preference_and_worse_are_dropped(dns: HostDns) -> None:
    dns.mx_records["x.test"] = [(5, "a.test"), (10, "us.test"), (10, "b.test"), (20, "c.test")]
    assert await names(dns, "US.test.") == ("a.test",)


async def test_none_left_but_us_is_a_loop(dns: HostDns) -> None:
    dns.mx_records["x.test"] = [(10, "us.test"), (20, "c.test")]
    assert await refusal(dns, "us.test") == (550, "5.4.6", "dns")


async def test_a_host_with_our_address_is_us(dns: HostDns) -> None:
    dns.mx_records["x.test"] = [(10, "alias.test")]
    dns.a_records["alias.test"] = ["192.0.2.7"]
    ours = MailExchangers(dns, (), lambda address: address == ip_address("192.0.2.7"))
    for domain in ("x.test", "alias.test", "[192.0.2.7]"):
        found = await ours.find(domain)
        assert isinstance(found, HostReply)
        assert found.enhanced == "5.4.6"
    assert await ours.find("[192.0.2.8]") == Hosts(("[192.0.2.8]",), "[192.0.2.8]")


async def test_a_host_is_looked_up_once_a_minute_to_see_whether_it_is_us(dns: HostDns) -> None:
    dns.mx_records["x.test"] = [(10, "a.test")]
    dns.a_records["a.test"] = ["192.0.2.7"]
    clock = FakeClock()
    exchangers = MailExchangers(dns, (), lambda address: False, clock=clock)
    for _ in range(3):
        await exchangers.find("x.test")
    assert dns.asked.count(("A", "a.test")) == 1
    clock.advance(OWN_SECONDS + 1)
    await exchangers.find("x.test")
    assert dns.asked.count(("A", "a.test")) == 2


async def test_a_literal_is_its_own_host(dns: HostDns) -> None:
    assert await MailExchangers(dns).find("[192.0.2.1]") == Hosts(("[192.0.2.1]",), "[192.0.2.1]")
    assert await addresses(dns, "[IPv6:2001:db8::1]") == [ip_address("2001:db8::1")]
    assert dns.asked == []


async def test_a_domain_with_hundreds_of_records_is_bounded(dns: HostDns) -> None:
    dns.mx_records["x.test"] = [(number, f"{number}.test") for number in range(500)]
    assert len(await names(dns)) == MX_HOSTS


async def test_addresses_alternate_between_the_families(dns: HostDns) -> None:
    dns.aaaa_records["a.test"] = ["2001:db8::1", "2001:db8::2"]
    dns.a_records["a.test"] = ["192.0.2.1"]
    assert [str(each) for each in await addresses(dns, "a.test")] == ["2001:db8::1", "192.0.2.1", "2001:db8::2"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "169.254.1.1", "224.0.0.1", "0.0.0.0", "::1", "fe80::1", "::ffff:10.0.0.1", "fec0::1",
        "3fff::1", "2001:0:1::1", "64:ff9b::a00:1", "2002:a00:1::1", "4000::1",
    ],
)  # fmt: skip
def test_addresses_of_private_networks_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


def test_other_addresses_are_public() -> None:
    assert is_public(ip_address("9.9.9.9"))
    assert is_public(ip_address("2620:fe::fe"))
    assert is_public(ip_address("64:ff9b::909:909")), "9.9.9.9 as a resolver with DNS64 gives it"


async def test_a_broken_server_that_denies_every_name_refuses_nothing_permanently(dns: HostDns) -> None:
    dns.broken = "it denies that the DNS root has name servers"
    assert await refusal(dns) == (451, "4.4.3", "dns")
    with pytest.raises(DnsTemporary, match="the DNS server is broken: it denies"):
        await addresses_of(dns, "a.test")
    dns.broken = ""
    assert await refusal(dns) == (550, "5.1.2", "dns")
    with pytest.raises(Denied):
        await addresses_of(dns, "a.test")


async def test_a_denial_counts_only_without_the_cache(dns: HostDns, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be from a time at which the server was broken."""

    def forget(name: str) -> None:
        dns.mx_records[name] = [(10, "a.test")]
        dns.a_records[name] = ["192.0.2.1"]

    monkeypatch.setattr(dns, "forget", forget)
    assert await names(dns) == ("a.test",)
    assert await addresses_of(dns, "b.test") == [ip_address("192.0.2.1")]
