"""The resolver before real servers: who vouches for an answer, what does not fit, and what never ends."""

from __future__ import annotations

import pytest

from inbox.base.clock import SystemClock
from inbox.base.limits import DNS_TEXT_OCTETS
from inbox.dns.answers import Answer, AnswerUnfit, DnsTemporary, Mx, Tlsa
from inbox.dns.resolver import CachingResolver
from tests.support.dns_world import BOGUS, PLAIN, SIGNED, WORLD, DnsWorld, quoted

pytestmark = pytest.mark.real


def resolver(world: DnsWorld, **settings: float) -> CachingResolver:
    return CachingResolver(SystemClock(), world.resolver, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("zone", "authentic"), [(SIGNED, True), (PLAIN, False)])
async def test_a_signed_zone_is_authentic_in_what_it_has_and_in_what_it_has_not(
    dns_world: DnsWorld, zone: str, authentic: bool
) -> None:
    await dns_world.publish(zone, '@ 300 TXT "v=spf1 -all"', "alias 300 CNAME @", f"_25._tcp.mx TLSA 3 1 1 {'ab' * 32}")
    asks = resolver(dns_world)
    assert await asks.txt(zone) == Answer((b"v=spf1 -all",), True, authentic, 300)
    assert await asks.txt(f"alias.{zone}") == Answer((b"v=spf1 -all",), True, authentic, 300)
    assert await asks.cname(f"alias.{zone}") == Answer((zone,), True, authentic, 300)
    assert await asks.tlsa(f"_25._tcp.mx.{zone}") == Answer((Tlsa(3, 1, 1, b"\xab" * 32),), True, authentic, 60)
    assert await asks.mx(zone) == Answer((), True, authentic, 60)
    assert await asks.mx(f"nobody.{zone}") == Answer((), False, authentic, 60)


async def test_a_signed_alias_into_an_unsigned_zone_is_not_authentic(dns_world: DnsWorld) -> None:
    await dns_world.publish(SIGNED, "alias CNAME mail.plain.test.")
    await dns_world.publish(PLAIN, "mail A 192.0.2.1")
    assert (await resolver(dns_world).a("alias.signed.test")).authentic is False


async def test_a_bogus_zone_has_no_answer(dns_world: DnsWorld) -> None:
    for name in (BOGUS, f"mail.{BOGUS}", f"nobody.{BOGUS}"):
        with pytest.raises(DnsTemporary, match="SERVFAIL"):
            await resolver(dns_world).a(name)


async def test_nobody_answers(dns_world: DnsWorld) -> None:
    with pytest.raises(DnsTemporary, match=r"TXT of .*(no answer within|Timeout)"):
        await CachingResolver(SystemClock(), dns_world.silent, lifetime=0.3).txt("plain.test")


async def test_an_answer_larger_than_a_datagram_comes_whole(dns_world: DnsWorld) -> None:
    texts = [bytes([65 + number]) * 700 for number in range(10)]
    await dns_world.publish(SIGNED, *(f"big TXT {quoted(text)}" for text in texts))
    answer = await resolver(dns_world).txt("big.signed.test")
    assert sorted(answer.records) == texts
    assert answer.authentic


@pytest.mark.parametrize("octets", [DNS_TEXT_OCTETS + 1, 20_000, 50_000])
async def test_more_text_than_anybody_needs_is_refused(dns_world: DnsWorld, octets: int) -> None:
    await dns_world.publish(PLAIN, f"big TXT {quoted(b'x' * octets)}")
    with pytest.raises(AnswerUnfit):
        await resolver(dns_world).txt("big.plain.test")


async def test_as_much_text_as_may_be(dns_world: DnsWorld) -> None:
    await dns_world.publish(PLAIN, f"big TXT {quoted(b'x' * DNS_TEXT_OCTETS)}")
    assert (await resolver(dns_world).txt("big.plain.test")).records == (b"x" * DNS_TEXT_OCTETS,)


@pytest.mark.parametrize("kind", ["txt", "a", "mx"])
async def test_aliases_without_end(dns_world: DnsWorld, kind: str) -> None:
    await dns_world.publish(PLAIN, "a CNAME b", "b CNAME a", "self CNAME self")
    await dns_world.publish(PLAIN, *(f"c{number} CNAME c{number + 1}" for number in range(40)))
    for name in ("a.plain.test", "self.plain.test", "c0.plain.test"):
        with pytest.raises(DnsTemporary):
            await getattr(resolver(dns_world), kind)(name)


async def test_any_octets_may_be_in_a_text_and_in_a_name(dns_world: DnsWorld) -> None:
    octets = bytes(range(256))
    await dns_world.publish(WORLD, f"a\\032b\\\\c.example TXT {quoted(octets)}", "example MX 10 Mail.Example.")
    asks = resolver(dns_world)
    assert (await asks.txt("a b\\c.example")).records == (octets,)
    assert (await asks.mx("EXAMPLE")).records == (Mx(10, "mail.example"),)


async def test_a_resolver_that_does_not_know_the_root_validates_nothing(dns_world: DnsWorld) -> None:
    assert not await resolver(dns_world).validates()
