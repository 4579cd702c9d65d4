"""Address lists as ENVELOPE shows them."""

from __future__ import annotations

import pytest

from inbox.base.limits import ADDRESS_OCTETS, HEADER_ADDRESSES
from inbox.mail.addresslist import addr_spec, display, parse_addresses

Row = tuple[bytes | None, bytes | None, bytes | None, bytes | None]
END: Row = (None, None, None, None)
AB: Row = (None, None, b"a", b"b")


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (b"a@b.c", [(None, None, b"a", b"b.c")]),
        (b"<a@b.c>", [(None, None, b"a", b"b.c")]),
        (b"Ann Bee <a@b.c>", [(b"Ann Bee", None, b"a", b"b.c")]),
        (b'"Bee, Ann" <a@b.c>', [(b"Bee, Ann", None, b"a", b"b.c")]),
        (b'"Ann \\"B\\" Bee" <a@b.c>', [(b'Ann "B" Bee', None, b"a", b"b.c")]),
        (b'"A" Bee <a@b.c>', [(b"A Bee", None, b"a", b"b.c")]),
        (b"Ann   Bee <a@b.c>", [(b"Ann Bee", None, b"a", b"b.c")]),
        (b"a@b, d@e.f,\r\n g <h@i>", [AB, (None, None, b"d", b"e.f"), (b"g", None, b"h", b"i")]),
        (b"a@b.c (Ann Bee)", [(b"Ann Bee", None, b"a", b"b.c")]),
        (b"a (nested (comment)) @ b . c", [(b"nested (comment)", None, b"a", b"b.c")]),
        (b'"a b"@c', [(None, None, b"a b", b"c")]),
        (b"a@[192.0.2.1]", [(None, None, b"a", b"[192.0.2.1]")]),
        (b"<@x,@y:a@b>", [(None, b"@x,@y", b"a", b"b")]),
        (b"Team: a@b, C <c@d>;", [(None, None, b"Team", None), AB, (b"C", None, b"c", b"d"), END]),
        (b"undisclosed-recipients:;", [(None, None, b"undisclosed-recipients", None), END]),
        (b"local", [(None, None, b"local", b"MISSING_DOMAIN")]),
        (b"Ann <>", [(b"Ann", None, b"MISSING_MAILBOX", b"MISSING_DOMAIN")]),
        (b"Ann <a@b", [(b"Ann", None, b"a", b"SYNTAX_ERROR")]),
        (b"Bee, Ann <a@b>", [(None, None, b"Bee", b"MISSING_DOMAIN"), (b"Ann", None, b"a", b"b")]),
        (b"B Z, Ann <a@b>", [(b"B Z", None, b"MISSING_MAILBOX", b"MISSING_DOMAIN"), (b"Ann", None, b"a", b"b")]),
        (b"J\xc3\xb6rg <a@b>", [(b"J\xc3\xb6rg", None, b"a", b"b")]),
        (b" , a@b, (none) ,,\r\n d@e.f, ", [AB, (None, None, b"d", b"e.f")]),
        (b"Team: , a@b,,;, a@b", [(None, None, b"Team", None), AB, END, AB]),
        (b",", []),
        (b"", []),
        (b" \r\n ", []),
        (b"(only a comment", []),
    ],
)  # fmt: skip
def test_parse(value: bytes, rows: list[Row]) -> None:
    assert [tuple(address) for address in parse_addresses(value)] == rows


def test_an_address_after_a_broken_one_is_not_lost() -> None:
    assert parse_addresses(b"@@@, d@e")[-1][2:] == (b"d", b"e")


def test_the_number_of_addresses_is_bounded() -> None:
    assert len(parse_addresses(b'"x" <a@b>, ' * (HEADER_ADDRESSES + 10))) <= HEADER_ADDRESSES


def test_addr_spec_is_the_first_real_address_in_lower_case() -> None:
    assert addr_spec(parse_addresses(b"Team: Ann@Example.ORG;")) == "ann@example.org"
    assert addr_spec(parse_addresses(b"nobody, Ann <A@B.c>")) == "a@b.c"
    assert addr_spec(parse_addresses(b"nobody")) == ""
    assert addr_spec(parse_addresses(b"=?utf-8?q?a?=@b")) == "=?utf-8?q?a?=@b"
    long = addr_spec(parse_addresses(b"a" * 5000 + b"@B.test"))
    assert (len(long), long[-8:]) == (ADDRESS_OCTETS, "a@b.test")


def test_display_decodes_the_name() -> None:
    (address,) = parse_addresses(b"=?utf-8?Q?J=C3=B6rg?= <a@b>")
    assert display(address) == "Jörg <a@b>"
    assert display(parse_addresses(b"a@b")[0]) == "a@b"
    assert display(parse_addresses(b"g:;")[0]) is None
