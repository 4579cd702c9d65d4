"""Sections by the packed table alone."""

from __future__ import annotations

import pytest

from inbox.mail.content import MemoryContent
from inbox.mail.index import index
from inbox.mail.sections import fields_of, leaves, section

HEAD = b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
INNER_HEAD = b"Subject: inner\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
INNER_BODY = b"--c\r\n\r\nplain\r\n--c\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41\r\n--c--\r\n"
FORWARDED_HEAD = b"Subject: third\r\n\r\n"
MESSAGE = (
    HEAD
    + b"pre\r\n--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n"
    + b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + INNER_HEAD + INNER_BODY
    + b"\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: x-odd\r\n\r\n" + FORWARDED_HEAD + b"hi"
    + b"\r\n--b--\r\nepilogue"
)  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", MESSAGE),
        ("HEADER", HEAD),
        ("TEXT", MESSAGE[len(HEAD) :]),
        ("1", b"QUJD"),
        ("1.MIME", b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
        ("2", INNER_HEAD + INNER_BODY),
        ("2.MIME", b"Content-Type: message/rfc822\r\n\r\n"),
        ("2.HEADER", INNER_HEAD),
        ("2.TEXT", INNER_BODY),
        ("2.1", b"plain"),
        ("2.2", b"=41"),
        ("2.1.MIME", b"\r\n"),
        ("3.HEADER", FORWARDED_HEAD),
        ("3.TEXT", b"hi"),
        ("3.1", b"hi"),
        ("3.1.MIME", FORWARDED_HEAD),
        ("0", None),
        ("4", None),
        ("1.1", None),
        ("1.HEADER", None),
        ("1.TEXT", None),
        ("2.1.HEADER", None),
        ("3.2", None),
        ("MIME", None),
        ("1.FOO", None),
        ("1.", None),
        (".1", None),
        ("99999", None),
        ("1.2.3.", None),
    ],
)
@pytest.mark.parametrize("prepended", [b"", b"Delivered-To: ann@b\r\n"])
def test_section(spec: str, expected: bytes | None, prepended: bytes) -> None:
    found = section(index(MemoryContent(MESSAGE)).sections, spec, len(prepended))
    if expected is None:
        assert found is None
        return
    assert found is not None
    if spec in {"", "HEADER"}:
        expected = prepended + expected
    assert (prepended + MESSAGE)[found.offset : found.offset + found.length] == expected


def test_a_message_that_is_not_a_multipart_has_part_1() -> None:
    message = b"Subject: x\r\n\r\nbody"
    table = index(MemoryContent(message)).sections
    assert section(table, "1") == (14, 4)
    assert section(table, "1", 5) == (19, 4)
    assert section(table, "1.MIME", 5) == (0, 19)
    assert section(table, "1.1") is None
    assert section(table, "2") is None


def test_a_message_in_a_message() -> None:
    head, inner = b"Content-Type: message/rfc822\r\n\r\n", b"Subject: x\r\n\r\n"
    table = index(MemoryContent(head + inner + b"body")).sections
    assert section(table, "1") == (len(head), len(inner) + 4)
    assert section(table, "1.HEADER") == (len(head), len(inner))
    assert section(table, "1.1") == (len(head) + len(inner), 4)


def test_the_table_is_small() -> None:
    assert len(index(MemoryContent(b"Subject: x\r\n\r\nbody")).sections) == 17


BLOCK = b"From: a@b\r\nSubject: x\r\n y\r\nodd line\r\nFROM : c@d\r\n\r\n"


def test_header_fields() -> None:
    assert fields_of(["from"])(BLOCK) == b"From: a@b\r\nFROM : c@d\r\n\r\n"
    assert fields_of(["SUBJECT", "To"])(BLOCK) == b"Subject: x\r\n y\r\n\r\n"
    assert fields_of(["To"])(BLOCK) == b"\r\n"
    assert fields_of(["from"], negate=True)(BLOCK) == b"Subject: x\r\n y\r\nodd line\r\n\r\n"
    assert fields_of(["a"])(b"A: b") == b"A: b\r\n\r\n"
    assert fields_of(["x"], negate=True)(b"A: b\r\n") == b"A: b\r\n"
    assert fields_of(["a"], negate=True)(b"\r\n") == b"\r\n"


@pytest.mark.parametrize("head", ["", "--out\r\n"])
def test_an_empty_multipart_has_the_part_that_bodystructure_shows(head: str) -> None:
    outer = b"Content-Type: multipart/mixed; boundary=out\r\n\r\n" if head else b""
    message = outer + head.encode() + b"Content-Type: multipart/mixed; boundary=in\r\n\r\npreamble\r\n"
    read = index(MemoryContent(message))
    assert b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0' in read.bodystructure
    path = "1.1" if head else "1"
    for spec in (path, f"{path}.MIME"):
        found = section(read.sections, spec)
        assert found is not None and found.length == 0
    for spec in (f"{path[:-1]}2", f"{path}.1", f"{path}.HEADER"):
        assert section(read.sections, spec) is None


def test_leaves_are_all_parts_in_order() -> None:
    found = list(leaves(index(MemoryContent(MESSAGE)).sections))
    assert [leaf.encoding for leaf in found] == [
        None, "base64", None, None, "identity", "quoted-printable", None, "identity",
    ]  # fmt: skip
    assert MESSAGE[found[1].body : found[1].end] == b"QUJD"
    assert MESSAGE[found[6].start : found[6].body].endswith(b"x-odd\r\n\r\n")
