"""Trusted forwarders of failing mail (ARC sealers, lists, relays), and strangers that claim to be one."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.forwarding import (
    Exemption,
    Way,
    checked_by,
    dmarc_of,
    exempts,
    matches,
    pattern,
    vouched,
)
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.authentication.results import parse
from inbox.dns.answers import DnsTemporary
from inbox.mail.address import AddressError
from inbox.plugin.api.facts import ArcFact, ArcSet, Result
from inbox.plugin.api.standins import MemoryResolver

FROM = ("from",)


@pytest.fixture
def dns() -> MemoryResolver:
    made = MemoryResolver()
    made.txt_records["_dmarc.author.test"] = [b"v=DMARC1; p=reject"]
    return made


@pytest.fixture
def discovery(dns: MemoryResolver) -> Discovery:
    return Discovery(dns, Method.TREE_WALK, shipped())


def chain(*hops: tuple[str, str], result: Result = Result.PASS, covers: tuple[str, ...] = FROM) -> ArcFact:
    sets = [ArcSet(number, domain, "s", text) for number, (domain, text) in enumerate(hops, 1)]
    sets[-1] = replace(sets[-1], covers=covers)
    return ArcFact(result, tuple(sets))


GOOD = "mx.test; dmarc=pass header.from=author.test"
BAD = "mx.test; dmarc=fail header.from=author.test; spf=fail smtp.mailfrom=author.test"


@pytest.mark.parametrize(
    ("domain", "patterns", "expected"),
    [
        ("a.test", ["a.test"], True),
        ("b.a.test", ["a.test"], False),
        ("b.a.test", ["*.a.test"], True),
        ("a.test", ["*.a.test"], False),
        ("ba.test", ["*.a.test"], False),
        ("", ["*.a.test", ""], False),
    ],
)
def test_patterns(domain: str, patterns: list[str], expected: bool) -> None:
    assert matches(domain, patterns) is expected


def test_patterns_are_written_in_many_ways() -> None:
    assert pattern("Bücher.Example.") == "xn--bcher-kva.example"
    assert pattern("*.A.test") == "*.a.test"
    for wrong in ("", "*", "*.", "a..b", "*a.test", "a b"):
        with pytest.raises(AddressError):
            pattern(wrong)


# -- results of others ------------------------------------------------------------------------------------------------


def test_results_of_forwarders() -> None:
    field = parse(
        "mx.test; spf=fail smtp.mailfrom=x@no.test; spf=pass smtp.mailfrom=bounce@Author.test;"
        " dkim=pass header.d=mail.author.test header.s=a; dkim=pass header.i=@two.test; dkim=what header.d=x.test;"
        " dmarc=fail header.from=author.test"
    )
    assert field is not None
    checked = checked_by(field.results)
    assert checked.spf is not None and checked.dkim is not None
    assert (checked.spf.result, checked.spf.domain) == (Result.PASS, "author.test")
    assert checked.dkim.passing == ("mail.author.test", "two.test")
    assert dmarc_of(field.results, "author.test") is Result.FAIL
    assert dmarc_of(field.results, "other.test") is None


def test_helo_counts_only_without_a_sender() -> None:
    field = parse("mx.test; spf=pass smtp.helo=mail.author.test")
    assert field is not None
    spf = checked_by(field.results).spf
    assert spf is not None and (spf.domain, spf.identity, spf.sender) == ("mail.author.test", "helo", "")


# -- ARC --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arc", "believed"),
    [
        (chain(("list.test", GOOD)), True),
        (chain(("list.test", "mx.test; spf=pass smtp.mailfrom=b@mail.author.test")), True),
        (chain(("list.test", "mx.test; dkim=pass header.d=author.test")), True),
        # The first of the trusted hops that had it is believed, not what the later ones saw.
        (chain(("list.test", GOOD), ("relay.test", BAD)), True),
        (chain(("list.test", BAD), ("relay.test", GOOD)), False),
        # Beyond a stranger nobody is believed.
        (chain(("list.test", GOOD), ("evil.test", GOOD), ("relay.test", BAD)), False),
        (chain(("evil.test", GOOD), ("relay.test", GOOD)), True),
        (chain(("list.test", GOOD), ("evil.test", GOOD)), False),
        (chain(("evil.test", GOOD)), False),
        (chain(("list.test", BAD)), False),
        (chain(("list.test", "mx.test; dmarc=pass header.from=other.test")), False),
        (chain(("list.test", "mx.test; dmarc=pass")), False),
        # A hop that copies a stranger's local part, <"x); dmarc=pass header.from=author.test; y=z ("@evil.test>.
        (
            chain(
                (
                    "list.test",
                    'mx.test; spf=pass (of "x); dmarc=pass header.from=author.test; dkim=pass ("@evil.test) '
                    "header.d=author.test; dmarc=fail header.from=author.test",
                )
            ),
            False,
        ),
        (
            chain(("list.test", "mx.test; dkim=pass header.d=author.test; dmarc=fail header.from=author.test")),
            False,
        ),
        (chain(("list.test", "mx.test; dkim=pass header.d=other.test")), False),
        (chain(("list.test", "mx.test; dkim=temperror header.d=author.test")), False),
        (chain(("list.test", "nonsense ((")), False),
        (chain(("list.test", GOOD), result=Result.FAIL), False),
        (chain(("list.test", GOOD), covers=("subject",)), False),
        (replace(chain(("list.test", GOOD)), added="subject"), False),
        (ArcFact(Result.PASS), False),
        (None, False),
    ],
)
async def test_trusted_forwarders(arc: ArcFact | None, believed: bool, discovery: Discovery) -> None:
    said = await vouched(arc, "author.test", ("list.test", "relay.test"), discovery)
    assert said.startswith("arc=pass") if believed else said == ""


async def test_the_comment_names_the_hops(discovery: Discovery) -> None:
    said = await vouched(
        chain(("list.test", GOOD), ("relay.test", BAD)), "author.test", ("*.x", "relay.test", "list.test"), discovery
    )
    assert said == "arc=pass as[2].d=relay.test as[2].s=s as[1].d=list.test as[1].s=s"


# -- exceptions -------------------------------------------------------------------------------------------------------

WAY = Way("author.test", ip_address("192.0.2.7"), "relay.forwarder.test", (), (), None)


async def holds(exemption: Exemption, way: Way, dns: MemoryResolver) -> bool:
    return await exempts(exemption, way, dns, Discovery(dns, Method.TREE_WALK, shipped()))


async def test_networks(dns: MemoryResolver) -> None:
    networks = (ip_network("2001:db8::/32"), ip_network("192.0.2.0/24"))
    assert await holds(Exemption("x", networks=networks), WAY, dns)
    assert not await holds(Exemption("x", networks=networks), replace(WAY, peer=ip_address("198.51.100.1")), dns)
    assert not dns.asked


async def test_a_name_of_helo_counts_if_it_resolves_back(dns: MemoryResolver) -> None:
    exemption = Exemption("x", hosts=("*.forwarder.test",))
    assert not await holds(exemption, WAY, dns)
    dns.a_records["relay.forwarder.test"] = ["192.0.2.8"]
    assert not await holds(exemption, WAY, dns)
    dns.a_records["relay.forwarder.test"] = ["192.0.2.8", "192.0.2.7"]
    assert await holds(exemption, WAY, dns)


async def test_a_ptr_name_counts_if_it_resolves_back(dns: MemoryResolver) -> None:
    exemption = Exemption("x", hosts=("*.forwarder.test",))
    way = replace(WAY, peer=ip_address("2001:db8::7"), helo="[192.0.2.7]")
    dns.ptr_records["2001:db8::7"] = ["other.test", "a.forwarder.test"]
    assert not await holds(exemption, way, dns)
    dns.aaaa_records["a.forwarder.test"] = ["2001:db8::7"]
    assert await holds(exemption, way, dns)


async def test_only_some_ptr_names_are_looked_at(dns: MemoryResolver) -> None:
    dns.ptr_records["192.0.2.7"] = [f"p{number}.forwarder.test" for number in range(500)]
    assert not await holds(Exemption("x", hosts=("*.forwarder.test",)), replace(WAY, helo="x"), dns)
    assert len(dns.asked) == 11


async def test_names_that_cannot_be_asked_count_for_nothing(dns: MemoryResolver) -> None:
    dns.ptr_records["192.0.2.7"] = ["x" * 64 + ".forwarder.test"]
    for helo in ("", ".", "a..forwarder.test", "x" * 64 + ".forwarder.test", "\x00.forwarder.test", "é" * 300):
        assert not await holds(Exemption("x", hosts=("*.forwarder.test",)), replace(WAY, helo=helo), dns)


async def test_a_query_without_an_answer_is_an_error(dns: MemoryResolver) -> None:
    dns.fails.add("relay.forwarder.test")
    with pytest.raises(DnsTemporary):
        await holds(Exemption("x", hosts=("*.forwarder.test",)), WAY, dns)


@pytest.mark.parametrize(
    ("values", "passing", "is_one"),
    [
        ((b"DMARC <dmarc.lists.test>",), ("lists.test",), True),
        ((b"<DMARC.Lists.test>",), ("lists.test",), True),
        ((b'"<other.lists.test>" <dmarc.lists.test>',), ("lists.test",), True),
        ((b"<dmarc.lists.test>",), (), False),
        ((b"<dmarc.lists.test>",), ("evil.test", "author.test", ""), False),
        ((b"<dmarc.lists.test>",), ("dmarc.lists.test",), False),
        ((b"<other.lists.test>",), ("lists.test",), False),
        ((b"dmarc.lists.test",), ("lists.test",), False),
        ((b"<other.lists.test>", b"<dmarc.lists.test>"), ("lists.test",), False),
        ((b"<" * 200_000,), ("lists.test",), False),
        ((b"<a" * 200_000 + b"\xff",), ("lists.test",), False),
        ((), ("lists.test",), False),
    ],
)
async def test_mailing_lists(
    values: tuple[bytes, ...], passing: tuple[str, ...], is_one: bool, dns: MemoryResolver
) -> None:
    way = replace(WAY, list_ids=values, passing=passing)
    assert await holds(Exemption("x", lists=("dmarc.lists.test",)), way, dns) is is_one


async def test_all_conditions_must_hold(dns: MemoryResolver) -> None:
    both = Exemption("x", from_domains=("author.test",), networks=(ip_network("192.0.2.0/24"),))
    assert await holds(both, WAY, dns)
    assert not await holds(both, replace(WAY, domain="other.test"), dns)
    assert not await holds(both, replace(WAY, peer=ip_address("198.51.100.1")), dns)
    sealed = replace(both, sealers=("list.test",))
    assert not await holds(sealed, WAY, dns)
    assert await holds(sealed, replace(WAY, arc=chain(("list.test", GOOD))), dns)


@pytest.mark.parametrize(
    ("exemption", "kind"),
    [
        (Exemption("x", from_domains=("a.test",)), "local_policy"),
        (Exemption("x", from_domains=("a.test",), hosts=("b.test",)), "trusted_forwarder"),
        (Exemption("x", networks=(ip_network("192.0.2.0/24"),)), "trusted_forwarder"),
        (Exemption("x", sealers=("a.test",)), "trusted_forwarder"),
        (Exemption("x", lists=("a.test",), hosts=("b.test",)), "mailing_list"),
    ],
)
def test_names_in_reports(exemption: Exemption, kind: str) -> None:
    assert exemption.kind == kind
