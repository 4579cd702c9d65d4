"""Text comparison of SEARCH."""

from __future__ import annotations

from datetime import date

import pytest

from inbox.flow.mailboxes.search_text import Needles, address_words, folded, header_words, written_day


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("Mon, 7 Feb 2022 23:52:25 -0800", date(2022, 2, 7)),
        ("07 february 99 00:00 +0000", date(1999, 2, 7)),
        ("7\r\n Feb\r\n 22 00:00 +0000", date(2022, 2, 7)),
        ("31 Feb 2022", None),
        ("7 Foo 2022", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_the_day_is_the_one_that_the_sender_wrote(value: str | None, day: date | None) -> None:
    assert written_day(value) == day


def test_case_and_blanks_do_not_count() -> None:
    assert folded("Stra\u00dfe\r\n\t NACH  Wien ") == "strasse nach wien"


def test_header_words_are_decoded() -> None:
    assert header_words(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-A: b\r\n\r\n") == "subject: gr\u00fcsse\nx-a: b"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"From: Ann <ann@demo.test>\r\n", ["ann <ann@demo.test>"]),
        (b"From: ann (home) @ demo . test\r\n", ["home <ann@demo.test>"]),
        (b'To: "Doe\\, Jane" <jane@a.test>, b@b.test\r\n', ["doe, jane <jane@a.test>", "b@b.test"]),
        (b"Cc: Team: x@a.test,y@a.test;\r\n", ["x@a.test", "y@a.test"]),
        (b"From: =?utf-8?q?M=C3=BCller?= <m@a.test>\r\n", ["m\u00fcller <m@a.test>"]),
    ],
)
def test_addresses_as_they_are_shown(field: bytes, words: list[str]) -> None:
    assert list(address_words(field + b"\r\n")) == words


def test_a_run_of_blanks_that_two_pieces_share_is_one_blank() -> None:
    needles = Needles(["b c d"])
    needles.look_in_text(["A b \r\n", "\t C\n", "d e"])
    assert needles.in_body == {"b c d"}
