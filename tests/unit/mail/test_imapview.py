"""ENVELOPE, BODY and BODYSTRUCTURE."""

from __future__ import annotations

import pytest

from inbox.base.limits import STRUCTURE_OCTETS
from inbox.mail.content import MemoryContent
from inbox.mail.imapview import nstring
from inbox.mail.index import MessageIndex, index
from tests.support.sexpr import parse


def of(data: bytes) -> MessageIndex:
    return index(MemoryContent(data))


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        (None, b"NIL"),
        (b"", b'""'),
        (b"plain\ttext", b'"plain\ttext"'),
        (b'a "b" \\', b'"a \\"b\\" \\\\"'),
        (b"8\xe9bit", b"{5}\r\n8\xe9bit"),
        (b"a\r\nb", b"{4}\r\na\r\nb"),
        (b"a\0b\xe9", b"{3}\r\nab\xe9"),
        (b"a\0b", b"{2}\r\nab"),
    ],
)
def test_nstring(value: bytes | None, rendered: bytes) -> None:
    assert nstring(value) == rendered


def test_envelope() -> None:
    found = of(
        b"Date: Mon, 06 Jan 2025 10:20:29 +0000\r\nSubject:  a\r\n\tb  c\r\nFrom: Ann <a@b>\r\nTo: c@d, e@f\r\n"
        b"In-Reply-To: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n"
    )
    ann = [[b"Ann", None, b"a", b"b"]]
    assert parse(found.envelope) == [
        [
            b"Mon, 06 Jan 2025 10:20:29 +0000", b"a b c", ann, ann, ann,
            [[None, None, b"c", b"d"], [None, None, b"e", b"f"]], None, None, b"<1@x>", b"<2@x>",
        ]
    ]  # fmt: skip


def test_an_empty_message_is_empty_text() -> None:
    found = of(b"")
    assert found.envelope == b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
    assert found.body == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)'
    assert found.bodystructure == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'


def test_all_fields_of_a_single_part() -> None:
    found = of(
        b'Content-Type: application/pdf; name="a b.pdf"\r\nContent-Transfer-Encoding: BASE64 (really)\r\n'
        b"Content-ID: <1@x>\r\nContent-Description: the plan\r\nContent-MD5: Q2hlY2s=\r\n"
        b"Content-Disposition: attachment; filename=x.pdf\r\nContent-Language: de, en-GB\r\n"
        b"Content-Location: http://x/\r\n\r\nQUJD\r\n"
    )
    plain = [b"application", b"pdf", [b"name", b"a b.pdf"], b"<1@x>", b"the plan", b"BASE64", b"6"]
    assert parse(found.body) == [plain]
    assert parse(found.bodystructure) == [
        [*plain, b"Q2hlY2s=", [b"attachment", [b"filename", b"x.pdf"]], [b"de", b"en-GB"], b"http://x/"]
    ]


def test_a_multipart_with_a_message() -> None:
    found = of(
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Disposition: inline\r\n\r\n"
        b"--b\r\n\r\nhello\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\none\r\ntwo\r\n--b--\r\n"
    )
    text = [b"text", b"plain", [b"charset", b"us-ascii"], None, None, b"7bit", b"5", b"0"]
    envelope = [None, b"in", *[None] * 8]
    inner = [b"text", b"plain", [b"charset", b"us-ascii"], None, None, b"7bit", b"8", b"1"]
    message = [b"message", b"rfc822", None, None, None, b"7bit", b"23", envelope]
    assert parse(found.body) == [[text, [*message, inner, b"3"], b"mixed"]]
    nothing = [None] * 4
    assert parse(found.bodystructure) == [
        [
            [*text, *nothing], [*message, [*inner, *nothing], b"3", *nothing],
            b"mixed", [b"boundary", b"b"], [b"inline", None], None, None,
        ]
    ]  # fmt: skip


def test_a_multipart_without_parts_shows_one() -> None:
    found = of(b"Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing")
    assert parse(found.body) == [
        [[b"text", b"plain", [b"charset", b"us-ascii"], None, None, b"7bit", b"0", b"0"], b"mixed"]
    ]


@pytest.mark.parametrize("value", [b"text", b";", b"text/", b"/plain; a=b", b"\xff\xfe"])
def test_an_invalid_content_type_is_text(value: bytes) -> None:
    found = of(b"Content-Type: " + value + b"\r\n\r\nx")
    assert found.body == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0)'
    assert found.mime_root_ct == "text/plain"


def test_the_size_of_what_strangers_choose_is_bounded() -> None:
    part = b"--b\r\nContent-Type: a/b; c=" + b"d" * 10_000 + b"\r\n\r\n\r\n"
    found = of(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 900)
    assert len(found.bodystructure) < STRUCTURE_OCTETS * 1.2
    assert len(parse(found.bodystructure)[0]) > 900


def test_8bit_data_is_a_literal_and_nul_is_gone() -> None:
    found = of(b"Subject: caf\xe9\0\r\nFrom: \xff <a@b>\r\n\r\n")
    assert found.envelope.startswith(b"(NIL {4}\r\ncaf\xe9 (({1}\r\n\xff NIL ")
    assert b"\0" not in found.envelope
