"""Headers: found, split, read."""

from __future__ import annotations

import pytest

from inbox.base.limits import HEADER_BLOCK_OCTETS, HEADER_FIELDS
from inbox.mail.content import MemoryContent
from inbox.mail.headers import Headers, header_block

BLOCK = (
    b"Received: from a\r\n\tby b;\r\n Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"Received: second\r\n"
    b"Subject: =?utf-8?Q?gr=C3=BC?= =?utf-8?B?w58=?=\r\n e\r\n"
    b"X-Raw: caf\xe9\r\n"
    b"X-Utf8: caf\xc3\xa9\r\n"
    b"X-Ctl: a\x00b\x07c\td\r\n"
    b"Empty:\r\n"
    b"\r\n"
)


def test_get_is_unfolded_decoded_and_clean() -> None:
    headers = Headers.parse(BLOCK)
    assert headers.get("SUBJECT") == "grüß e"
    assert headers.get("x-raw") == "café"
    assert headers.get("x-utf8") == "café"
    assert headers.get("x-ctl") == "abc\td"
    assert headers.get("empty") == ""
    assert headers.get("missing") is None
    assert headers.get("missing", "x") == "x"


def test_repeated_fields_keep_their_order() -> None:
    headers = Headers.parse(BLOCK)
    assert headers.count("received") == 2
    assert headers.get_all("Received")[1] == "second"
    assert headers.raw_all("received")[0] == b"from a\r\n\tby b;\r\n Mon, 1 Jan 2024 00:00:00 +0000"
    assert headers.names() == ["Received", "Received", "Subject", "X-Raw", "X-Utf8", "X-Ctl", "Empty"]


def test_offsets_cover_the_block() -> None:
    headers = Headers.parse(BLOCK)
    fields = headers.fields()
    assert b"".join(BLOCK[field.start : field.end] for field in fields) + b"\r\n" == headers.block


def test_lines_without_a_colon_belong_to_no_field() -> None:
    headers = Headers.parse(b"From nobody today\r\n folded\r\nnot a field\r\nTo : ann\r\n\r\n")
    assert headers.names() == ["To"]
    assert headers.get("to") == "ann"


def test_the_number_of_fields_is_bounded() -> None:
    headers = Headers.parse(b"X: y\r\n" * (HEADER_FIELDS + 5))
    assert len(headers.fields()) == HEADER_FIELDS


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\n\nbody", 6),
        (b"A: b\r\n\nbody", 7),
        (b"\r\nbody", 2),
        (b"\nbody", 1),
        (b"", 0),
        (b"A: b\r\n", 6),
        (b"A: b", 4),
        (b"no header at all\r\nA: b\r\n\r\nbody", 26),
    ],
)
def test_header_block_ends_after_the_empty_line(message: bytes, end: int) -> None:
    assert header_block(MemoryContent(message)) == (message[:end], end)


def test_a_header_without_end_is_cut() -> None:
    message = b"X: " + b"y" * (2 * HEADER_BLOCK_OCTETS)
    block, end = header_block(MemoryContent(message))
    assert len(block) == end == HEADER_BLOCK_OCTETS
