"""Encoded-words and the charsets behind them."""

from __future__ import annotations

import pytest

from inbox.mail.charset import codec_of, decode_text
from inbox.mail.encoded import decode_value, encode_words


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?a_b=20c?=", "a b c"),
        (b"=?UTF-8?B?w6Q=?=", "ä"),
        (b"=?iso-8859-1*de?Q?=E4?=", "ä"),
        (b"x =?utf-8?q?a?= =?utf-8?q?b?= y", "x ab y"),
        (b"=?utf-8?q?a?=\r\n =?iso-8859-1?q?=E4?=", "aä"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä"),  # Characters are torn apart in practice.
        (b"=?nonsense?q?a=E4?=", "aä"),
        (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        (b"=?utf-8?q?open", "=?utf-8?q?open"),
        (b"=?utf-8?B?!!!?=", ""),
        (b"=?utf-8?q?a=00b=0Ac?=", "abc"),
        (b"=?utf-7?q?+2AA-?=", "\ufffd"),
        (b"=?gb2312?B?xOO6ww==?=", "你好"),
        (b"=?windows-1252?q?=80?=", "€"),
        (b"=?iso-8859-1?q?=80?=", "€"),
        (b"a\r\n\tb", "a\tb"),
        (b"\x93quoted\x94", "“quoted”"),
    ],
)
def test_decode_value(raw: bytes, text: str) -> None:
    assert decode_value(raw) == text


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


def test_a_cut_character_is_no_other_charset() -> None:
    assert decode_text("aé".encode()[:2], "utf-8", complete=False) == "a"


@pytest.mark.parametrize("text", ["ä", "日本語" * 40, "a b ä" * 50, "😀" * 60])
def test_encode_words_can_be_read_and_are_short(text: str) -> None:
    encoded = encode_words(text)
    assert max(map(len, encoded.split(" "))) <= 75
    assert decode_value(encoded.encode()) == text
