from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.authentication.aggregate.destinations import (
    Consent,
    Destination,
    Refusal,
    parse_rua,
    too_large,
    too_many,
)
from inbox.base.limits import REPORT_DESTINATIONS
from inbox.dns.answers import DnsTemporary
from inbox.mail.address import Address
from inbox.plugin.api.testing import MemoryResolver


def to(address: str, most: int | None = None) -> Destination:
    return Destination(Address.parse(address), most)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mailto:a@x.test", [to("a@x.test")]),
        (" mailto:a@x.test , MAILTO:b@Y.test!10m,", [to("a@x.test"), to("b@y.test", 10 << 20)]),
        ("mailto:a@x.test!500", [to("a@x.test", 500)]),
        ("mailto:a@x.test!2k,mailto:b@x.test!1G", [to("a@x.test", 2048), to("b@x.test", 1 << 30)]),
        ("mailto:a%2Bb%21c@x.test", [to("a+b!c@x.test")]),
        ("mailto:a@x.test,mailto:a@x.test!1", [to("a@x.test")]),
        ("", []),
    ],
)
def test_addresses_are_read(text: str, expected: list[Destination]) -> None:
    assert parse_rua(text) == (expected, [])


@pytest.mark.parametrize(
    "uri",
    [
        "https://x.test/report", "mailto:", "mailto:nobody", "mailto:a@x.test?subject=x", "a@x.test", "mailto:a@b@c",
        "mailto:a@x.test!", "mailto:a@x.test!10x", "mailto:a@x.test!99999999999999999999", "mailto:a@[192.0.2.1]",
        "mailto:a%0d%0aBcc:%20b@x.test", "mailto:%ff@x.test", "mailto:%c3%bc@x.test", "mailto:a@x..test",
        "mailto:a b@x.test",
    ],
)  # fmt: skip
def test_only_a_mailto_uri_with_one_address_gets_reports(uri: str) -> None:
    found, refused = parse_rua(f"{uri},mailto:ok@x.test")
    assert found == [to("ok@x.test")]
    assert [one.why for one in refused] == ["not a mailto URI with one address"]


def test_destinations_have_a_limit() -> None:
    found, refused = parse_rua(",".join(f"mailto:a{n}@x.test" for n in range(100)))
    assert len(found) == REPORT_DESTINATIONS
    assert [one.why for one in refused] == [f"more than {REPORT_DESTINATIONS} destinations"]
    found, refused = parse_rua(",".join(["ftp://x"] * 100))
    assert (found, len(refused)) == ([], REPORT_DESTINATIONS + 1)


@given(st.text(max_size=200))
def test_no_record_breaks_it(text: str) -> None:
    found, refused = parse_rua(text)
    assert all(one.address.is_ascii for one in found)
    assert all(one.uri.isascii() and one.uri.isprintable() for one in refused)


async def organizational(domain: str) -> str:
    """The last two labels, and no DNS for one name."""
    if domain == "down.test":
        raise DnsTemporary("SERVFAIL")
    return ".".join(domain.split(".")[-2:])


@pytest.fixture
def dns() -> MemoryResolver:
    return MemoryResolver()


@pytest.fixture
def consent(dns: MemoryResolver) -> Consent:
    return Consent(dns, organizational)


async def test_within_an_organization_no_consent_is_needed(consent: Consent, dns: MemoryResolver) -> None:
    for address in ("a@example.test", "a@reports.example.test"):
        assert await consent.given("news.example.test", to(address, 5)) == to(address, 5)
    assert dns.asked == []


async def test_an_outsider_gets_nothing_without_consent(consent: Consent, dns: MemoryResolver) -> None:
    refusal = await consent.given("example.test", to("a@victim.invalid"))
    assert refusal == Refusal("mailto:a@victim.invalid", "external, and victim.invalid does not consent")
    assert dns.asked == [("TXT", "example.test._report._dmarc.victim.invalid")]


@pytest.mark.parametrize("record", [b"v=DMARC1", b"v=DMARC1;", b" v = DMARC1 ; x=y"])
async def test_an_outsider_who_consents_gets_reports(consent: Consent, dns: MemoryResolver, record: bytes) -> None:
    dns.txt_records["example.test._report._dmarc.collector.invalid"] = [b"unrelated", record]
    assert await consent.given("example.test", to("a@collector.invalid", 9)) == to("a@collector.invalid", 9)
    other = await consent.given("other.test", to("a@collector.invalid"))
    assert isinstance(other, Refusal), "consent is given for one domain"


@pytest.mark.parametrize(
    "records", [[], [b""], [b"v=DMARC2"], [b"v=DMARC10"], [b"v=spf1"], [b"x; v=DMARC1"], [b"v=DMARC1", b"v=DMARC1"]]
)
async def test_invalid_consent_records(consent: Consent, dns: MemoryResolver, records: list[bytes]) -> None:
    dns.txt_records["example.test._report._dmarc.victim.invalid"] = records
    assert isinstance(await consent.given("example.test", to("a@victim.invalid")), Refusal)


async def test_the_consent_may_name_another_address_of_the_same_host(consent: Consent, dns: MemoryResolver) -> None:
    name = "example.test._report._dmarc.collector.invalid"
    dns.txt_records[name] = [b"v=DMARC1; rua=mailto:c17@collector.invalid!1m"]
    assert await consent.given("example.test", to("a@collector.invalid")) == to("c17@collector.invalid", 1 << 20)
    dns.txt_records[name] = [b"v=DMARC1; rua=mailto:a@victim.invalid"]
    assert await consent.given("example.test", to("a@collector.invalid")) == to("a@collector.invalid")


async def test_no_answer_means_not_now(consent: Consent, dns: MemoryResolver) -> None:
    dns.fails.add("example.test._report._dmarc.collector.invalid")
    for domain, address in (("example.test", "a@collector.invalid"), ("down.test", "a@x.invalid")):
        refusal = await consent.given(domain, to(address))
        assert isinstance(refusal, Refusal)
        assert refusal.later


async def test_a_name_that_cannot_exist_consents_to_nothing(consent: Consent) -> None:
    long = ".".join(["a" * 60] * 4)
    refusal = await consent.given(f"{long}.test", to("a@" + ".".join(["b" * 60] * 3)))
    assert isinstance(refusal, Refusal)
    assert not refusal.later


def test_the_omitted_destinations_are_named() -> None:
    one = to("a@x.test")
    assert too_many(one, 2, host=True) == Refusal("mailto:a@x.test", "more than 2 reports in a day for x.test")
    assert too_many(one, 5, host=False) == Refusal("mailto:a@x.test", "more than 5 reports in a day")


def test_a_size_that_the_destination_does_not_take() -> None:
    assert too_large(to("a@x.test"), 10**9) is None
    assert too_large(to("a@x.test", 100), 100) is None
    refusal = too_large(to("a@x.test", 100), 101)
    assert refusal is not None
    assert "101" in refusal.why
