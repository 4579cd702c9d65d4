from __future__ import annotations

import base64
import gzip
import io
import tracemalloc
import zipfile
import zlib

import pytest

from inbox.authentication.aggregate.unpack import NotAReport, ReportUnfit, attached, unpack
from inbox.base.limits import REPORT_ATTACHMENT_OCTETS, REPORT_CANDIDATES, REPORT_XML_OCTETS
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from tests.support.aggregate import mailed, xml_report, zipped

XML = xml_report()
#: Without a time in it: the names of tests come from what they are given.
PACKED = gzip.compress(XML, mtime=0)


@pytest.mark.parametrize(
    "data",
    [
        XML, b"\r\n \t" + XML, PACKED, zipped(XML), zipped(XML, method=zipfile.ZIP_STORED),
        PACKED + gzip.compress(b"a second member", mtime=0), PACKED + b"rubbish",
    ],
    ids=["plain", "blank lines", "gzip", "zip", "stored", "two members", "rubbish behind"],
)  # fmt: skip
def test_a_report_is_unpacked(data: bytes) -> None:
    assert unpack(data) == XML


def test_only_the_first_member_of_a_zip_counts() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.xml", XML)
        for number in range(2000):
            archive.writestr(f"{number}.xml", b"<other/>")
    assert unpack(buffer.getvalue()) == XML


def test_a_member_with_its_size_after_the_data_is_unpacked() -> None:
    class Pipe(io.RawIOBase):
        """Somewhere that one cannot go back to write sizes into a header (APPNOTE 4.4.4, bit 3)."""

        def __init__(self) -> None:
            self.written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]  # zipfile passes bytes
            self.written += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.xml", XML)
    assert pipe.written[6] & 8
    assert unpack(pipe.written) == XML


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAReport),
        (b'{"organization-name": "a TLS report"}', NotAReport),
        (gzip.compress(b"{}", mtime=0), NotAReport),
        (zipped(zipped(XML)), NotAReport),
        (gzip.compress(PACKED, mtime=0), NotAReport),
        (zipped(b""), NotAReport),
        (PACKED[:-200], ReportUnfit),
        (b"\x1f\x8b" + b"\xff" * 100, ReportUnfit),
        (b"\x1f\x8b", ReportUnfit),
        (zipped(XML)[:200], ReportUnfit),
        (b"PK\x03\x04", ReportUnfit),
        (zipped(XML, method=zipfile.ZIP_BZIP2), ReportUnfit),
        (zipped(XML, method=zipfile.ZIP_STORED)[:300], ReportUnfit),
        (zipped(XML)[:6] + b"\x01" + zipped(XML)[7:], ReportUnfit),
        (b"<" + b" " * REPORT_XML_OCTETS, ReportUnfit),
    ],
)
def test_other_data_is_not_a_report(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        unpack(data)
    assert str(caught.value).isascii()
    assert caught.type is error


def bomb(wbits: int, octets: int) -> bytes:
    """A stream of one thousandth of the size of what comes out of it."""
    packer = zlib.compressobj(9, wbits=wbits)
    piece = b" " * (1 << 20)
    return b"".join(
        [packer.compress(b"<feedback>"), *(packer.compress(piece) for _ in range(octets >> 20)), packer.flush()]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_a_bomb_is_never_unpacked(kind: str) -> None:
    if kind == "gzip":
        packed = bomb(16 + zlib.MAX_WBITS, 200 << 20)
    else:
        header = zipped(b"<x/>")[:30]
        name = int.from_bytes(header[26:28], "little")
        packed = header + b"n" * name + bomb(-zlib.MAX_WBITS, 200 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ReportUnfit, match="holds more than"):
            unpack(packed)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 << 20, "no more than a few pieces are ever in memory"


def test_a_bomb_with_a_modest_ratio_stops_at_the_limit() -> None:
    row = b"<record>" + bytes(range(32, 127)).replace(b"<", b"").replace(b"&", b"") * 2 + b"</record>"
    data = b"<feedback>" + b"".join(b"%d" % n + row for n in range(200_000))
    with pytest.raises(ReportUnfit):
        unpack(gzip.compress(data, 1, mtime=0))


def of(eml: bytes) -> list[bytes]:
    return list(attached(Message(MemoryContent(eml))))


def test_attachments_are_known_by_their_first_octets() -> None:
    packed = PACKED
    for kind, name in (
        ("application/octet-stream", "x.bin"), ("application/zip", "x.zip"), ("image/png", "report"),
        ("application/gzip", "a.xml.gz"),
    ):  # fmt: skip
        assert of(mailed(packed, kind, name)) == [packed]
    assert of(mailed(XML, "application/xml", "a.xml")) == [XML]
    assert of(mailed(b"\x89PNG", "image/png", "a.png")) == []


def test_a_mail_may_be_the_report_itself() -> None:
    head = (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    packed = zipped(XML)
    assert of(head + base64.encodebytes(packed).replace(b"\n", b"\r\n")) == [packed]


def test_letters_are_not_looked_into() -> None:
    assert of(b"Subject: x\r\n\r\n<feedback>not a report, but a text that begins like one</feedback>\r\n") == []
    assert of(b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<html></html>\r\n") == []
    assert of(b"") == []


def test_no_more_than_a_few_attachments_are_tried() -> None:
    part = b"--b\r\nContent-Type: application/gzip\r\n\r\n\x1f\x8bx\r\n"
    eml = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 50 + b"--b--\r\n"
    assert len(of(eml)) == REPORT_CANDIDATES


def test_an_attachment_has_a_limit() -> None:
    with pytest.raises(ReportUnfit):
        of(mailed(b"\x1f\x8b" + bytes(REPORT_ATTACHMENT_OCTETS)))
