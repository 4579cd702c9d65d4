"""The restrictions of an API key."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from inbox.mail.address import Address
from inbox.store.ports.api_keys import ApiKey, matches


def _key(**limits: object) -> ApiKey:
    return ApiKey("t", "k", "", "sender", "hash", **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "sender", "expected"),
    [
        ("ann@a.test", "Ann@A.test", True),
        ("ann@a.test", "bob@a.test", False),
        ("*@a.test", "ann@a.test", True),
        ("*@a.test", "ann@sub.a.test", False),
        ("*@a.test", "ann@xa.test", False),
        ("shop+*@a.test", "shop+1@a.test", True),
        ("shop+*@a.test", "shop@a.test", False),
        ("a*a@a.test", "a@a.test", False),
        ("a*a@a.test", "aa@a.test", True),
        ("a*a@a.test", "aba@a.test", True),
        ("*@a.test", '"x@b.test"@a.test', True),
        ("*@b.test", '"x@b.test"@a.test', False),
    ],
)
def test_patterns_of_senders(pattern: str, sender: str, expected: bool) -> None:
    assert matches(pattern, Address.parse(sender)) is expected


def test_a_key_without_limits_allows_every_sender_and_client() -> None:
    assert _key().may_send_as(Address.parse("ann@a.test"))
    assert _key().valid_from(ip_address("2001:db8::1"))
    assert not _key().expired(9e9)


def test_domain_and_sender_must_both_match() -> None:
    key = _key(domains=("a.test", "b.test"), senders=("ann@a.test", "*@c.test"))
    allowed = [key.may_send_as(Address.parse(one)) for one in ("ann@a.test", "ann@b.test", "x@c.test")]
    assert allowed == [True, False, False]


def test_a_key_is_valid_in_its_networks() -> None:
    key = _key(networks=("192.0.2.0/24", "2001:db8::/32"))
    found = [key.valid_from(ip_address(one)) for one in ("192.0.2.9", "192.0.3.1", "2001:db8::1", "2001:db9::1")]
    assert found == [True, False, True, False]


def test_a_key_expires() -> None:
    key = _key(expires_at=10.0)
    assert [key.expired(at) for at in (9.9, 10.0)] == [False, True]


def test_only_its_secret_opens_a_key() -> None:
    assert [_key().opens(text, 0.0) for text in ("hash", "", "Hash")] == [True, False, False]
    rotated = _key(old_hash="old", old_until=10.0)
    assert [rotated.opens("old", at) for at in (9.0, 10.0)] == [True, False]
    assert not _key(old_hash="old").opens("old", 0.0)
    assert "hash" not in repr(rotated).replace("_hash", "")
