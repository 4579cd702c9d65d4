"""A message as plugins see it."""

from __future__ import annotations

import base64
import quopri

import pytest

from inbox.base.limits import MIME_DEPTH, MIME_PART_FIELDS, MIME_PARTS
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message, PartInfo

HEAD = b"From: Ann <Ann@X.org>\r\nSubject: =?utf-8?q?=C3=A4?=\r\nMIME-Version: 1.0\r\n"
MIXED = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def of(data: bytes) -> Message:
    return Message(MemoryContent(data))


def part(fields: bytes, body: bytes = b"") -> PartInfo:
    (found,) = of(HEAD + fields + b"\r\n\r\n" + body).parts
    return found


def test_headers() -> None:
    message = of(MIXED)
    assert message.subject == "ä"
    assert message.from_address == "ann@x.org"
    assert message.headers.count("from") == 1
    assert message.headers is message.headers
    assert message.size == len(MIXED)
    assert of(b"").from_address == ""
    assert of(b"").subject == ""


def test_parts_have_the_numbers_that_imap_gives_them() -> None:
    message = of(
        MIXED
        + b"--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\na\r\n"
        + b"--c\r\nContent-Type: text/html; charset=UTF-8\r\n\r\nb\r\n--c--\r\n"
        + b"--b\r\nContent-Type: message/rfc822; name=m.eml\r\n\r\nSubject: x\r\n\r\nc\r\n"
        + b"--b\r\nContent-Type: application/zip\r\nContent-Disposition: attachment; filename=a.b.ZIP\r\n\r\nd\r\n--b--"
    )
    assert [(found.path, found.content_type) for found in message.parts] == [
        ("1.1", "text/plain"), ("1.2", "text/html"), ("2.1", "text/plain"), ("3", "application/zip"),
    ]  # fmt: skip
    assert message.parts[1].charset == "utf-8"
    assert [(found.path, found.file_name, found.extension) for found in message.attachments] == [
        ("2", "m.eml", "eml"), ("3", "a.b.ZIP", "zip"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (b'Content-Disposition: attachment; filename="../../etc/passwd"', "passwd"),
        (b'Content-Disposition: attachment; filename="C:\\\\x\\\\y.exe"', "y.exe"),
        (b"Content-Disposition: inline; filename*=utf-8''%E2%82%AC.txt", "€.txt"),
        (b"Content-Disposition: attachment; filename*0=a; filename*1=.js", "a.js"),
        (b"Content-Type: a/b; name=c.d", "c.d"),
        (b"Content-Type: a/b; name=c.d\r\nContent-Disposition: attachment; filename=e.f", "e.f"),
        (b'Content-Disposition: attachment; filename="=?utf-8?q?=C3=A4=2Epdf?="', "ä.pdf"),
        (b'Content-Disposition: attachment; filename="a\0b.exe"', "ab.exe"),
        (b"Content-Disposition: attachment", ""),
    ],
)
def test_file_names(fields: bytes, name: str) -> None:
    assert part(fields).file_name == name


def encoded_message(inner: bytes, encoding: bytes = b"base64") -> bytes:
    body = base64.encodebytes(inner) if encoding == b"base64" else quopri.encodestring(inner.replace(b"\r\n", b"\n"))
    fields = b"Content-Type: message/rfc822; name=m.eml\r\nContent-Transfer-Encoding: " + encoding
    return HEAD + fields + b"\r\n\r\n" + body.replace(b"\n", b"\r\n")


FILE = b"--b\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\nMZ\r\n"


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable"])
def test_attachments_of_an_encoded_message_are_found(encoding: bytes) -> None:
    inner = MIXED + b"--b\r\n\r\nhello http://x.test/\r\n" + FILE + b"--b--"
    message = of(encoded_message(inner, encoding))
    assert [(one.path, one.file_name) for one in message.attachments] == [("1", "m.eml"), ("1/2", "a.exe")]
    assert [one.path for one in message.parts] == ["1/1", "1/2"]
    assert message.urls() == ("http://x.test/",)
    assert message.parts[1].decoded(10) == b"MZ"
    assert message.examined_completely
    twice = of(encoded_message(encoded_message(inner, encoding)))
    assert [one.file_name for one in twice.attachments] == ["m.eml", "m.eml", "a.exe"]


def too_deep() -> bytes:
    nested = FILE
    for _ in range(MIME_DEPTH + 1):
        nested = encoded_message(nested, b"quoted-printable")
    return nested


@pytest.mark.parametrize(
    "raw",
    [
        MIXED + FILE * MIME_PARTS + b"--b--",
        HEAD + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(31)),
        MIXED + b"--b\r\n" + b"X: y\r\n" * MIME_PART_FIELDS + FILE.removeprefix(b"--b\r\n"),
        too_deep(),
        MIXED + FILE * 600 + b"--b\r\n" + encoded_message(MIXED + FILE * 600) + b"--b--",
    ],
    ids=["parts", "depth", "fields", "encoded depth", "parts in all"],
)
def test_a_message_that_is_not_examined_completely_is_reported(raw: bytes) -> None:
    message = of(raw)
    assert not message.examined_completely
    assert len(message.attachments) <= MIME_PARTS


