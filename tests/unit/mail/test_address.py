"""Addresses of envelopes: what is one, how it is compared, how it is written again."""

from __future__ import annotations

import pytest

from inbox.base.limits import ADDRESS_OCTETS
from inbox.mail.address import Address, AddressError

LONG = "bounces+" + "0123456789abcdef" * 20


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("ann@demo.test", "ann"),
        ("user..name@demo.test", "user..name"),
        (".user@demo.test", ".user"),
        ("user.@demo.test", "user."),
        ("...@demo.test", "..."),
        (f"{LONG}@demo.test", LONG),
        (f"SRS0=HHH=TT=orig.test={LONG}@demo.test", f"SRS0=HHH=TT=orig.test={LONG}"),
        ('"ann bell"@demo.test', "ann bell"),
        ('"user..name"@demo.test', "user..name"),
        ("jürgen..x@demo.test", "jürgen..x"),
    ],
)
def test_an_address_is_written_as_it_came(text: str, local: str) -> None:
    address = Address.parse(text)
    assert (address.local, address.domain, str(address)) == (local, "demo.test", text)


def test_quotes_make_no_other_mailbox() -> None:
    plain, quoted = Address.parse("user..name@demo.test"), Address.parse('"user..name"@demo.test')
    assert plain == quoted
    assert plain.key == quoted.key
    assert str(Address("a b", "demo.test")) == '"a b"@demo.test'
    assert str(Address.parse('"plain"@demo.test')) == "plain@demo.test"


@pytest.mark.parametrize(
    "text",
    [
        "", "ann", "@demo.test", "ann@", "ann@demo..test", "ann@.demo.test", "ann@demo.test.", "a b@demo.test",
        "a@b@demo.test", "ann@-demo.test", "a" * ADDRESS_OCTETS + "@demo.test", '"ann@demo.test',
    ],
)  # fmt: skip
def test_invalid_addresses(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


@pytest.mark.parametrize("end", ["", "@", "@@", "@b..c", "\n", " ", "@b.c>", '"'])
@pytest.mark.parametrize("begin", ["a", "a.", ".", "ü", "a-", '"a'])
def test_a_long_text_that_is_not_an_address_is_refused_at_once(begin: str, end: str) -> None:
    """One that is tried in exponential time would never be refused."""
    for repeated in (100, 100_000):
        with pytest.raises(AddressError):
            Address.parse(begin * repeated + end)
