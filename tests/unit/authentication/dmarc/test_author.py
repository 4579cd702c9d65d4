"""The domain that From names, and the many ways in which it does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inbox.authentication.dmarc.author import Author, MessageAuthor, a_labels, author_of
from inbox.base.limits import FIELD_OCTETS
from inbox.mail.address import AddressError


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (b"ann@example.com", "example.com"),
        (b"Ann <ann@EXAMPLE.com>", "example.com"),
        (b'"Ann (home)" <ann@example.com>', "example.com"),
        (b"Ann\r\n <ann@example.com>", "example.com"),
        (b"ann@example.com (Ann)", "example.com"),
        (b"ann @ example . com", "example.com"),
        (b"a@example.com, b@EXAMPLE.com", "example.com"),
        (b"Team: a@example.com, b@example.com;", "example.com"),
        (b'"other@x.test" <ann@example.com>', "example.com"),
        (b"ann@example.com (other@x.test)", "example.com"),
        (b"=?utf-8?q?other@x.test?= <ann@example.com>", "example.com"),
        (b'"a@x.test"@example.com', "example.com"),
        (b"ann@example.com <ann@example.com>", "example.com"),
        (b"other@x.test <ann@example.com>", "example.com"),
        (b"root, ann@example.com", "example.com"),
        (b"ann@localhost", "localhost"),
        ("ann@bücher.example".encode(), "xn--bcher-kva.example"),
        ("ann@straße.example".encode(), "xn--strae-oqa.example"),
        ("ann@BÜCHER。example".encode(), "xn--bcher-kva.example"),
        (b"ann@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("Änn <ann@example.com>".encode(), "example.com"),
        ("Änn <ann@example.com>".encode("latin-1"), "example.com"),
    ],
)
def test_one_domain(value: bytes, domain: str) -> None:
    assert author_of([value]) == Author(domain)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([], "no From field"),
        ([b"a@example.com", b"a@example.com"], "several From fields"),
        ([b""], "no domain"),
        ([b"<>"], "no domain"),
        ([b"root"], "no domain"),
        ([b"Undisclosed:;"], "no domain"),
        ([b"a@"], "no domain"),
        ([b"a@example.com, b@example.org"], "several domains"),
        ([b"a@evil.test, <b@bank.test>"], "several domains"),
        ([b"<a@evil.test> <b@bank.test>"], "several domains"),
        ([b"a@evil.test; b@bank.test"], "several domains"),
        ([b"Team: a@evil.test; <b@bank.test>"], "several domains"),
        ([b'a@evil.test (" ) <b@bank.test> ( ")'], "several domains"),
        ([b'a@evil.test " <b@bank.test>'], "several domains"),
        ([b"a@evil.test (( ) <b@bank.test>"], "domain"),
        ([b"<a@evil.test"], "malformed"),
        ([b"<=?utf-8?q?b=40bank=2Etest?=>, a@evil.test"], "malformed"),
        ([b"Bob <=?utf-8?q?b=40bank=2Etest=3E?=@evil.test>"], "malformed"),
        ([b"a@[192.0.2.1]"], "literal"),
        ([b"a@exam\x00ple.com"], "control"),
        ([b"a@-x.example"], "malformed"),
        ([b"a@" + b"x" * 64 + b".example"], "malformed"),
        ([b"a@" + b"x." * 200 + b"example"], "malformed"),
        ([b"a@x..example"], "malformed"),
        ([b"a@.example"], "malformed"),
        ([b"a@\xff\xfe.example"], "malformed"),
        (["a@\u200d.example".encode()], "malformed"),
        (["a@ü".encode() + "ü".encode() * 80 + b".example"], "malformed"),
        ([b"x" * FIELD_OCTETS + b" <a@example.com>"], "octets"),
    ],
)
def test_no_single_domain(fields: list[bytes], why: str) -> None:
    author = author_of(fields)
    assert author.domain == ""
    assert why in author.problem


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (b'"' + b'\\"' * 30_000, ""),
        (b"(" * 60_000, ""),
        (b"a@example.com " + b"(" * 30_000 + b")" * 30_000, "example.com"),
        (b"a@example.com," * 4_000, "example.com"),
        (b",".join(b"a@%s.test" % f"{n:010b}".replace("0", "e").replace("1", "E").encode() for n in range(1000)), ""),
        ("ä@ü.example,".encode() * 4_000, "xn--tda.example"),
        (b"=?x?q?" * 10_000, ""),
        (b'"a@b" ' * 10_000 + b"<a@example.com>", ""),
        (b"a @ b " * 10_000 + b"<a@example.com>", "example.com"),
        (b". " * 30_000 + b"@ a . b <a@example.com>", "example.com"),
        (b". " * 30_000 + b"@ a . b <a@example.com>,", ""),
        (b"<" * 60_000, ""),
        (b"@" * 60_000, ""),
    ],
)
def test_large_fields_come_to_an_end(value: bytes, domain: str) -> None:
    # The time-out of the test run is the bound: what is quadratic here takes minutes.
    assert author_of([value]).domain == domain


def test_idna_is_that_of_2008() -> None:
    assert a_labels("faß.example") == "xn--fa-hia.example"
    with pytest.raises(AddressError):
        a_labels("x" * 300)


def test_the_author_of_a_message_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Author] = []

    def find(fields: Sequence[bytes]) -> Author:
        found.append(author_of(fields))
        return found[-1]

    monkeypatch.setattr("inbox.authentication.dmarc.author.author_of", find)
    author = MessageAuthor()
    assert author.of([b"a@example.com"]) is author.of([b"a@example.com"])
    assert found == [Author("example.com")]
