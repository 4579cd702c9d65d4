"""Signing: which fields, in which words, and that folding does no harm."""

import re

import pytest

from inbox.authentication.dkim.section import HeaderSection
from inbox.authentication.dkim.sign import CannotBeSigned, sign, sign_all, signed_names
from inbox.authentication.dkim.tags import parse_tags, words
from inbox.base.limits import BODY_CHANGES
from inbox.mail.content import MemoryContent
from inbox.mail.edits import render_field
from tests.support.dkim import ED25519_KEY, MAIL, NOW, signing_key

CONTENT = MemoryContent(MAIL)


def test_the_tags() -> None:
    tags = parse_tags(sign(CONTENT, signing_key(), now=NOW + 0.9, expire_after=60).encode())
    assert list(tags) == ["v", "a", "c", "d", "s", "t", "x", "h", "bh", "b"]
    assert (tags["v"], tags["a"], tags["c"], tags["d"], tags["s"]) == (
        "1", "rsa-sha256", "relaxed/relaxed", "sender.test", "rsa",
    )  # fmt: skip
    assert (tags["t"], tags["x"]) == ("1800000000", "1800000060")
    tags = parse_tags(sign(CONTENT, signing_key(ED25519_KEY), now=NOW).encode())
    assert (tags["a"], "x" in tags, "l" in tags) == ("ed25519-sha256", False, False)


def test_several_keys() -> None:
    keys = (signing_key(), signing_key(ED25519_KEY))
    assert sign_all(CONTENT, keys, now=NOW) == [sign(CONTENT, key, now=NOW) for key in keys]


def test_fields_are_signed_once_more_than_they_occur() -> None:
    names = words(parse_tags(sign(CONTENT, signing_key(), now=NOW).encode()), "h")
    counts = {name: names.count(name) for name in names}
    assert counts == {
        "from": 2, "to": 2, "cc": 1, "reply-to": 1, "subject": 2, "date": 2, "message-id": 2, "mime-version": 1,
        "content-type": 1, "content-transfer-encoding": 1,
    }  # fmt: skip


def test_the_operators_fields() -> None:
    section = HeaderSection.of(MemoryContent(b"X-A: 1\r\nX-A: 2\r\nList-Id: l\r\nReceived: x\r\n" + MAIL))
    names = signed_names(section, ("X-A", " x-b", "Subject", "List-ID", "Received", "DKIM-Signature", "ARC-Seal", ""))
    assert {name: names.count(name) for name in ("x-a", "x-b", "subject", "list-id")} == {
        "x-a": 2, "x-b": 1, "subject": 2, "list-id": 1,
    }  # fmt: skip
    assert not {"received", "dkim-signature", "arc-seal", ""} & set(names)


def test_no_line_is_long() -> None:
    many = tuple(f"X-Field-Number-{i}" for i in range(50))
    field = render_field("DKIM-Signature", sign(CONTENT, signing_key(headers=many), now=NOW))
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert re.search(rb"\r\n[^ \t\r]", field) is None


def test_a_body_that_is_made_to_cost_time() -> None:
    with pytest.raises(CannotBeSigned):
        sign(MemoryContent(MAIL + b"a  " * (BODY_CHANGES + 1)), signing_key(), now=NOW)


@pytest.mark.parametrize(
    "message", [b"To: x\r\n\r\n", b"From: a\r\nFrom: b\r\n\r\n", b" x\r\nFrom: a\r\n\r\n", b"", b"From: a\r\nx\r\n\r\n"]
)
def test_messages_that_cannot_be_signed(message: bytes) -> None:
    with pytest.raises(CannotBeSigned):
        sign(MemoryContent(message), signing_key(), now=NOW)
