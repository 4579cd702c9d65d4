"""Verifying: the RFCs' examples, and everything that must not pass."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from inbox.authentication.dkim.canonical import Form, body_hashes
from inbox.authentication.dkim.crypto import sign as sign_octets
from inbox.authentication.dkim.section import HeaderSection
from inbox.authentication.dkim.verify import INLINE_OCTETS, Limits, verify
from inbox.base.limits import BODY_CHANGES
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import DkimFact, Result
from inbox.plugin.api.signing import PrivateKey
from inbox.plugin.api.standins import MemoryResolver
from tests.support.dkim import ED25519_KEY, MAIL, NOW, RSA_KEY, key_record, signed, signing_key

JOE = b"""From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""
#: RFC 6376 appendix A.2, with errata 3192 and 4926: one space in the body, and six in front of folded lines.
RFC_6376 = b"""DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
""" + JOE.replace(b"game.  Are", b"game. Are")
#: RFC 6376 appendix C.
BRISBANE_RSA = (
    b"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4j"
    b"YfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QID"
    b"AQAB"
)
#: RFC 8463 appendix A.3; the body has one space here, too.
RFC_8463 = (
    b"""DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
"""
    + JOE
)
BRISBANE_ED25519 = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
TEST_RSA = (
    b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16"
    b"JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l"
    b"/K4w3QIDAQAB"
)
RSA, ED25519 = signing_key(), signing_key(ED25519_KEY)
P, PERM, FAIL, TEMP, POLICY = Result.PASS, Result.PERMERROR, Result.FAIL, Result.TEMPERROR, Result.POLICY


@pytest.fixture
def dns() -> MemoryResolver:
    found = MemoryResolver()
    found.txt_records["rsa._domainkey.sender.test"] = [key_record(RSA_KEY)]
    found.txt_records["ed25519._domainkey.sender.test"] = [key_record(ED25519_KEY)]
    return found


async def check(message: bytes, dns: MemoryResolver, now: float = NOW, limits: Limits | None = None) -> DkimFact:
    return await verify(MemoryContent(message), dns, now=now, limits=limits or Limits())


def handmade(
    message: bytes, *, private: PrivateKey = RSA_KEY, c: str = "relaxed/relaxed", h: str = "from:to:subject",
    more: str = "", b: Callable[[bytes], bytes] = bytes, length: int | None = None,
) -> bytes:  # fmt: skip
    """A signature that our own signer would not make."""
    section = HeaderSection.of(MemoryContent(message))
    header, body = (Form(part) for part in c.split("/"))
    hashes = body_hashes(MemoryContent(message), section.body, body, [length])
    digest = base64.b64encode(hashes.get(length, bytes(32))).decode()
    key = signing_key(private)
    field = (
        f"DKIM-Signature: v=1; a={key.algorithm}; c={c}; d=sender.test; s={key.selector}; h={h};{more}\r\n bh={digest};"
        f"{'' if length is None else f' l={length};'} b="
    ).encode()
    data = section.signed_octets(h.lower().split(":"), header, field)
    return field + b(base64.b64encode(sign_octets(private, data))) + b"\r\n" + message


async def test_the_example_of_rfc_6376() -> None:
    dns = MemoryResolver()
    dns.txt_records["brisbane._domainkey.example.com"] = [BRISBANE_RSA]
    fact = await check(RFC_6376.replace(b"\n", b"\r\n"), dns)
    assert fact.result is P
    (one,) = fact.signatures
    assert (one.domain, one.selector, one.identity, one.bits) == (
        "example.com", "brisbane", "joe@football.example.com", 1024,
    )  # fmt: skip


async def test_the_examples_of_rfc_8463() -> None:
    dns = MemoryResolver()
    dns.txt_records["brisbane._domainkey.football.example.com"] = [BRISBANE_ED25519]
    dns.txt_records["test._domainkey.football.example.com"] = [TEST_RSA]
    fact = await check(RFC_8463.replace(b"\n", b"\r\n"), dns)
    assert [(one.result, one.algorithm) for one in fact.signatures] == [(P, "ed25519-sha256"), (P, "rsa-sha256")]


