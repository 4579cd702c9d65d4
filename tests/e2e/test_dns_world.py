"""The DNS of other tests: published records are visible immediately, and zones are signed or not."""

from __future__ import annotations

import dns.asyncresolver
import dns.flags
import dns.resolver
import pytest

from tests.support.dns_world import BOGUS, PLAIN, SIGNED, WORLD, DnsWorld, quoted

pytestmark = pytest.mark.real


async def ask(world: DnsWorld, name: str, kind: str) -> dns.resolver.Answer:
    resolver = dns.asyncresolver.Resolver(configure=False)
    host, _, port = world.resolver.rpartition(":")
    resolver.nameservers, resolver.port = [host], int(port)
    resolver.use_edns(0, dns.flags.DO, 1232)
    return await resolver.resolve(name, kind, search=False)


def texts(answer: dns.resolver.Answer) -> list[bytes]:
    return sorted(b"".join(record.strings) for record in answer)


@pytest.mark.parametrize(("zone", "authentic"), [(SIGNED, True), (PLAIN, False), (WORLD, False)])
async def test_published_records_replace_earlier_ones_immediately(
    dns_world: DnsWorld, zone: str, authentic: bool
) -> None:
    name = f"name.{zone}".rstrip(".")
    with pytest.raises(dns.resolver.NXDOMAIN):
        await ask(dns_world, name, "TXT")
    for round_ in range(5):
        await dns_world.publish(zone, f'name TXT "one {round_}"', f'name 300 TXT "two {round_}"')
        answer = await ask(dns_world, name, "TXT")
        assert texts(answer) == [b"one %d" % round_, b"two %d" % round_]
        assert bool(answer.response.flags & dns.flags.AD) is authentic
    await dns_world.remove(zone, "name", "TXT")
    with pytest.raises(dns.resolver.NXDOMAIN):
        await ask(dns_world, name, "TXT")


async def test_a_name_becomes_an_alias_and_back(dns_world: DnsWorld) -> None:
    await dns_world.publish(PLAIN, 'name TXT "one"', 'target TXT "two"')
    await dns_world.publish(PLAIN, "name CNAME target")
    assert texts(await ask(dns_world, "name.plain.test", "TXT")) == [b"two"]
    await dns_world.publish(PLAIN, 'name TXT "one"')
    assert texts(await ask(dns_world, "name.plain.test", "TXT")) == [b"one"]


async def test_expired_signatures_are_no_answer(dns_world: DnsWorld) -> None:
    with pytest.raises(dns.resolver.NoNameservers, match="SERVFAIL"):
        await ask(dns_world, BOGUS, "TXT")


async def test_any_octets_can_be_published(dns_world: DnsWorld) -> None:
    octets = bytes(range(256)) * 40
    await dns_world.publish(WORLD, f"example.com TXT {quoted(octets)}", "1.2.0.192.in-addr.arpa PTR mail.signed.test.")
    assert texts(await ask(dns_world, "example.com", "TXT")) == [octets]
    assert [str(each.target) for each in await ask(dns_world, "1.2.0.192.in-addr.arpa", "PTR")] == ["mail.signed.test."]


async def test_a_test_leaves_nothing_behind(dns_world: DnsWorld) -> None:
    await dns_world.publish(SIGNED, 'name TXT "one"')
    await dns_world.restore()
    with pytest.raises(dns.resolver.NXDOMAIN):
        await ask(dns_world, "name.signed.test", "TXT")