@pytest.mark.slow
def test_a_message_of_many_parts_is_examined_completely() -> None:
    message = of(MIXED + FILE * (MIME_PARTS - 2) + b"--b--")
    assert message.examined_completely
    assert len(message.attachments) == MIME_PARTS - 2


def test_encoded_messages_are_decoded_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.mail.message.ENCODED_MESSAGE_OCTETS", 100)
    message = of(encoded_message(MIXED + b"--b\r\n\r\n" + b"x" * 1000))
    assert not message.examined_completely
    assert sum(one.encoded_size for one in message.parts) < 100


def test_extensions_and_marks_that_hide_them() -> None:
    one = part(b"Content-Disposition: attachment; filename*=utf-8''invoice%E2%80%AEfdp.exe")
    assert (one.extension, one.is_reordered) == ("exe", True)
    one = part(b'Content-Disposition: attachment; filename="a.pdf.EXE . "\r\nContent-Type: a/b; name="a.txt"')
    assert (one.extension, one.extensions, one.is_reordered) == ("exe", ("pdf", "exe", "txt"), False)
    assert one.file_names == ("a.pdf.EXE .", "a.txt")
    assert part(b"X: y").extensions == ()


def test_languages() -> None:
    assert part(b"Content-Language: de, EN-us").languages == ("de", "en-us")
    assert part(b"X: y").languages == ()


def test_text_is_that_of_all_readable_parts() -> None:
    message = of(
        MIXED
        + b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9\r\nline\r\n"
        + b"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + b'<head><title>no</title></head><p>Hel<b>lo</b> <a href=3D"http://x.org/?a=3D1">you</a><p>there\r\n'
        + b"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nsecret\r\n--b--"
    )
    assert message.text() == "café\nline\nHello you\nthere"
    assert message.text(4) == "café"
    assert "http://x.org" in message.html()
    assert message.html(0) == ""
    assert message.urls() == ("http://x.org/?a=1",)


def test_urls_are_found_once_in_their_order() -> None:
    message = of(
        MIXED
        + b"--b\r\n\r\nSee https://a.org/x(y). and www.b.org, HTTP://c.org; mailto:d@e,\r\n"
        + b"https://a.org/x(y) javascript:x\r\n"
        + b"--b\r\nContent-Type: text/html\r\n\r\n<a href=' https://f\n.org'>x</a><img src=//g.org/i><a href='#h'>"
        + b"<a href='javascript:alert(1)'> ftp://i.org\r\n--b--"
    )
    assert message.urls() == (
        "https://a.org/x(y)", "http://www.b.org/", "http://c.org/", "mailto:d@e", "https://f.org/", "http://g.org/i",
        "javascript:alert(1)", "ftp://i.org/",
    )  # fmt: skip
    assert message.urls(2) == ("https://a.org/x(y)", "http://www.b.org/")


def test_deeply_nested_html_is_still_read() -> None:
    source = b"<div>" * 52_000 + b'text <a href="https://x.org/&amp;y">link</a><script>hidden</script>'
    message = of(HEAD + b"Content-Type: text/html\r\n\r\n" + source)
    assert message.text(1 << 20) == "text link"
    assert of(HEAD + b"Content-Type: text/html\r\n\r\n" + source[-200_000:]).urls() == ("https://x.org/&y",)


@pytest.mark.parametrize("kind", [b"plain", b"html"])
@pytest.mark.parametrize(
    "piece",
    [
        b"<", b"<div>", b"<div></x>", b"<b><p>", b"<table><a>", b"<!--", b"<script>", b"<a href=", b"<a href='", b"&",
        b"&amp;", b" ", b"\r\n", b"\t\n ", b"\x85", b"http://", b"http://x.org/(", b"www.", b"mailto:", b"a@", b"\xe4",
        b"\xc3\xa4 ", b"<p title='", b"<![CDATA[", b"<svg><desc>", b"<select><option>", b"<template>", b"<button>",
    ],
)  # fmt: skip
def test_reading_beyond_linear_would_never_end(kind: bytes, piece: bytes) -> None:
    # As large as is looked at: a quadratic step trips the test's time-out, a linear one does not show.
    body = piece * (300_000 // len(piece))
    message = of(HEAD + b"Content-Type: text/" + kind + b"\r\n\r\n" + body)
    assert len(message.text()) <= 300_000
    assert len(message.urls()) <= 500


def test_a_cached_result_belongs_to_one_message() -> None:
    message = of(HEAD)
    found = message.shared(list)
    found.append(1)
    assert message.shared(list) is found
    assert message.shared(dict) == {}
    assert of(HEAD).shared(list) == []


def test_every_text_that_is_shown_is_read() -> None:
    kinds = [b"text/plain", b"text/x-amp-html", b"application/xhtml+xml", b"text/enriched"]
    message = of(
        MIXED
        + b"".join(b"--b\r\nContent-Type: %s\r\n\r\n<b>%d</b>\r\n" % (kind, n) for n, kind in enumerate(kinds))
        + b"--b--"
    )
    assert message.text().split() == ["<b>0</b>", "1", "2", "<b>3</b>"]


def test_a_message_that_is_not_read_completely_is_reported() -> None:
    message = of(MIXED + b"--b\r\n\r\n" + b"x" * 1000 + b"\r\n--b\r\n\r\n" + b"x" * 1000 + b"\r\n--b--")
    assert message.read_completely(2000)
    assert not message.read_completely(1999)
