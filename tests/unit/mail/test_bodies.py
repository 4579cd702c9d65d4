"""Bodies without their transfer encoding, and the numbers of parts."""

from __future__ import annotations

import base64

import pytest

from inbox.mail.bodies import body_text, walk
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message, PartInfo
from inbox.mail.mime import scan

HEAD = b"MIME-Version: 1.0\r\n"


def part(fields: bytes, body: bytes = b"") -> PartInfo:
    (found,) = Message(MemoryContent(HEAD + fields + b"\r\n\r\n" + body)).parts
    return found


@pytest.mark.parametrize(
    ("encoding", "body", "decoded"),
    [
        (b"7bit", b"abc", b"abc"),
        (b"BASE64", base64.encodebytes(b"x" * 500).replace(b"\n", b"\r\n"), b"x" * 500),
        (b"base64 (comment)", b"QUJD", b"ABC"),
        (b"base64", b"QU JD\r\n=\r\n", b"ABC"),
        (b"base64", b"Q", b""),
        (b"base64", b"QUI", b"AB"),
        (b"base64", b"QUI=\r\nQQ==\r\nQUJD\r\nQ=\r\n", b"ABAABC"),
        (b"base64", b"!QUJD!", b"ABC"),
        (b"quoted-printable", b"a=41=\r\nb =20\r\n", b"aAb  \r\n"),
        (b"quoted-printable", b"=zz=4", b"=zz=4"),
        (b"unheard-of", b"abc", b"abc"),
    ],
)
def test_decoded(encoding: bytes, body: bytes, decoded: bytes) -> None:
    found = part(b"Content-Transfer-Encoding: " + encoding, body)
    assert found.decoded(10_000) == decoded
    assert found.decoded(2) == decoded[:2]
    assert found.encoded_size == len(body)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 57, 1000, 300_000])
@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"8bit"])
def test_decoded_size(size: int, encoding: bytes) -> None:
    data = b"abcdefgh\r\n" * (size // 10) + b"x" * (size % 10)
    body = base64.encodebytes(data).replace(b"\n", b"\r\n") if encoding == b"base64" else data
    assert part(b"Content-Transfer-Encoding: " + encoding, body).decoded_size == size


@pytest.mark.parametrize("limit", [0, 1, 100, 1000, 4999, 5000, 6000])
def test_decoded_reads_no_more_than_it_needs(limit: int) -> None:
    data = bytes(range(250)) * 20
    one_by_one = b"\r\n".join(base64.b64encode(data)[at : at + 1] for at in range(0, 6668))
    for body in (base64.encodebytes(data), one_by_one):
        assert part(b"Content-Transfer-Encoding: base64", body).decoded(limit) == data[:limit]


def test_numbers_of_parts() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n"
        b"Content-Type: message/rfc822\r\n\r\n"
        b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\ntwo\r\n--c--\r\n--b--"
    )
    assert [path for path, _ in walk(scan(data))] == ["1", "2", "2.1"]
    assert [path for path, _ in walk(scan(b"Content-Type: message/rfc822\r\n\r\n\r\nx"))] == ["1", "1.1"]


def test_a_text_that_is_cut_keeps_its_charset() -> None:
    data = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "aé".encode()
    assert body_text(scan(data), data, 2) == "a"
    assert body_text(scan(data), data, 99) == "aé"
