"""BIMI: the record, the selector, the policy that it takes, and where the record is looked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inbox.authentication.bimi import BimiMalformed, Record, assess, not_enforced, parse_record, selector_of
from inbox.authentication.dmarc.author import Author
from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.evaluation import Checked, evaluate
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.base.limits import BIMI_RECORD_OCTETS
from inbox.mail.headers import Headers
from inbox.plugin.api.facts import BimiFact, DkimFact, DkimSignature, DmarcFact, Result, SpfFact
from inbox.plugin.api.standins import MemoryResolver

SVG = "https://brand.example.org/logo.svg"
PEM = "https://brand.example.org/mark.pem"
RECORD = f"v=BIMI1; l={SVG}; a={PEM}".encode()
PASSED = DmarcFact(
    Result.PASS,
    "news.example.org",
    "example.org",
    "example.org",
    "reject",
    published=(("v", "DMARC1"), ("p", "reject")),
)
SIGNED = DkimFact(
    Result.PASS, (DkimSignature(Result.PASS, "example.org", "s1", covers=("from", "bimi-selector"), algorithm="rsa"),)
)
SELECTOR = Headers.parse(b"From: a@news.example.org\r\nBIMI-Selector: v=BIMI1;\r\n s=Winter\r\n\r\n")
PLAIN = Headers.parse(b"From: a@news.example.org\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RECORD, Record(SVG, PEM)),
        (f"v=BIMI1;l={SVG}".encode(), Record(SVG)),
        (f" v = BIMI1 ; a= ; l = {SVG} ;".encode(), Record(SVG)),
        (f"v=BIMI1; l={SVG},https://b.example/l.svg; a={PEM},{PEM}".encode(), Record(SVG, PEM)),
        (f"v=BIMI1; l={SVG}; avp=brand; lps=a,b; x=1".encode(), Record(SVG)),
        (b"v=BIMI1; l=; a=;", Record("")),
        (b"v=BIMI1; l=", Record("")),
        (b"v=BIMI2; l=;", None),
        (b"v=bimi1; l=;", None),
        (b"l=; v=BIMI1", None),
        (b"v=spf1 -all", None),
        (b"", None),
    ],
)
def test_a_record_is_read(text: bytes, expected: Record | None) -> None:
    assert parse_record(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"v=BIMI1",
        b"v=BIMI1; a=https://a.example/m.pem",
        b"v=BIMI1; l=http://brand.example.org/logo.svg",
        b"v=BIMI1; l=https://localhost/logo.svg",
        b"v=BIMI1; l=https://user@brand.example.org/logo.svg",
        b"v=BIMI1; l=https://brand.example.org:99999/logo.svg",
        b"v=BIMI1; l=https://[::1]/logo.svg",
        b"v=BIMI1; l=https://[/logo.svg",
        b"v=BIMI1; l=https://brand.example.org/logo.png",
        b"v=BIMI1; l=https://brand.example.org/lo\r\ngo.svg",
        b"v=BIMI1; l=https://brand.example.org/lo go.svg",
        b"v=BIMI1; l=https://brand.example.org/\xfc.svg",
        b"v=BIMI1; l=javascript:alert(1)",
        b"v=BIMI1; l=" + SVG.encode() + b"; a=nonsense",
        b"v=BIMI1; l=; l=",
        b"v=BIMI1; l=;; a=",
        b"v=BIMI1; 1=; l=",
        b"v=BIMI1; l=https://brand.example.org/" + b"x" * 600,
        RECORD + b"; x=" + b"y" * BIMI_RECORD_OCTETS,
    ],
)
def test_a_malformed_record_is_an_error(text: bytes) -> None:
    with pytest.raises(BimiMalformed):
        parse_record(text)


@given(st.binary(max_size=300).map(lambda tail: b"v=BIMI1;" + tail))
@example(b"v=BIMI1;l=https://\xb2.example.org:\xb2/")
def test_no_record_raises_any_other_error(text: bytes) -> None:
    try:
        record = parse_record(text)
    except BimiMalformed:
        return
    assert record is not None
    assert all(part == "" or (part.isascii() and part.isprintable()) for part in (record.location, record.evidence))


def test_the_selector_counts_if_the_author_signed_it() -> None:
    assert selector_of(SELECTOR, SIGNED, "example.org") == "winter"


@pytest.mark.parametrize(
    "dkim",
    [
        None,
        DkimFact(Result.NONE),
        DkimFact(Result.FAIL, (replace(SIGNED.signatures[0], result=Result.FAIL),)),
        DkimFact(Result.PASS, (replace(SIGNED.signatures[0], covers=("from",)),)),
        DkimFact(Result.PASS, (replace(SIGNED.signatures[0], domain="example.net"),)),
        DkimFact(Result.PASS, (replace(SIGNED.signatures[0], domain="badexample.org"),)),
    ],
)
def test_a_selector_without_a_valid_signature_of_the_author_is_ignored(dkim: DkimFact | None) -> None:
    assert selector_of(SELECTOR, dkim, "example.org") == "default"


@pytest.mark.parametrize(
    "fields",
    [
        b"BIMI-Selector: s=winter\r\n",
        b"BIMI-Selector: v=BIMI1\r\n",
        b"BIMI-Selector: v=BIMI1; s=\r\n",
        b"BIMI-Selector: v=BIMI1; s=a..b\r\n",
        b"BIMI-Selector: v=BIMI1; s=*\r\n",
        b"BIMI-Selector: v=BIMI1; s=winter; s=summer\r\n",
        b"BIMI-Selector: v=BIMI1; s=" + b"a" * 64 + b"\r\n",
        b"BIMI-Selector: v=BIMI1; s=" + b"a." * 5000 + b"\r\n",
        b"BIMI-Selector: v=BIMI1; s=winter\r\nBIMI-Selector: v=BIMI1; s=summer\r\n",
    ],
)
def test_a_malformed_selector_is_ignored(fields: bytes) -> None:
    assert selector_of(Headers.parse(fields + b"\r\n"), SIGNED, "example.org") == "default"


@pytest.mark.parametrize(
    ("published", "strong"),
    [
        ({"p": "reject"}, True),
        ({"p": "quarantine"}, True),
        ({"p": "quarantine", "pct": "100", "sp": "reject"}, True),
        ({"p": "reject", "sp": "quarantine", "t": "n"}, True),
        ({"p": "none"}, False),
        ({}, False),
        ({"p": "reject", "sp": "none"}, False),
        ({"p": "quarantine", "pct": "99"}, False),
        ({"p": "reject", "t": "y"}, False),
    ],
)
def test_the_policy_must_be_at_enforcement(published: dict[str, str], strong: bool) -> None:
    assert (not_enforced(published) == "") is strong


def resolver(**records: bytes | list[bytes]) -> MemoryResolver:
    """``default_news=…`` is default._bimi.news.example.org; ``dmarc=…`` is _dmarc.example.org."""
    dns = MemoryResolver()
    for key, value in records.items():
        selector, _, where = key.partition("_")
        name = f"{selector}._bimi.{where}.example.org" if where else f"{selector}._bimi.example.org"
        name = "_dmarc.example.org" if key == "dmarc" else name
        dns.txt_records[name] = value if isinstance(value, list) else [value]
    return dns


async def test_the_domain_itself_is_asked_first() -> None:
    dns = resolver(default_news=RECORD, default=b"v=BIMI1; l=;")
    fact = await assess(PASSED, SIGNED, PLAIN, dns)
    assert fact == BimiFact(Result.PASS, "news.example.org", "default", SVG, PEM)
    assert dns.asked == [("TXT", "default._bimi.news.example.org")]


async def test_the_selector_is_not_asked_for_at_the_organizational_domain() -> None:
    dns = resolver(winter=b"v=BIMI1; l=;", default=RECORD)
    fact = await assess(PASSED, SIGNED, SELECTOR, dns)
    assert fact == BimiFact(Result.PASS, "example.org", "default", SVG, PEM)
    assert dns.asked == [("TXT", "winter._bimi.news.example.org"), ("TXT", "default._bimi.example.org")]


async def test_the_organizational_domain_is_asked_once() -> None:
    dns = resolver()
    fact = await assess(replace(PASSED, domain="example.org"), None, PLAIN, dns)
    assert (fact.result, fact.reason) == (Result.NONE, "no record")
    assert dns.asked == [("TXT", "default._bimi.example.org")]


@pytest.mark.parametrize(
    ("records", "result", "reason"),
    [
        ([b"v=BIMI1; l=; a=;"], Result.NONE, "the domain opts out"),
        ([b"v=BIMI1"], Result.PERMERROR, "a record without l="),
        ([RECORD, RECORD], Result.PERMERROR, "more than one record"),
        ([b"v=spf1 -all"], Result.NONE, "no record"),
    ],
)
async def test_the_result_for_each_record(records: list[bytes], result: Result, reason: str) -> None:
    fact = await assess(PASSED, SIGNED, PLAIN, resolver(default_news=records))
    assert (fact.result, fact.reason, fact.location) == (result, reason, "")


@pytest.mark.parametrize("dmarc", [None, replace(PASSED, result=Result.FAIL), replace(PASSED, published=())])
async def test_without_a_strong_pass_no_query_is_made(dmarc: DmarcFact | None) -> None:
    dns = resolver(default_news=RECORD)
    fact = await assess(dmarc, SIGNED, PLAIN, dns)
    assert fact.result is Result.NONE
    assert fact.reason
    assert dns.asked == []


@pytest.mark.parametrize(
    ("organizational", "result"),
    [
        ([b"v=DMARC1; p=reject"], Result.PASS),
        ([b"v=DMARC1; p=none"], Result.NONE),
        ([b"v=DMARC1; p=reject; sp=none"], Result.NONE),
        ([b"v=DMARC1; p=nonsense"], Result.NONE),
        ([b"v=DMARC1; p=reject", b"v=DMARC1; p=reject"], Result.NONE),
        ([], Result.NONE),
    ],
)
async def test_the_organizational_domain_must_be_strict_too(organizational: list[bytes], result: Result) -> None:
    dns = resolver(default_news=RECORD, dmarc=organizational)
    fact = await assess(replace(PASSED, policy_domain="news.example.org"), SIGNED, PLAIN, dns)
    assert fact.result is result


async def test_dmarc_s_own_evaluation_is_understood() -> None:
    """An exact match leaves the organizational domain open: it is looked for here."""
    dns = resolver(default=RECORD, dmarc=[b"v=DMARC1; p=quarantine; rua=mailto:a@example.org"])
    checked = Checked(SpfFact(Result.PASS, "news.example.org"), None)
    for own, result in ((None, Result.PASS), (b"v=DMARC1; p=reject", Result.PASS), (b"v=DMARC1; p=none", Result.NONE)):
        if own is not None:
            dns.txt_records["_dmarc.news.example.org"] = [own]
        dmarc = await evaluate(Author("news.example.org"), checked, Discovery(dns, Method.TREE_WALK, shipped()), 0)
        assert (dmarc.result, dmarc.organizational_domain) == (Result.PASS, "")
        fact = await assess(dmarc, None, PLAIN, dns)
        assert fact.result is result
        assert fact.domain == ("example.org" if result is Result.PASS else "news.example.org")


async def test_without_an_answer_from_the_dns() -> None:
    dns = resolver()
    dns.fails.add("default._bimi.news.example.org")
    assert (await assess(PASSED, SIGNED, PLAIN, dns)).result is Result.TEMPERROR
    far = replace(PASSED, domain=".".join(["a" * 60] * 5))
    assert (await assess(far, SIGNED, PLAIN, resolver())).result is Result.PERMERROR