async def test_our_signatures_pass(dns: MemoryResolver) -> None:
    fact = await check(signed(MAIL, RSA, ED25519), dns)
    assert [(one.result, one.bits, one.reason) for one in fact.signatures] == [(P, 2048, ""), (P, 256, "")]
    assert (fact.result, fact.passing, fact.skipped) == (P, ("sender.test",), 0)


async def test_without_a_signature(dns: MemoryResolver) -> None:
    assert await check(MAIL, dns) == DkimFact(Result.NONE)
    assert dns.asked == []


@pytest.mark.parametrize("c", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
async def test_all_forms(dns: MemoryResolver, c: str) -> None:
    assert (await check(handmade(MAIL, c=c), dns)).result is P
    assert (await check(handmade(MAIL, c=c, private=ED25519_KEY), dns)).result is P
    spaced = handmade(MAIL, c=c).replace(b"The  plan", b"The plan")
    assert (await check(spaced, dns)).result is (P if c.startswith("relaxed") else FAIL)
    trimmed = handmade(MAIL, c=c).replace(b"Bob, \r\n", b"Bob,\r\n")
    assert (await check(trimmed, dns)).result is (P if c.endswith("relaxed") else FAIL)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"Hello", b"Hullo"), "the body is not what was signed"),
        ((b"Subject: The", b"Subject: That"), "the signature does not fit the header fields"),
        ((b"t=1800000000", b"t=1800000001"), "the signature does not fit the header fields"),
        ((b"From: Ann", b"Cc: x@y.test\r\nFrom: Ann"), "the signature does not fit the header fields"),
        ((b"From: Ann", b"Content-Type: text/html\r\nFrom: Ann"), "the signature does not fit the header fields"),
        ((b"From: Ann", b"Subject: Other\r\nFrom: Ann"), "the signature does not fit the header fields"),
    ],
)
async def test_a_changed_message_fails(dns: MemoryResolver, change: tuple[bytes, bytes], reason: str) -> None:
    fact = await check(signed(MAIL, RSA).replace(*change, 1), dns)
    assert (fact.result, fact.signatures[0].reason) == (FAIL, reason)


async def test_the_body_up_to_a_length_is_never_a_pass(dns: MemoryResolver) -> None:
    for length in (0, 5, 23):
        fact = await check(handmade(MAIL, length=length) + b"<b>more</b>", dns)
        assert (fact.result, fact.signatures[0].reason) == (POLICY, "l= allows anyone to append to the body")
    fact = await check(handmade(MAIL, length=1000), dns)
    assert (fact.result, fact.signatures[0].reason) == (PERM, "l= exceeds the length of the body")
    assert (await check(handmade(MAIL, length=5).replace(b"Hello", b"Hullo"), dns)).result is FAIL


async def test_more_than_one_from(dns: MemoryResolver) -> None:
    both = b"From: eve@evil.test\r\n" + handmade(MAIL)
    assert (await check(both, dns)).signatures[0].reason == "there must be exactly one From field"
    for name in (b"FROM ", b"from\t"):
        assert (await check(name + b": eve@evil.test\r\n" + signed(MAIL, RSA), dns)).result is PERM
    none = MAIL.replace(b"From:", b"Fram:")
    assert (await check(handmade(none, h="from:subject"), dns)).result is PERM


async def test_a_second_field_that_is_not_signed(dns: MemoryResolver) -> None:
    fact = await check(b"Subject: Other\r\n" + handmade(MAIL), dns)
    assert (fact.result, fact.signatures[0].reason) == (POLICY, "there is a subject field that is not signed")
    assert (await check(b"Subject: Other\r\n" + handmade(MAIL, h="from:to"), dns)).result is P
    twice = b"To: x@y.test\r\n" + MAIL
    assert (await check(handmade(twice, h="from:to:to"), dns)).result is P


