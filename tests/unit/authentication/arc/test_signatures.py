"""The two signatures of a set: what they must have, and what keys do to them."""

from __future__ import annotations

import pytest

from inbox.authentication.arc.signatures import (
    SignatureInvalid,
    Signed,
    read_message_signature,
    read_seal,
    seal_octets,
)
from inbox.authentication.dkim.canonical import Form
from inbox.authentication.dkim.crypto import sign
from inbox.authentication.dkim.keys import KeyInvalid, PublicKey
from inbox.base.limits import CLOCK_SKEW_SECONDS
from inbox.dns.answers import DnsTemporary
from tests.support.arc import NOW
from tests.support.rsa_keys import rsa_key

TAGS = {"a": "rsa-sha256", "b": "AAAA", "bh": "BBBB", "d": "Example.ORG", "h": "From : to", "i": "1", "s": "s"}
PUBLIC = PublicKey("rsa", rsa_key().public_key(), 1024)


def test_a_message_signature_is_read() -> None:
    signature = read_message_signature(TAGS | {"c": "simple/relaxed", "t": "12", "x": f"{int(NOW)}"}, NOW)
    assert signature.key == ("example.org", "s", "rsa")
    assert signature.covers == ("from", "to")
    assert (signature.header_form, signature.body_form) == (Form.SIMPLE, Form.RELAXED)
    assert (signature.signature, signature.body_hash) == (b"\0\0\0", b"\x04\x10A")


@pytest.mark.parametrize(
    ("c", "forms"),
    [
        ({}, (Form.RELAXED, Form.RELAXED)),
        ({"c": "relaxed"}, (Form.RELAXED, Form.SIMPLE)),
        ({"c": "simple"}, (Form.SIMPLE, Form.SIMPLE)),
    ],
)
def test_the_forms(c: dict[str, str], forms: tuple[Form, Form]) -> None:
    signature = read_message_signature(TAGS | c, NOW)
    assert (signature.header_form, signature.body_form) == forms


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"a": "rsa-sha1"}, "the algorithm is unknown"),
        ({"a": ""}, "a= is missing"),
        ({"b": ""}, "b= is missing or not base64"),
        ({"bh": "!"}, "bh= is missing or not base64"),
        ({"c": ""}, "the canonicalisation is unknown"),
        ({"c": "relaxed/"}, "the canonicalisation is unknown"),
        ({"c": "relaxed/relaxed/relaxed"}, "the canonicalisation is unknown"),
        ({"d": "a..b"}, "not a domain name"),
        ({"d": "a" * 64 + ".example"}, "not a domain name"),
        ({"s": "*"}, "not a domain name"),
        ({"h": "from:" * 1001}, "h= is missing or too long"),
        ({"h": "from:ARC-Seal"}, "it covers a seal"),
        ({"l": "5"}, "only a part of the body is signed"),
        ({"t": "9" * 5000}, "t= is not a number of at most 12 digits"),
        ({"t": f"{int(NOW) + CLOCK_SKEW_SECONDS + 1}"}, "it was made in the future"),
        ({"x": f"{int(NOW) - CLOCK_SKEW_SECONDS - 1}"}, "it has expired"),
    ],
)  # fmt: skip
def test_tags_that_a_message_signature_must_not_have(tags: dict[str, str], reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        read_message_signature(TAGS | tags, NOW)
    assert str(caught.value) == reason


def test_a_seal_has_no_list_of_fields() -> None:
    tags = {name: value for name, value in TAGS.items() if name not in {"h", "bh"}}
    assert read_seal(tags, NOW).key == ("example.org", "s", "rsa")
    with pytest.raises(SignatureInvalid, match="h= is not allowed in a seal"):
        read_seal(tags | {"h": ""}, NOW)


def test_the_key_decides() -> None:
    data = b"data"
    signed = Signed(("example.org", "s", "rsa"), sign(rsa_key(), data))
    signed.check(PUBLIC, data)
    for found, reason in (
        (PUBLIC, "the signature is wrong"),
        (KeyInvalid("there is no key"), "there is no key"),
        (None, "its key was not looked up"),
        (PublicKey("rsa", rsa_key().public_key(), 1024, hashes=("sha1",)), "the key is not for SHA-256"),
    ):
        with pytest.raises(SignatureInvalid, match=reason) as caught:
            signed.check(found, data + b"!")
        assert not caught.value.temporary
    with pytest.raises(SignatureInvalid) as caught:
        signed.check(DnsTemporary("SERVFAIL for a stranger's name"), data)
    assert caught.value.temporary
    assert "stranger" not in str(caught.value)


def test_the_fields_that_a_seal_signs() -> None:
    octets = seal_octets([b"1\r\n", b"arc-a:i=2\r\n", b"arc-m:i=2\r\n"], b"ARC-Seal: b=y\r\n z ;\r\n i=2\r\n")
    assert octets == b"1\r\narc-a:i=2\r\narc-m:i=2\r\narc-seal:b=; i=2"
