"""What SEARCH compares."""

from __future__ import annotations

from datetime import date

import pytest

from inbox.server.imap.searchtext import body_words, folded, header_words, written_day


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


def test_body_words_are_the_decoded_texts_and_the_headers_of_parts() -> None:
    message = (
        b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--x\r\n"
        b"Content-Type: application/pdf; name=Offer.pdf\r\n\r\nbinary\r\n--x--\r\n"
    )
    words = body_words(message)
    assert "hello" in words and "name=offer.pdf" in words
    assert "outer" not in words and "binary" not in words
