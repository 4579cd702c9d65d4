"""Addresses with a display name."""

from __future__ import annotations

import pytest

from inbox.mail.address import AddressError
from inbox.mail.addresslist import parse_addresses
from inbox.mail.encoded import decode_value
from inbox.mail.nameaddr import NameAddr, address_field


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("ann@example.org", "", "ann@example.org"),
        (" <ann@example.org>", "", "ann@example.org"),
        ("Ann Example <ann@example.org>", "Ann Example", "ann@example.org"),
        ('"Ann, \\"CEO\\"" <ann@example.org>', 'Ann, "CEO"', "ann@example.org"),
        ("Änn <ann@exämple.org>", "Änn", "ann@xn--exmple-cua.org"),
        ("Jörg <jörg@example.org>", "Jörg", "jörg@example.org"),
    ],
)
def test_one_address_is_read(text: str, name: str, address: str) -> None:
    found = NameAddr.parse(text)
    assert (found.name, str(found.address)) == (name, address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "ann@example.org, bob@example.org",
        "ann@example.org,bob@example.org",
        "ann@example.org;bob@example.org",
        "Friends: ann@example.org;",
        "ann@example.org <bob@example.org>",
        "Ann, Bob <ann@example.org>",
        "Ann <ann@example.org>, bob@example.org",
        "Ann <ann@example.org> <bob@example.org>",
        "<@relay.example:ann@example.org>",
        "ann@example.org (comment)",
        "Ann (comment) <ann@example.org>",
        "ann@example.org\r\nBcc: bob@example.org",
        "Ann\n <ann@example.org>",
        "Ann\0 <ann@example.org>",
        "Ann\x85 <ann@example.org>",
        "Ann\u2028 <ann@example.org>",
        "Ann\ud800 <ann@example.org>",
        "x" * 201 + " <ann@example.org>",
        "x" * 10_000,
        '"' * 500 + "<ann@example.org>",
    ],
)
def test_anything_else_than_one_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        NameAddr.parse(text)


@pytest.mark.parametrize(
    "name",
    ["Ann", "Ann O'Hara", 'Ann "CEO"', "Ann, Bob <x@y.test>", "back\\slash", "Änne " * 30, "日本語" * 40, "x" * 200],
)
def test_a_field_is_read_as_it_was_written(name: str) -> None:
    addresses = [NameAddr(NameAddr.parse("ann@example.org").address, name), NameAddr.parse("bob@example.org")]
    field = address_field("To", addresses)
    assert max(map(len, field.split(b"\r\n"))) <= 300
    value = field.removeprefix(b"To: ").replace(b"\r\n", b"")
    first, second = parse_addresses(value)
    assert (first.mailbox, first.host) == (b"ann", b"example.org")
    assert (second.mailbox, second.host) == (b"bob", b"example.org")
    assert decode_value(first.name or b"") == name.strip()
    assert b"\n" not in value