@pytest.mark.parametrize(
    "spoil",
    [
        lambda mail: b" folded: first\r\n" + mail,
        lambda mail: mail.replace(b"To: Bob", b"no field\r\nTo: Bob"),
        lambda mail: mail.replace(b"To: Bob", b"To\x00: Bob"),
        lambda mail: b"X: y\r\n" * 1001 + mail,
    ],
)
async def test_an_unsound_header_section(dns: MemoryResolver, spoil: Callable[[bytes], bytes]) -> None:
    fact = await check(spoil(handmade(MAIL)), dns)
    assert fact.result in {PERM, Result.NONE}
    assert fact.passing == ()


async def test_a_first_line_that_is_not_a_field(dns: MemoryResolver) -> None:
    stray = b"From ann@sender.test Fri Jan 15 08:00:00 2027\r\n"
    assert (await check(stray + handmade(MAIL), dns)).result is P
    assert (await check(handmade(stray + MAIL), dns)).result is P
    # Whatever is signed: a second From, and a From that only some readers see, never pass.
    for more in (b"From: eve@evil.test\r\n", b" From: eve@evil.test\r\n", b"From eve: x\r\n"):
        for spoiled in (more + stray + handmade(MAIL), stray + more + handmade(MAIL)):
            assert (await check(spoiled, dns)).passing == ()


async def test_bare_line_ends(dns: MemoryResolver) -> None:
    mail = handmade(MAIL)
    for spoiled in (
        mail.replace(b"\r\n", b"\n"),
        mail.replace(b"Hello", b"Hel\rlo"),
        mail.replace(b"Hello", b"Hel\nlo"),
    ):
        assert (await check(spoiled, dns)).result is FAIL
    assert (await check(mail.replace(b"\r\n", b"\r"), dns)).passing == ()


async def test_a_body_that_is_made_to_cost_time(dns: MemoryResolver) -> None:
    fact = await check(signed(MAIL, RSA) + b"a  " * (BODY_CHANGES + 1), dns)
    assert (fact.result, fact.signatures[0].reason) == (PERM, "the body has too much white space to canonicalise")


async def test_keys_that_cannot_be_had(dns: MemoryResolver) -> None:
    dns.fails.add("rsa._domainkey.sender.test")
    fact = await check(signed(MAIL, RSA, ED25519), dns)
    assert [one.result for one in fact.signatures] == [TEMP, P]
    assert fact.result is P
    fact = await check(signed(MAIL, RSA), dns)
    assert (fact.result, fact.signatures[0].reason) == (TEMP, "the key cannot be looked up now")
    dns.fails.clear()
    dns.slow.add("rsa._domainkey.sender.test")
    fact = await check(signed(MAIL, RSA), dns)
    why = "the key cannot be looked up now: too many slow look-ups for this message"
    assert (fact.result, fact.signatures[0].reason) == (TEMP, why)
    fact = await check(signed(MAIL, replace(RSA, selector="none")), dns)
    assert (fact.result, fact.signatures[0].reason) == (PERM, "there is no key")
    long = replace(RSA, selector=".".join(["a" * 60] * 4), domain="b" * 60 + ".test")
    fact = await check(signed(MAIL, long), dns)
    assert (fact.result, fact.signatures[0].reason) == (PERM, "not a domain name")


