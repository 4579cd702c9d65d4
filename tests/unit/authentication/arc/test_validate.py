"""Validation of chains that real seals made."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from inbox.authentication.arc.chain import read_chain
from inbox.authentication.arc.seal import rendered, seal
from inbox.authentication.arc.signatures import seal_octets, set_octets
from inbox.authentication.arc.validate import INLINE_SETS, validate
from inbox.authentication.dkim.canonical import Form, canonical_field
from inbox.authentication.dkim.crypto import sign
from inbox.authentication.dkim.section import HeaderSection
from inbox.authentication.dkim.verify import INLINE_OCTETS
from inbox.base.limits import ARC_KEYS, ARC_SETS
from inbox.mail.content import FileContent, MemoryContent
from inbox.plugin.api.facts import ArcFact, Result
from inbox.plugin.api.standins import MemoryResolver
from tests.support.arc import MESSAGE, NOW, Forwarder, passed_on, record
from tests.support.rsa_keys import rsa_key

R = TypeVar("R")


@pytest.fixture
def dns() -> MemoryResolver:
    return MemoryResolver()


async def judge(message: bytes, dns: MemoryResolver) -> ArcFact:
    return await validate(MemoryContent(message), dns, now=NOW)


async def test_without_a_chain_the_result_is_none(dns: MemoryResolver) -> None:
    for message in (MESSAGE, b"", b"\r\n", b"\r\nbody", b"no header\r\n"):
        assert (await judge(message, dns)).result is Result.NONE
    assert dns.asked == []


async def test_a_chain_passes_and_tells_of_each_hop(dns: MemoryResolver) -> None:
    first = await Forwarder(dns, "one.example").pass_on(MESSAGE, found="spf=pass smtp.mailfrom=author.example")
    second = await Forwarder(dns, "Two.Example", number=1).pass_on(first, found="dmarc=fail")
    fact = await judge(second, dns)
    assert (fact.result, fact.oldest_pass, fact.reason) == (Result.PASS, 0, "")
    assert fact.sealers == ("one.example", "two.example")
    assert [one.results for one in fact.sets] == [
        "mx.one.example; spf=pass smtp.mailfrom=author.example",
        "mx.Two.Example; dmarc=fail",
    ]
    assert [one.instance for one in fact.sets] == [1, 2]
    assert "from" in fact.sets[1].covers
    assert fact.sets[0].covers == ()


async def test_a_first_line_that_is_not_a_field_does_not_break_a_chain(dns: MemoryResolver) -> None:
    stray = b"From one@one.example Mon Jan  1 10:00:00 2024\r\n"
    first = await Forwarder(dns, "one.example").pass_on(stray + MESSAGE)
    second = await Forwarder(dns, "two.example", number=1).pass_on(stray + first)
    assert (await judge(stray + second, dns)).sealers == ("one.example", "two.example")
    assert (await judge(stray + second, dns)).result is Result.PASS
    assert (await judge(b" From: eve@evil.example\r\n" + second, dns)).result is Result.FAIL


@pytest.mark.parametrize("added", [b"Subject: Pay now\r\n", b"From: Eve <eve@evil.example>\r\n"])
async def test_a_field_that_was_added_above_a_signed_one_is_reported(added: bytes, dns: MemoryResolver) -> None:
    """Not every sealer signs fields once more than they occur. Readers show the first; the last one was signed."""
    hop = Forwarder(dns, "one.example")
    fields = seal(MemoryContent(MESSAGE), "one.example; none", hop.key, NOW, ArcFact(Result.NONE), ("from", "subject"))
    message = b"Received: from a by b\r\n" + bytes(fields or b"") + MESSAGE
    fact = await judge(message, dns)
    assert (fact.result, fact.added) == (Result.PASS, "")
    fact = await judge(added + message, dns)
    assert (fact.result, fact.added) == (Result.PASS, added.partition(b":")[0].decode().lower())


async def test_the_oldest_matching_instance_is_reported(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 2, dns)
    message = await Forwarder(dns, "list.example").pass_on(message, lambda it: it + b"-- \r\nthe list\r\n")
    assert ((await judge(message, dns)).result, (await judge(message, dns)).oldest_pass) == (Result.PASS, 3)
    message = await Forwarder(dns, "last.example").pass_on(message)
    assert (await judge(message, dns)).oldest_pass == 3


async def test_an_older_hop_s_header_may_have_been_changed_too(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 1, dns)
    message = await Forwarder(dns, "list.example").pass_on(message, lambda it: it.replace(b": A", b": [list] A"))
    fact = await judge(message, dns)
    assert (fact.result, fact.oldest_pass) == (Result.PASS, 2)


async def test_without_its_key_an_older_message_signature_does_not_count(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 3, dns, keys=3)
    name = "arc._domainkey.hop1.example"
    keys = dns.txt_records.pop(name)
    assert (await judge(message, dns)).reason == "ARC-Seal of instance 1: there is no key"
    dns.txt_records[name] = keys
    assert (await judge(message, dns)).result is Result.PASS


SIGNATURE = "ARC-Message-Signature of instance 2: "
SEAL = "ARC-Seal of instance 2: "


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"How are you", b"Who are you", f"{SIGNATURE}the body was changed after signing"),
        (b"Subject: A", b"Subject: B", f"{SIGNATURE}the signature is wrong"),
        (b"From: Ann", b"From: x@evil.example\r\nFrom: Ann", f"{SIGNATURE}the signature is wrong"),
        (b"Subject: A", b"Reply-To: x@evil.example\r\nSubject: A", f"{SIGNATURE}the signature is wrong"),
        (b"mx.hop2.example; spf=pass", b"mx.hop2.example; spf=fail", f"{SEAL}the signature is wrong"),
        (b"mx.hop1.example; spf=pass", b"mx.hop1.example; spf=fail", f"{SEAL}the signature is wrong"),
        (b"cv=none", b"cv=pass", "ARC-Seal: cv= is missing or out of place"),
    ],
)
async def test_whatever_is_changed_breaks_the_chain(dns: MemoryResolver, old: bytes, new: bytes, reason: str) -> None:
    message = await passed_on(MESSAGE, 2, dns)
    assert old in message
    fact = await judge(message.replace(old, new), dns)
    assert (fact.result, fact.reason) == (Result.FAIL, reason)


async def test_a_chain_that_does_not_fit_asks_nothing(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 3, dns)
    dns.asked.clear()
    for broken in (message + b"more\r\n", message.replace(b"i=2", b"i=7"), message.replace(b"cv=pass", b"cv=none")):
        assert (await judge(broken, dns)).result is Result.FAIL
    assert dns.asked == []


async def test_only_who_sealed_last_is_asked_of_when_that_seal_is_wrong(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 5, dns)
    dns.asked.clear()
    assert (await judge(message.replace(b"Subject: A", b"Subject: B"), dns)).result is Result.FAIL
    assert dns.asked == [("TXT", "arc._domainkey.hop5.example")]


async def test_a_key_that_cannot_be_looked_up_is_reported_as_a_failure(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 2, dns)
    for name in ("hop2", "hop1"):
        dns.fails = {f"arc._domainkey.{name}.example"}
        fact = await judge(message, dns)
        assert (fact.result, fact.temporary) == (Result.FAIL, True)
        assert fact.reason.endswith("its key cannot be looked up now")
    dns.fails = set()
    dns.txt_records["arc._domainkey.hop1.example"] = [record(rsa_key(7))]
    fact = await judge(message, dns)
    assert (fact.result, fact.temporary) == (Result.FAIL, False)


async def test_a_longest_chain_passes(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, ARC_SETS, dns)
    fact = await judge(message, dns)
    assert (fact.result, fact.oldest_pass, len(fact.sets)) == (Result.PASS, 0, ARC_SETS)
    assert await Forwarder(dns, "more.example").pass_on(message) == (
        b"Received: from a by b; Fri, 15 Jan 2027 08:00:01 +0000\r\n" + message
    )


async def test_only_so_many_keys_are_asked_for(dns: MemoryResolver) -> None:
    """If each message signature has another key than its seal, older ones are left unchecked."""
    message = MESSAGE
    for number in range(1, ARC_SETS + 1):
        chain = await judge(message, dns)
        one, other = (Forwarder(dns, f"{kind}{number}.example") for kind in ("seal", "message"))
        inner = seal(MemoryContent(message), "mx; none", other.key, NOW, chain)
        assert inner is not None
        # The seal of one server over the message signature of another one.
        outer = _resealed(message, bytes(inner.message_signature), bytes(inner.results), one, chain)
        message = outer + message
    dns.asked.clear()
    fact = await judge(message, dns)
    assert fact.result is Result.PASS
    assert len(set(dns.asked)) == ARC_KEYS
    assert fact.oldest_pass == ARC_SETS - (ARC_KEYS - ARC_SETS) + 1


def _resealed(message: bytes, signature: bytes, results: bytes, by: Forwarder, chain: ArcFact) -> bytes:
    section = HeaderSection.of(MemoryContent(message))
    before = [set_octets(section, hop.places) for hop in read_chain(section).hops]
    instance = len(before) + 1
    cv = "pass" if before else "none"
    tags = [("cv", cv), ("d", by.key.domain), ("i", str(instance)), ("s", by.key.selector), ("t", str(int(NOW)))]
    covered = [canonical_field(field, Form.RELAXED) for field in (results, signature)]
    octets = seal_octets([*before, *covered], rendered("ARC-Seal", tags))
    return rendered("ARC-Seal", tags, sign(by.key.private, octets)) + signature + results


async def test_a_large_message_is_read_in_pieces_and_elsewhere(dns: MemoryResolver, tmp_path: Path) -> None:
    body = b"A line of text, and another one.\r\n" * 60_000
    message = await passed_on(MESSAGE + body, 2, dns)
    path = tmp_path / "message"
    path.write_bytes(message)
    called: list[str] = []

    async def offload(function: Callable[..., R], *args: Any) -> R:
        called.append(function.__name__)
        return function(*args)

    fact = await validate(FileContent(path), dns, now=NOW, offload=offload)
    assert (fact.result, fact.oldest_pass) == (Result.PASS, 0)
    assert called == ["prepare", "check_newest", "check_others"]
    assert len(message) > INLINE_OCTETS
    path.write_bytes(message[:-10] + b"?" + message[-9:])
    assert (await validate(FileContent(path), dns, now=NOW, offload=offload)).result is Result.FAIL


@pytest.mark.parametrize(("sets", "elsewhere"), [(INLINE_SETS, False), (INLINE_SETS + 1, True)])
async def test_a_long_chain_is_checked_elsewhere(dns: MemoryResolver, sets: int, elsewhere: bool) -> None:
    called: list[str] = []

    async def offload(function: Callable[..., R], *args: Any) -> R:
        called.append(function.__name__)
        return function(*args)

    message = MemoryContent(await passed_on(MESSAGE, sets, dns))
    assert (await validate(message, dns, now=NOW, offload=offload)).result is Result.PASS
    assert bool(called) is elsewhere


async def test_fields_may_be_refolded_in_transit(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 2, dns)
    head, _, body = message.partition(b"\r\n\r\n")
    folded = re.sub(rb"\r\n[ \t]+|(?<=[^:]) ", b"\r\n\t \t", head)
    assert folded != head
    assert (await judge(folded + b"\r\n\r\n" + body, dns)).result is Result.PASS
    assert (await judge(head.replace(b"ARC-", b"arc-") + b"\r\n\r\n" + body, dns)).result is Result.PASS
