"""The set that we add."""

from __future__ import annotations

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.authentication.arc.seal import ArcFields, seal, sealing_key
from inbox.authentication.dkim.tags import parse_tags
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import ArcFact, ArcSet, Result
from inbox.plugin.api.signing import SigningKey
from inbox.plugin.api.standins import MemoryResolver
from tests.support.arc import MESSAGE, NOW, Forwarder, passed_on, record
from tests.support.rsa_keys import rsa_key

NONE = ArcFact(Result.NONE)
FAIL = ArcFact(Result.FAIL)
KEY = SigningKey("example.org", "arc", rsa_key())


@pytest.fixture
def dns() -> MemoryResolver:
    return MemoryResolver()


def made(message: bytes = MESSAGE, chain: ArcFact = NONE, found: str = "mx.example; spf=pass") -> ArcFields:
    fields = seal(MemoryContent(message), found, KEY, NOW, chain)
    assert fields is not None
    return fields


def tags(field: bytes) -> dict[str, str]:
    return parse_tags(field.partition(b":")[2])


def test_the_first_set() -> None:
    fields = made()
    assert fields.results == b"ARC-Authentication-Results: i=1; mx.example; spf=pass\r\n"
    said = tags(fields.seal)
    assert {name: said[name] for name in ("a", "cv", "d", "i", "s", "t")} == {
        "a": "rsa-sha256", "cv": "none", "d": "example.org", "i": "1", "s": "arc", "t": "1700000000",
    }  # fmt: skip
    assert bytes(fields) == fields.seal + fields.message_signature + fields.results
    assert [line.partition(b":")[0] for line in (fields.seal, fields.message_signature)] == [
        b"ARC-Seal",
        b"ARC-Message-Signature",
    ]


def test_the_fields_that_a_message_signature_covers() -> None:
    extra = (
        b"DKIM-Signature: v=1; d=a\r\nDKIM-Signature: v=1; d=b\r\nAuthentication-Results: mx; none\r\n"
        b"List-Id: <l>\r\nX-Mine: 1\r\nReceived: from a\r\nReturn-Path: <>\r\n"
    )
    key = SigningKey("example.org", "arc", rsa_key(), ("From", "X-Mine", "Received", "ARC-Seal", "Return-Path"))
    fields = seal(MemoryContent(extra + MESSAGE), "mx; none", key, NOW, NONE)
    assert fields is not None
    names = "".join(tags(fields.message_signature)["h"].split()).split(":")
    # Once more than they are there, so that none can be added.
    assert (names.count("from"), names.count("subject"), names.count("reply-to")) == (2, 2, 1)
    assert (names.count("dkim-signature"), names.count("list-id"), names.count("x-mine")) == (2, 1, 1)
    assert not {"received", "return-path", "authentication-results", "arc-seal"} & set(names)


def test_the_fields_named_by_the_caller_are_those_that_are_covered() -> None:
    fields = seal(MemoryContent(MESSAGE), "mx; none", KEY, NOW, NONE, ["From", "Subject"])
    assert fields is not None
    assert tags(fields.message_signature)["h"] == "from:subject"


def test_lines_are_short_and_nothing_is_smuggled_in() -> None:
    found = "mx.example;\r\nBcc: x;" + " spf=pass smtp.mailfrom=author.example;" * 10 + " x=\N{SNOWMAN}"
    many = b"".join(b"List-Id: <%d>\r\n" % number for number in range(500)) + MESSAGE
    lines = bytes(made(many, found=found)).split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert [line[:4] for line in lines if not line.startswith(b" ")] == [b"ARC-"] * 3 + [b""]
    assert b"\r" not in b"".join(lines)


async def test_the_next_set_continues_where_the_last_one_ended(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 2, dns)
    chain = await Forwarder(dns, "any.example").judge(message)
    fields = made(message, chain)
    assert (tags(fields.seal)["i"], tags(fields.seal)["cv"]) == ("3", "pass")
    assert fields.results.startswith(b"ARC-Authentication-Results: i=3; ")