@pytest.mark.parametrize(
    ("record", "result", "reason"),
    [
        (b"v=DKIM1; p=", PERM, "the key is revoked"),
        (key_record(RSA_KEY) + b"; h=sha1", PERM, "the key is not for SHA-256"),
        (key_record(RSA_KEY) + b"; h=sha1:sha256", P, ""),
        (key_record(RSA_KEY) + b"; s=other", PERM, "the key is not for mail"),
        (key_record(RSA_KEY) + b"; t=s", PERM, "the key is not for subdomains"),
        (key_record(RSA_KEY) + b"; t=y", P, "the key is for tests"),
        (key_record(ED25519_KEY), PERM, "the key is of another type than the signature"),
        (key_record(RSA_KEY) + b"; n=" + b"x" * 8000, PERM, "the key record is too long"),
        (b"\xff\x00", PERM, "the key record is malformed: not a tag-list"),
    ],
)
async def test_restrictions_of_the_key_apply(dns: MemoryResolver, record: bytes, result: Result, reason: str) -> None:
    dns.txt_records["rsa._domainkey.sender.test"] = [record]
    fact = await check(handmade(MAIL, more=" i=ann@mail.sender.test;"), dns)
    assert (fact.result, fact.signatures[0].reason) == (result, reason)


async def test_a_domain_that_tests_is_as_if_unsigned_when_it_fails(dns: MemoryResolver) -> None:
    dns.txt_records["rsa._domainkey.sender.test"] = [key_record(RSA_KEY) + b"; t=y"]
    fact = await check(signed(MAIL, RSA).replace(b"Hello", b"Hullo"), dns)
    assert fact.result is Result.NONE
    assert (fact.signatures[0].result, fact.signatures[0].testing) == (FAIL, True)


async def test_keys_that_are_shorter_than_wanted(dns: MemoryResolver) -> None:
    fact = await check(signed(MAIL, RSA, ED25519), dns, limits=Limits(bits=3072))
    assert [one.result for one in fact.signatures] == [POLICY, P]
    assert fact.signatures[0].reason == "the key has fewer than 3072 bits"


async def test_two_hundred_signatures(dns: MemoryResolver) -> None:
    field = signed(MAIL, ED25519).removesuffix(MAIL)
    wrong = field * 3 + b"".join(field.replace(b"s=ed25519", b"s=n%d" % i) for i in range(197))
    fact = await check(wrong + MAIL, dns)
    assert (len(fact.signatures), fact.skipped, fact.result) == (8, 192, P)
    assert len(dns.asked) == 6
    fact = await check(wrong + MAIL, dns, limits=Limits(signatures=3))
    assert (len(fact.signatures), fact.skipped) == (3, 197)


async def test_headers_folded_everywhere(dns: MemoryResolver) -> None:
    folded = re.sub(rb"(?<=[;:>,]) (?=\S)", b"\r\n ", MAIL.partition(b"\r\n\r\n")[0]) + b"\r\n\r\nbody\r\n"
    for c in ("simple/simple", "relaxed/relaxed"):
        assert (await check(handmade(folded, c=c), dns)).result is P
    every = handmade(MAIL, b=lambda b: b"\r\n ".join(b[i : i + 1] for i in range(len(b))))
    assert (await check(every, dns)).result is P


async def test_the_order_of_results(dns: MemoryResolver) -> None:
    expired = signed(MAIL, ED25519).replace(b"t=1800000000;", b"t=1800000000; x=1700000000;").removesuffix(MAIL)
    fact = await check(expired + signed(MAIL, RSA), dns)
    assert ([one.result for one in fact.signatures], fact.result) == ([PERM, P], P)
    dns.fails.add("rsa._domainkey.sender.test")
    assert (await check(expired + signed(MAIL, RSA), dns)).result is TEMP


async def test_large_messages_are_worked_on_elsewhere(dns: MemoryResolver) -> None:
    calls = []

    async def offload(function: Callable[..., object], *args: object) -> object:
        calls.append(function)
        return function(*args)

    for size, times in ((1000, 0), (INLINE_OCTETS, 1)):
        message = signed(MAIL + b"x" * size, RSA)
        fact = await verify(MemoryContent(message), dns, now=NOW, offload=offload)  # type: ignore[arg-type]  # no generics
        assert (fact.result, len(calls)) == (P, times)
