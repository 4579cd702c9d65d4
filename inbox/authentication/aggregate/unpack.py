"""Extraction of aggregate reports from mail, gzip and zip, with bounds against hostile archives.

It reads only the first member of an archive, and does not unpack archives within archives.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from inbox.base.errors import InboxError
from inbox.base.limits import REPORT_ATTACHMENT_OCTETS, REPORT_CANDIDATES, REPORT_RATIO, REPORT_XML_OCTETS
from inbox.mail.message import Message, PartInfo


class ReportError(InboxError):
    """The data is not a usable aggregate report. The text quotes no input and is printable ASCII."""

    code, status, text = 550, "5.6.0", "Message is not a readable DMARC aggregate report"


class NotAReport(ReportError):
    """The data is something else, such as another kind of report."""


class ReportUnfit(ReportError):
    """The data is an aggregate report, but broken or too large."""


_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_BLANK: Final = b" \t\r\n"
_XML: Final = (b"<", b"\xef\xbb\xbf", b"\xff\xfe<\x00", b"\xfe\xff\x00<")
#: The ratio is not checked below this many octets: a few similar rows may well shrink to a hundredth.
_RATIO_FROM: Final = 1024 * 1024
_PIECE: Final = 64 * 1024
#: A member's header (APPNOTE 4.3.7) without its name and extra field; bit 0 of the flags: encrypted.
_MEMBER: Final = 30
_STORED, _DEFLATED = 0, 8


def attached(message: Message) -> Iterator[bytes]:
    """Attachments of a mail that may be reports, in order and still packed; at most REPORT_CANDIDATES.

    Raises:
        ReportUnfit: an attachment is larger than REPORT_ATTACHMENT_OCTETS.
    """
    found = 0
    for part in message.parts:
        if not _may_be_report(part):
            continue
        found += 1
        if found > REPORT_CANDIDATES:
            return
        data = part.decoded(REPORT_ATTACHMENT_OCTETS + 1)
        if len(data) > REPORT_ATTACHMENT_OCTETS:
            raise ReportUnfit(f"the attachment has more than {REPORT_ATTACHMENT_OCTETS} octets")
        yield data


def _may_be_report(part: PartInfo) -> bool:
    # Names and types are often wrong (application/octet-stream, .zip for gzip); the first octets are reliable.
    if part.content_type == "text/html" or (part.content_type == "text/plain" and not part.file_name):
        return False
    begin = part.decoded(64)
    return is_packed(begin)


def is_packed(data: bytes) -> bool:
    """Whether the data begins like a format that :func:`unpack` reads; a mail begins with a field name."""
    return data.startswith((_GZIP, _ZIP)) or _is_xml(data)


def _is_xml(data: bytes) -> bool:
    # Some reporters put blank lines in front.
    return data.lstrip(_BLANK).startswith(_XML)


def unpack(data: bytes) -> bytes:
    """The XML of a report in gzip, zip or plain form.

    Raises:
        NotAReport: another format, or an archive of something else.
        ReportUnfit: broken, encrypted, or more than REPORT_XML_OCTETS.
    """
    if data.startswith(_GZIP):
        data = _inflate(data, 0, 16 + zlib.MAX_WBITS)
    elif data.startswith(_ZIP):
        data = _first_member(data)
    if not _is_xml(data):
        raise NotAReport("it is neither XML nor an archive of XML, so not a DMARC aggregate report")
    if len(data) > REPORT_XML_OCTETS:
        raise ReportUnfit(f"more than {REPORT_XML_OCTETS} octets of XML")
    return data.lstrip(_BLANK)


def _first_member(data: bytes) -> bytes:
    # Read from the member's own header: the directory at the end may list a hundred thousand others.
    if len(data) < _MEMBER:
        raise ReportUnfit("the zip archive is truncated")
    flags = int.from_bytes(data[6:8], "little")
    method = int.from_bytes(data[8:10], "little")
    size = int.from_bytes(data[18:22], "little")
    start = _MEMBER + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
    if flags & 1:
        raise ReportUnfit("the zip archive is encrypted")
    if method == _DEFLATED:
        return _inflate(data, start, -zlib.MAX_WBITS)
    if method == _STORED and start + size <= len(data):
        return data[start : start + size]
    raise ReportUnfit("the zip archive is truncated, or uses an unsupported compression")


def _inflate(data: bytes, start: int, wbits: int) -> bytes:
    """The first stream of ``data`` from ``start``; unpacks at most one piece beyond the limit."""
    stream = zlib.decompressobj(wbits)
    pieces: list[bytes] = []
    total = 0
    at, rest = start, b""
    try:
        while not stream.eof:
            if not rest:
                rest = data[at : at + _PIECE]
                at += len(rest)
                if not rest:
                    raise ReportUnfit("the archive is truncated")
            piece = stream.decompress(rest, _PIECE)
            rest = stream.unconsumed_tail
            total += len(piece)
            consumed = at - start - len(rest)
            if total > REPORT_XML_OCTETS or (total > _RATIO_FROM and total > REPORT_RATIO * consumed):
                raise ReportUnfit(f"the archive holds more than {total - 1} octets")
            pieces.append(piece)
    except zlib.error:
        raise ReportUnfit("the archive is broken") from None
    return b"".join(pieces)
