"""ARC Sets: found, put in order, and judged by their structure."""

from __future__ import annotations

import pytest

from inbox.authentication.arc.chain import Chain, read_chain, results_text
from inbox.authentication.dkim.section import HeaderSection
from inbox.base.limits import ARC_RESULTS_OCTETS
from inbox.mail.content import MemoryContent


def aar(instance: object = 1) -> bytes:
    return f"ARC-Authentication-Results: i={instance}; mx.example; spf=pass\r\n".encode()


def ams(instance: object = 1) -> bytes:
    return (
        f"ARC-Message-Signature: i={instance}; a=rsa-sha256; d=example.org; s=s; h=from; bh=AA==; b=AA==\r\n".encode()
    )


def seal(instance: object = 1, cv: str = "none") -> bytes:
    return f"ARC-Seal: i={instance}; a=rsa-sha256; cv={cv}; d=example.org; s=s; b=AA==\r\n".encode()


def whole(instance: int, cv: str = "pass") -> bytes:
    return seal(instance, cv) + ams(instance) + aar(instance)


FIRST = whole(1, "none")


def chain_of(fields: bytes) -> Chain:
    return read_chain(HeaderSection.of(MemoryContent(fields + b"From: a@example.org\r\n\r\nbody\r\n")))


def test_no_fields_are_no_chain() -> None:
    assert chain_of(b"") == Chain()


def test_sets_are_put_in_order() -> None:
    chain = chain_of(ams(2) + FIRST + seal(2, "pass") + whole(3) + aar(2))
    assert chain.fault == ""
    assert [hop.instance for hop in chain.hops] == [1, 2, 3]
    assert chain.highest == 3
    assert chain.hops[1].places == (8, 0, 4)
    assert chain.hops[1].results == "mx.example; spf=pass"
    assert chain.hops[2].seal["cv"] == "pass"


def test_fifty_sets_are_enough() -> None:
    sets = [whole(instance) for instance in range(2, 51)]
    assert len(chain_of(FIRST + b"".join(sets)).hops) == 50
    more = chain_of(FIRST + b"".join(sets) + whole(50))
    assert (more.fault, more.hops) == ("more than 50 sets", ())
    assert chain_of(seal() * 200).fault == "more than 50 sets"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (seal() + ams(), "a set is missing or incomplete"),
        (seal() + aar(), "a set is missing or incomplete"),
        (ams() + aar(), "a set is missing or incomplete"),
        (aar(), "a set is missing or incomplete"),
        (FIRST + whole(3), "a set is missing or incomplete"),
        (whole(2), "a set is missing or incomplete"),
        (FIRST + aar(2), "a set is missing or incomplete"),
        (FIRST + FIRST, "ARC-Authentication-Results: an instance occurs twice"),
        (FIRST + seal(), "ARC-Seal: an instance occurs twice"),
        (FIRST + ams("01"), "ARC-Message-Signature: an instance occurs twice"),
        (seal(0) + ams() + aar(), "ARC-Seal: no instance"),
        (seal(51) + ams() + aar(), "ARC-Seal: no instance"),
        (seal("9" * 5000) + ams() + aar(), "ARC-Seal: i= is not a number of at most 2 digits"),
        (seal() + ams("9" * 5000) + aar(), "ARC-Message-Signature: i= is not a number of at most 2 digits"),
        (seal() + ams() + aar("9" * 5000), "ARC-Authentication-Results: no instance"),
        (seal() + ams() + aar("-1"), "ARC-Authentication-Results: no instance"),
        (seal() + ams() + aar("\u0661"), "ARC-Authentication-Results: no instance"),
        (seal() + ams() + b"ARC-Authentication-Results: mx; i=1;\r\n", "ARC-Authentication-Results: no instance"),
        (seal() + ams() + b"ARC-Authentication-Results:\r\n", "ARC-Authentication-Results: no instance"),
        (seal() + b"ARC-Message-Signature: i=1; i=1\r\n" + aar(), "ARC-Message-Signature: a tag occurs twice"),
        (b"ARC-Seal:\r\n" + ams() + aar(), "ARC-Seal: not a tag-list"),
        (b"ARC-Seal: i=1; n=" + b"x" * 20000 + b"\r\n" + ams() + aar(), "ARC-Seal: the tag-list is too long"),
        (b"ARC-Seal: " + b"i=1;" * 5000 + b"\r\n" + ams() + aar(), "ARC-Seal: the tag-list is too long"),
        (whole(1, "pass"), "ARC-Seal: cv= is missing or out of place"),
        (FIRST + whole(2, "none"), "ARC-Seal: cv= is missing or out of place"),
        (FIRST + whole(2, "PASS"), "ARC-Seal: cv= is missing or out of place"),
        (whole(1, "fail") + whole(2), "an earlier hop found the chain broken"),
        (b" no field\r\n" + FIRST, "the header section is malformed"),
    ],
)  # fmt: skip
def test_broken_chains(fields: bytes, fault: str) -> None:
    chain = chain_of(fields)
    assert chain.fault == fault
    assert not chain.ended


def test_a_chain_that_was_declared_broken_has_ended_whatever_else_is_wrong() -> None:
    for fields in (whole(1, "fail"), FIRST + whole(2, "fail"), FIRST + FIRST + whole(3, "fail")):
        chain = chain_of(fields)
        assert chain.ended
        assert chain.fault == "an earlier hop found the chain broken"
    assert not chain_of(FIRST + seal(2, "fail") + whole(3)).ended


@pytest.mark.parametrize(
    "value",
    [
        b"i=1;mx",
        b"\r\n i\r\n =\r\n 1\r\n ;\r\n mx",
        b" (a comment) i (b) = (c) 01 (d); mx",
        b" I=1; mx",
    ],
)
def test_the_instance_of_results_may_be_written_in_many_ways(value: bytes) -> None:
    chain = chain_of(seal() + ams() + b"ARC-Authentication-Results:" + value + b"\r\n")
    assert (chain.fault, chain.hops[0].results) == ("", "mx")


def test_fields_may_be_folded_everywhere() -> None:
    folded = FIRST.replace(b"i=1", b"\r\n i\r\n\t=\r\n 1\r\n ").replace(b"; ", b"\r\n ;\r\n\t")
    assert chain_of(folded).fault == ""
    assert chain_of(folded).hops[0].signature["d"] == "example.org"


def test_results_are_one_line_of_text() -> None:
    assert (
        results_text(b"ARC-Authentication-Results: i=2; mx.example;\r\n\tdmarc=pass\0(x)\r\n")
        == "mx.example; dmarc=pass (x)"
    )
    assert results_text(b"A: i=1; " + b"x" * ARC_RESULTS_OCTETS) == ""
    assert results_text(b"A: i=1; \xff") == "\N{REPLACEMENT CHARACTER}"
