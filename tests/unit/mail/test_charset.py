"""Octets to text."""

from __future__ import annotations

import pytest

from inbox.mail.charset import codec_of, decode_8bit, decode_declared, decode_text


@pytest.mark.parametrize("name", ["base64", "zlib", "punycode", "idna", "hex", "no_such", "../x", "", "undefined"])
def test_codecs_that_are_no_charsets_are_unknown(name: str) -> None:
    assert codec_of(name) is None


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        (b"caf\xc3\xa9", "utf-8", "café"),
        (b"caf\xe9", "iso-8859-1", "café"),
        (b"caf\xc3\xa9", "us-ascii", "café"),
        (b"caf\xc3\xa9", "nonsense", "café"),
        ("Привет, мир! Как дела?".encode("koi8-r"), "koi8-r", "Привет, мир! Как дела?"),
        ("日本".encode("iso-2022-jp"), "iso-2022-jp", "日本"),
        (b"plain", "", "plain"),
        ("ab".encode("utf-16"), "utf-16", "ab"),
    ],
)
def test_decode_text(data: bytes, charset: str, text: str) -> None:
    assert decode_text(data, charset) == text


def test_an_unknown_charset_is_detected() -> None:
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 8
    assert decode_text(text.encode("cp1251"), "") == text


def test_a_truncated_character_does_not_change_the_charset() -> None:
    assert decode_text("aé".encode()[:2], "utf-8", complete=False) == "a"


def test_without_a_charset() -> None:
    assert decode_8bit("é".encode()) == "é"
    assert decode_8bit(b"\xe9\x80") == "é€"
    assert decode_8bit(b"\x81") == "\ufffd"
    assert decode_declared(b"\xe9", "us-ascii") == "é"


def test_lone_surrogates_are_replaced() -> None:
    assert decode_declared(b"+2AA-", "utf-7") == "\ufffd"
