"""Encoded-words."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("text", ["ä", "日本語" * 40, "a b ä" * 50, "😀" * 60])
def test_encode_words_can_be_read_and_are_short(text: str) -> None:
    encoded = encode_words(text)
    assert max(map(len, encoded.split(" "))) <= 75
    assert decode_value(encoded.encode()) == text