async def test_a_broken_chain_gets_a_last_set_that_covers_itself_alone(dns: MemoryResolver) -> None:
    message = (await passed_on(MESSAGE, 2, dns)).replace(b"Subject: A", b"Subject: B")
    forwarder = Forwarder(dns, "example.org")
    chain = await forwarder.judge(message)
    assert chain.result is Result.FAIL
    fields = made(message, chain)
    assert (tags(fields.seal)["i"], tags(fields.seal)["cv"]) == ("3", "fail")
    # RFC 8617 §5.1.2: the same seal, whatever sets there were before.
    other = message.replace(b"mx.hop1.example; spf=pass", b"mx.hop1.example; spf=fail")
    assert made(other, chain).seal == fields.seal
    sealed = bytes(fields) + message
    assert (await forwarder.judge(sealed)).reason == "an earlier hop found the chain broken"
    # That is the end of it.
    assert seal(MemoryContent(sealed), "mx; none", KEY, NOW, FAIL) is None


@pytest.mark.parametrize(
    "chain", [NONE, FAIL, ArcFact(Result.PASS), ArcFact(Result.PASS, (ArcSet(1, "a", "b", ""),) * 2)]
)
async def test_a_chain_that_was_not_validated_is_not_vouched_for(dns: MemoryResolver, chain: ArcFact) -> None:
    message = await passed_on(MESSAGE, 1, dns)
    assert tags(made(message, chain).seal)["cv"] == "fail"


@pytest.mark.parametrize("field", [b"ARC-Seal: i=1\r\n", b"ARC-Seal: nonsense\r\n", b"ARC-Seal: i=1; i=1\r\n"])
def test_a_mutilated_chain_is_broken(field: bytes) -> None:
    assert tags(made(field + MESSAGE, FAIL).seal)["cv"] == "fail"


def test_a_removed_chain_starts_again() -> None:
    assert tags(made(MESSAGE, ArcFact(Result.PASS, (ArcSet(1, "a", "b", ""),))).seal)["cv"] == "none"


def test_no_set_where_there_must_not_be_one() -> None:
    for message in (
        b"ARC-Seal: i=50; cv=pass\r\n" + MESSAGE,
        b"ARC-Seal: i=2; cv=fail\r\n" + MESSAGE,
        b" junk\r\n" + MESSAGE,
    ):
        assert seal(MemoryContent(message), "mx; none", KEY, NOW, FAIL) is None


def test_only_rsa_keys_seal() -> None:
    other = SigningKey("example.org", "ed", Ed25519PrivateKey.generate())
    assert sealing_key([other, KEY]) is KEY
    assert sealing_key([other]) is None
    with pytest.raises(ValueError, match="RSA"):
        seal(MemoryContent(MESSAGE), "mx; none", other, NOW, NONE)


async def test_another_implementation_finds_our_chains_whole(dns: MemoryResolver) -> None:
    def txt(name: bytes, timeout: int = 5) -> bytes:
        return dns.txt_records[name.decode().rstrip(".")][0]

    message = await passed_on(MESSAGE, 5, dns, keys=3)
    state, hops, reason = dkim.arc_verify(message, dnsfunc=txt)
    assert (state, reason) == (b"pass", "success")
    assert all(hop["ams-valid"] and hop["as-valid"] for hop in hops)


async def test_we_find_chains_of_another_implementation_whole(dns: MemoryResolver) -> None:
    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    dns.txt_records["arc._domainkey.other.example"] = [record(rsa_key())]

    def other(message: bytes, found: bytes) -> bytes:
        message = b"Authentication-Results: mx.other.example; spf=pass; " + found + b"\r\n" + message
        fields = dkim.arc_sign(message, b"arc", b"other.example", pem, b"mx.other.example", timestamp=int(NOW))
        assert fields
        return b"".join(fields) + message.partition(b"\r\n")[2]

    message = other(other(MESSAGE, b"arc=none"), b"arc=pass")
    # In between, one of ours.
    message = other(await Forwarder(dns, "ours.example").pass_on(message), b"arc=pass")
    fact = await Forwarder(dns, "any.example").judge(message)
    assert (fact.result, fact.oldest_pass, fact.reason) == (Result.PASS, 0, "")
    assert fact.sealers == ("other.example", "other.example", "ours.example", "other.example")
