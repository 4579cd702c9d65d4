"""Whatever a stranger's name or server says: an answer, NameUnfit or DnsTemporary, and bounds that hold."""

from __future__ import annotations

import contextlib
import string
from ipaddress import ip_address
from typing import Any

import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.dns.answers import Answer, Mx, NameUnfit, Tlsa
from inbox.dns.cache import AnswerCache
from inbox.dns.message import Reply, ReplyUnfit, Truncated, name_octets, question, read_reply
from inbox.dns.resolver import _normal
from inbox.plugin.api.standins import FakeClock


@given(st.text(max_size=300) | st.text(string.ascii_letters + "-.\\ @é", max_size=300))
def test_a_name_is_unfit_or_can_be_asked(name: str) -> None:
    try:
        normal = _normal(name)
    except NameUnfit:
        return
    asked = dns.name.Name([*normal.encode("ascii").split(b"."), b""])
    assert name_octets(normal) == asked.to_wire()
    assert _normal(normal.upper()) == _normal(normal + ".") == normal


RECORDS = {
    "A": ["192.0.2.1", "192.0.2.2"],
    "AAAA": ["2001:db8::1", "::"],
    "MX": ["10 mx.example.test.", "0 .", "65535 MX2.example.test."],
    "TXT": ['"v=spf1 -all"', '"one" "two" ""', '"\\000\\255"'],
    "PTR": ["mail.example.test.", "a\\.b\\032c.Example.test."],
    "TLSA": ["3 1 1 " + "ab" * 32, "0 0 0 00"],
    "CNAME": ["other.test.", "third.test."],
}
NAMES = ["example.test.", "other.test.", "third.test.", "fourth.test."]
record = st.sampled_from(sorted(RECORDS)).flatmap(
    lambda kind: st.tuples(
        st.sampled_from(NAMES), st.sampled_from([0, 60, 3600]), st.just(kind), st.sampled_from(RECORDS[kind])
    )
)


@given(st.sampled_from(sorted(RECORDS)), st.lists(record, max_size=8), st.booleans(), st.integers(0, 1200))
def test_a_reply_says_what_dnspython_reads_in_it(
    kind: str, records: list[tuple[str, int, str, str]], negative: bool, minimum: int
) -> None:
    asked = question(b"id", name_octets("example.test"), kind)
    made = dns.message.make_response(dns.message.from_wire(asked))
    for name, ttl, each, data in records:
        of_type = dns.rdatatype.from_text(each)
        rrset = made.find_rrset(made.answer, dns.name.from_text(name), dns.rdataclass.IN, of_type, create=True)
        rrset.add(dns.rdata.from_text("IN", each, data), ttl)
    if negative:
        made.authority.append(dns.rrset.from_text("test.", 600, "IN", "SOA", f"a.test. b.test. 1 2 3 4 {minimum}"))
    wire = made.to_wire()
    try:
        response = dns.message.from_wire(wire)
        assert isinstance(response, dns.message.QueryMessage)
        chain = response.resolve_chaining()
    except dns.message.ChainTooLong:
        with pytest.raises(ReplyUnfit):
            read_reply(wire, asked, kind)
        return
    read = read_reply(wire, asked, kind)
    assert read.rcode == "NOERROR"
    assert set(read.records) == {meant(each) for each in chain.answer or ()}
    if chain.answer or negative:
        assert read.ttl == chain.minimum_ttl
    else:
        assert read.ttl is None


def meant(rdata: Any) -> object:
    """The record as we have it."""
    match dns.rdatatype.to_text(rdata.rdtype):
        case "A" | "AAAA":
            return ip_address(rdata.address)
        case "MX":
            return Mx(rdata.preference, host(rdata.exchange))
        case "TXT":
            return b"".join(rdata.strings)
        case "TLSA":
            return Tlsa(rdata.usage, rdata.selector, rdata.mtype, rdata.cert)
        case _:
            return host(rdata.target)


def host(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()


@given(st.binary(max_size=600), st.sampled_from(sorted(RECORDS)))
def test_octets_are_a_reply_or_unfit(octets: bytes, kind: str) -> None:
    with contextlib.suppress(ReplyUnfit, Truncated):
        assert isinstance(read_reply(octets, question(b"id", name_octets("example.test"), kind), kind), Reply)


@given(
    st.sampled_from(sorted(RECORDS)),
    st.lists(st.tuples(st.integers(2, 400), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 60),
)
def test_a_reply_that_was_damaged_is_a_reply_or_unfit(kind: str, changes: list[tuple[int, int]], cut: int) -> None:
    asked = question(b"id", name_octets("example.test"), kind)
    made = dns.message.make_response(dns.message.from_wire(asked))
    made.answer.append(dns.rrset.from_text("example.test.", 60, "IN", "CNAME", "other.test."))
    made.answer.append(dns.rrset.from_text("other.test.", 60, "IN", kind, *RECORDS[kind]))
    made.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", "a.test. b.test. 1 2 3 4 5"))
    wire = bytearray(made.to_wire())
    for place, octet in changes:
        wire[place % len(wire)] = octet
    with contextlib.suppress(ReplyUnfit, Truncated):
        assert isinstance(read_reply(bytes(wire[: len(wire) - cut]), asked, kind), Reply)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 30), st.integers(0, 3000), st.integers(0, 10))),
    st.integers(0, 5),
    st.integers(0, 10_000),
)
def test_a_cache_keeps_within_its_bounds_and_never_tells_what_is_over(
    puts: list[tuple[str, int, int, int]], entries: int, octets: int
) -> None:
    clock = FakeClock()
    cache = AnswerCache(clock, entries, octets)
    until: dict[str, float] = {}
    for name, ttl, size, pause in puts:
        cache.put(("TXT", name), Answer((b"x" * size,), ttl=ttl), ttl)
        until[name] = clock.monotonic() + ttl
        assert len(cache) <= entries
        assert cache.octets <= octets
        clock.advance(pause)
        for known, ends in until.items():
            answer = cache.get(("TXT", known))
            if answer is not None:
                assert isinstance(answer, Answer)
                assert 0 < ends - clock.monotonic() <= answer.ttl < ends - clock.monotonic() + 1
    assert (cache.octets == 0) is (len(cache) == 0)
