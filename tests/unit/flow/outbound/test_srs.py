"""Rewritten senders of forwarded mail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.flow.outbound.srs import MOST_DAYS, Srs
from inbox.mail.address import Address
from inbox.plugin.api.testing import FakeClock

ANN = Address("Ann.Lee", "example.org")


def made(clock: FakeClock | None = None, key: bytes = b"key") -> Srs:
    return Srs(key, (clock or FakeClock()).now)


def rewritten(srs: Srs, sender: Address, domain: str = "first.test") -> Address:
    found = srs.rewritten(sender, domain)
    assert found is not None
    return found


def test_a_sender_comes_back() -> None:
    srs = made()
    address = rewritten(srs, ANN)
    assert address.local.startswith("SRS0=")
    assert address.local.endswith("=example.org=Ann.Lee")
    assert address.domain == "first.test"
    assert srs.original(address) == ANN


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_case_does_not_matter(change: object) -> None:
    assert callable(change)
    srs = made()
    found = srs.original(Address(change(rewritten(srs, ANN).local), "first.test"))
    assert found is not None
    assert (found.local.lower(), found.domain) == ("ann.lee", "example.org")


@pytest.mark.parametrize("separator", ["=", "+", "-"])
def test_all_separators_are_read(separator: str) -> None:
    srs = made()
    local = rewritten(srs, ANN).local
    assert srs.original(Address(f"SRS0{separator}{local[5:]}", "first.test")) == ANN


def test_a_foreign_rewritten_address_is_refused() -> None:
    srs = made()
    local = rewritten(srs, ANN).local
    forged = [
        local.replace("example.org", "victim.test"),
        local.replace("Ann.Lee", "bob"),
        local.replace(local[5], "b" if local[5] == "a" else "a", 1),
        "SRS0=",
        "SRS0=x",
        "SRS0==aa=example.org=ann",
        "SRS1=x=first.test==y",
        "SRS1=",
        "SRS2=" + local[5:],
        "ann",
        local.replace("SRS0", "SRS1"),
    ]
    for each in forged:
        assert srs.original(Address(each, "first.test")) is None, each
    assert made(key=b"another").original(Address(local, "first.test")) is None


def test_an_address_lives_three_weeks() -> None:
    clock = FakeClock()
    srs = made(clock)
    address = rewritten(srs, ANN)
    clock.advance(MOST_DAYS * 86_400)
    assert srs.original(address) == ANN
    clock.advance(86_400)
    assert srs.original(address) is None
    clock.advance((1024 - MOST_DAYS - 3) * 86_400)
    assert srs.original(address) is None


def test_a_clock_that_differs_by_a_day() -> None:
    ahead = FakeClock()
    ahead.advance(86_400)
    assert made().original(rewritten(made(ahead), ANN)) == ANN
    ahead.advance(86_400)
    assert made().original(rewritten(made(ahead), ANN)) is None


def test_a_second_forwarder_does_not_wrap_again() -> None:
    first, second, third = made(key=b"1"), made(key=b"2"), made(key=b"3")
    by_first = rewritten(first, ANN)
    by_second = rewritten(second, by_first, "second.test")
    by_third = rewritten(third, by_second, "third.test")
    assert by_second.local.startswith("SRS1=")
    assert "=first.test==" in by_second.local
    assert len(by_third.local) == len(by_second.local)
    # A bounce goes to the first forwarder at once, and from there to the sender.
    assert third.original(by_third) == second.original(by_second) == by_first
    assert first.original(by_first) == ANN


def test_a_sender_that_is_too_long_is_not_rewritten() -> None:
    assert made().rewritten(Address("a" * 230, "example.org"), "first.test") is None
    assert made().rewritten(Address("SRS1=x", "second.test"), "third.test") is None


def test_the_addresses_that_are_looked_up() -> None:
    for local in ("SRS0=x", "srs1+y", "Srs0-z"):
        assert Srs.is_rewritten(Address(local, "first.test"))
    for local in ("ann", "srs", "srs0", "srs2=x", "xsrs0=y"):
        assert not Srs.is_rewritten(Address(local, "first.test"))


@given(st.text(min_size=1, max_size=60))
def test_strangers_addresses_never_pass(local: str) -> None:
    assert made().original(Address(f"SRS0={local}", "first.test")) is None
    assert made().original(Address(f"SRS1={local}", "first.test")) is None
