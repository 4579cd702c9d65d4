"""DMARC: nothing that strangers write makes it fail or pass by accident."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import suppress
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.authentication.dmarc.author import a_labels, author_of
from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.evaluation import Checked, evaluate, sample_of
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.authentication.dmarc.records import Record, is_record, parse_record
from inbox.mail.address import AddressError
from inbox.mail.addresslist import MISSING_DOMAIN, SYNTAX_ERROR, parse_addresses
from inbox.plugin.api.facts import DkimFact, DkimSignature, DmarcFact, Result, SpfFact
from inbox.plugin.api.standins import MemoryResolver

POLICIES = ["none", "quarantine", "reject"]
DOMAINS = st.sampled_from(
    ["example.com", "a.example.com", "b.a.example.com", "com", "example.org", "b.example.org", "xn--bcher-kva.example"]
)
TAGS = st.one_of(
    st.builds("{}={}".format, st.sampled_from(["p", "sp", "np"]), st.sampled_from([*POLICIES, "x", ""])),
    st.builds("{}={}".format, st.sampled_from(["adkim", "aspf"]), st.sampled_from(["r", "s", "S", "x"])),
    st.builds("psd={}".format, st.sampled_from(["y", "n", "u", "x"])),
    st.builds("t={}".format, st.sampled_from(["y", "n", "x"])),
    st.builds("pct={}".format, st.integers(-5, 10**9)),
    st.builds("rua={}".format, st.sampled_from(["mailto:a@b.test", "mailto:x", "https://x.test/", "", ",,"])),
    st.text(max_size=20),
)
RECORDS = st.lists(TAGS, max_size=6).map(lambda tags: "; ".join(["v=DMARC1", *tags]).encode())


@given(st.binary(max_size=300))
def test_any_octets_are_a_record_or_none(text: bytes) -> None:
    is_record(text)
    assert isinstance(parse_record(b"v=DMARC1;" + text), Record)


@given(RECORDS)
def test_a_published_record_is_read_back(text: bytes) -> None:
    record = parse_record(text)
    again = parse_record("; ".join(["v=DMARC1", *map("=".join, record.published)]).encode())
    if not record.problem:
        assert again == record


@given(st.lists(st.one_of(st.binary(max_size=80), st.text(max_size=60).map(str.encode)), max_size=3))
def test_any_from_field_names_one_domain_or_says_why_not(fields: list[bytes]) -> None:
    author = author_of(fields)
    assert bool(author.domain) != bool(author.problem)
    assert author.domain.isascii() and author.domain == author.domain.lower()


#: Pieces of From fields, in any order.
PIECES = st.sampled_from(
    [
        b"a@x.test", b"b@bank.test", b"Bob", b'"', b"(", b")", b"<", b">", b",", b";", b":", b" ", b"@", b".",
        b"[", b"]", b"\\", b'\\"', b"=?utf-8?q?c=40bank.test?=", b"=?utf-8?q?=3C?=", b"x.test", b"bank.test",
        b"\r\n ", b"'",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=9).map(b"".join))
def test_no_reader_of_envelope_is_shown_another_domain_than_the_one_that_is_judged(value: bytes) -> None:
    author = author_of([value])
    if not author.domain:
        return
    for address in parse_addresses(value):
        if address.host is None or address.host in {MISSING_DOMAIN, SYNTAX_ERROR}:
            continue
        # A single label is nobody's domain, and what is no domain cannot be impersonated.
        with suppress(AddressError):
            shown = a_labels(address.host.decode())
            assert shown == author.domain or "." not in shown


@given(st.sampled_from([b"%s", b"<%s>", b"Ann <%s>", b'"A, B" <%s>', b"%s (Ann)", b"G: %s;"]), DOMAINS, DOMAINS)
def test_two_addresses_count_only_if_they_are_of_one_domain(form: bytes, one: str, other: str) -> None:
    both = (form % f"a@{one}".encode()) + b", " + (form % f"b@{other}".encode())
    assert author_of([both]).domain == (one if one == other else "")


def _fact(dns: MemoryResolver, author: str, spf: SpfFact, dkim: DkimFact, method: Method, sample: int) -> DmarcFact:
    discovery = Discovery(dns, method, shipped())
    return asyncio.run(evaluate(author_of([f"a@{author}".encode()]), Checked(spf, dkim), discovery, sample))


@given(
    records=st.dictionaries(DOMAINS, st.lists(RECORDS, min_size=1, max_size=2), max_size=4),
    failing=st.sets(DOMAINS, max_size=2),
    author=DOMAINS,
    spf=st.tuples(DOMAINS, st.sampled_from(Result)),
    dkim=st.lists(st.tuples(DOMAINS, st.sampled_from(Result)), max_size=3),
    method=st.sampled_from(Method),
    sample=st.integers(0, 99),
)
def test_no_pass_without_a_passing_relative(
    records: dict[str, list[bytes]],
    failing: set[str],
    author: str,
    spf: tuple[str, Result],
    dkim: list[tuple[str, Result]],
    method: Method,
    sample: int,
) -> None:
    dns = MemoryResolver()
    dns.txt_records = {f"_dmarc.{domain}": texts for domain, texts in records.items()}
    dns.fails = {f"_dmarc.{domain}" for domain in failing}
    signatures = tuple(DkimSignature(result, domain) for domain, result in dkim)
    fact = _fact(dns, author, SpfFact(spf[1], spf[0]), DkimFact(Result.NONE, signatures), method, sample)
    passing = {domain for domain, result in [spf, *dkim] if result is Result.PASS}
    related = {other for other in passing if {author, other} & {*_above(author)} & {*_above(other)}}
    if fact.result is Result.PASS:
        assert related, "a stranger's domain made it pass"
    if author in passing and fact.policy:
        assert fact.result is Result.PASS
    if fact.result is not Result.FAIL:
        assert (fact.disposition, fact.exception) == ("none", "")
    elif fact.disposition != fact.policy:
        assert POLICIES.index(fact.disposition) == POLICIES.index(fact.policy) - 1 and fact.exception
    # A DNS that answers nothing can only take a pass away.
    dns.fails = {f"_dmarc.{domain}" for domain in ("com", "example.com", author)}
    blind = _fact(dns, author, SpfFact(spf[1], spf[0]), DkimFact(Result.NONE, signatures), method, sample)
    assert blind.result is Result.TEMPERROR


def _above(domain: str) -> list[str]:
    """The domain and all above it that have one more label than the public suffix, or stand for themselves."""
    labels = domain.split(".")
    return [".".join(labels[index:]) for index in range(len(labels))]


@given(st.text())
def test_samples_are_percents_and_stay_the_same(text: str) -> None:
    assert 0 <= sample_of(text) <= 99
    assert sample_of(text) == sample_of(text)


@pytest.fixture(scope="module")
def checkdmarc() -> ModuleType:
    """Imported here, since that takes a second."""
    return importlib.import_module("checkdmarc.dmarc")


@given(
    tags=st.lists(
        st.one_of(
            st.builds("{}={}".format, st.sampled_from(["p", "sp", "np"]), st.sampled_from([*POLICIES, "Reject"])),
            st.builds("{}={}".format, st.sampled_from(["adkim", "aspf"]), st.sampled_from(["r", "s", "S"])),
            st.builds("psd={}".format, st.sampled_from("ynu")),
            st.builds("t={}".format, st.sampled_from("yn")),
            st.builds("fo={}".format, st.sampled_from(["0", "1", "d", "s", "d:s"])),
        ),
        max_size=6,
        unique_by=lambda tag: tag.partition("=")[0],
    ),
    separator=st.sampled_from([";", "; ", " ; "]),
)
def test_well_formed_records_are_read_as_checkdmarc_reads_them(
    checkdmarc: ModuleType, tags: list[str], separator: str
) -> None:
    text = separator.join(["v=DMARC1", *tags])
    theirs = {name: tag["value"] for name, tag in checkdmarc.parse_dmarc_record(text, "example.com")["tags"].items()}
    ours = parse_record(text.encode())
    assert ours.p == theirs["p"]
    assert ours.policy_below(exists=True) == theirs["sp"]
    assert ours.policy_below(exists=False) == theirs["np"]
    assert ("s" if ours.strict_dkim else "r", "s" if ours.strict_spf else "r") == (theirs["adkim"], theirs["aspf"])
    assert (ours.psd, "y" if ours.testing else "n") == (theirs["psd"], theirs["t"])
