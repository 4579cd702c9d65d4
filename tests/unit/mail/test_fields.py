"""Bounds of header fields."""

from __future__ import annotations

import pytest

from inbox.mail.fields import split_fields


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        (b"A: b\r\nC:d\r\n\r\n", [(b"a", b"b"), (b"c", b"d")]),
        (b"A: b\r\n c\r\n\td\r\n", [(b"a", b"b\r\n c\r\n\td")]),
        (b"A : b\n", [(b"a", b"b")]),
        (b"A:\r\n", [(b"a", b"")]),
        (b"A: b: c", [(b"a", b"b: c")]),
        (b"nothing\r\n: b\r\n c: d\r\nA: b\r\n", [(b"a", b"b")]),
        (b"A\v: b\r\n\vC \0: d\r\n\xefE\xa0\r: f\r\n", [(b"a", b"b"), (b"c", b"d"), (b"e", b"f")]),
        (b"A\vB: c\r\n\x7f: d\r\n", [(b"a\vb", b"c"), (b"", b"d")]),
        (b"", []),
    ],
)
def test_split(block: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    assert split_fields(block, 99) == fields


@pytest.mark.parametrize("count", [10, 5000])
def test_no_more_than_asked_for(count: int) -> None:
    assert split_fields(b"A: b\r\n" * count, 7) == [(b"a", b"b")] * 7
