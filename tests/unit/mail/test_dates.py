"""Dates of header fields."""

from __future__ import annotations

import pytest

from inbox.mail.dates import parse_date


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Thu, 01 Jan 1970 00:00:00 +0000", 0.0),
        ("Thu, 1 Jan 1970 01:00:00 +0100", 0.0),
        ("Mon, 06 Jan 2025 11:20:29 +0100", 1736158829.0),
        ("6 Jan 2025 10:20 GMT", 1736158800.0),
        ("Mon, 6 Jan 25 05:20:29 EST", 1736158829.0),
        ("Mon, 06 Jan 2025 10:20:29 -0000 (UTC)", 1736158829.0),
        ("06-Jan-2025 10:20:29 +0000", 1736158829.0),
        ("Mon, 06 Jan 2025 10:20:60 +0000", 1736158860.0),
        ("6 Jan 99 00:00:00 +0000", 915580800.0),
        ("31 Feb 2025 00:00:00 +0000", None),
        ("6 Foo 2025 00:00:00 +0000", None),
        ("6 Jan 2025 24:00:00 +0000", None),
        ("6 Jan 0000 10:00:00 +0000", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_parse_date(text: str, seconds: float | None) -> None:
    assert parse_date(text) == seconds
