"""Quoted strings and comments, and those that have no end."""

from __future__ import annotations

import pytest

from inbox.mail.asides import end_of_aside, with_closed_asides


@pytest.mark.parametrize(
    ("value", "end"),
    [
        (b'"a" b', 3),
        (b'"a\\" b"c', 7),
        (b'"a', None),
        (b"(a) b", 3),
        (b"(a(b)) c", 6),
        (b"(a\\) b)", 7),
        (b"(a(b) c", None),
    ],
)
def test_the_end_of_an_aside(value: bytes, end: int | None) -> None:
    assert end_of_aside(value, 0) == end


@pytest.mark.parametrize(
    ("value", "closed"),
    [
        (b'"Bob" (x) <a@b>', b'"Bob" (x) <a@b>'),
        (b'"Bob <a@b>', b" Bob <a@b>"),
        (b'"Bee" (x "y" <a@b>', b'"Bee"  x  y  <a@b>'),
        (b"(only a comment", b"(only a comment"),
    ],
)
def test_an_address_after_an_unterminated_comment_is_not_lost(value: bytes, closed: bytes) -> None:
    assert with_closed_asides(value) == closed


def test_many_open_asides_cost_one_pass() -> None:
    # The time-out of the test run is the bound.
    assert with_closed_asides(b"(" * 60_000 + b"@") == b" " * 60_000 + b"@"
