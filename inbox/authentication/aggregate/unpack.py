"""Extraction of aggregate reports from mail, gzip and zip, with bounds against hostile archives.

Only the first member of an archive is looked at, and an archive in an archive is no report.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from inbox.base.errors import InboxError
from inbox.base.limits import REPORT_ATTACHMENT_OCTETS, REPORT_CANDIDATES, REPORT_RATIO, REPORT_XML_OCTETS
from inbox.mail.message import Message, PartInfo


class ReportError(InboxError):
    """The data is not a usable aggregate report. The text is ours, in printable ASCII."""

    code, status, said = 550, "5.6.0", "This is not a DMARC aggregate report that we can read"


class NotAReport(ReportError):
    """It is something else: another kind of report, a picture, a letter."""


class ReportUnfit(ReportError):
    """It is meant as an aggregate report, but broken, or larger than we read."""


_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_BLANK: Final = b" \t\r\n"
_XML: Final = (b"<", b"\xef\xbb\xbf", b"\xff\xfe<\x00", b"\xfe\xff\x00<")
#: Octets below which a ratio means nothing: a few rows that are alike may well shrink to a hundredth.
_RATIO_FROM: Final = 1024 * 1024
_PIECE: Final = 64 * 1024
#: A member's header (APPNOTE 4.3.7) without its name and extra field; bit 0 of the flags: encrypted.
_MEMBER: Final = 30
_STORED, _DEFLATED = 0, 8


def attached(message: Message) -> Iterator[bytes]:
    """Candidates for reports in a mail, in order and still packed; at most REPORT_CANDIDATES.

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
    # Names and types are often wrong (application/octet-stream, .zip for gzip), the first octets are not.
    if part.content_type == "text/html" or (part.content_type == "text/plain" and not part.file_name):
        return False
    begin = part.decoded(64)
    return is_packed(begin)


def is_packed(data: bytes) -> bool:
    """Whether it begins like a format that :func:`unpack` reads; a mail begins with a field's name."""
    return data.startswith((_GZIP, _ZIP)) or _is_xml(data)


def _is_xml(data: bytes) -> bool:
    # Some reporters put blank lines in front.
    return data.lstrip(_BLANK).startswith(_XML)


def unpack(data: bytes) -> bytes:
    """The XML of a report that comes as gzip, as zip, or as it is.

    Raises:
        NotAReport: none of these, or an archive of something else.
        ReportUnfit: broken, encrypted, or more than REPORT_XML_OCTETS.
    """
    if data.startswith(_GZIP):
        data = _inflate(data, 0, 16 + zlib.MAX_WBITS)
    elif data.startswith(_ZIP):
        data = _first_member(data)
    if not _is_xml(data):
        raise NotAReport("it is not XML, and so not a DMARC aggregate report")
    if len(data) > REPORT_XML_OCTETS:
        raise ReportUnfit(f"more than {REPORT_XML_OCTETS} octets of XML")
    return data.lstrip(_BLANK)


def _first_member(data: bytes) -> bytes:
    # From the member's own header: the list at an archive's end may name a hundred thousand others.
    if len(data) < _MEMBER:
        raise ReportUnfit("the zip archive is cut off")
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
    raise ReportUnfit("the zip archive is cut off, or uses an unsupported compression")


def _inflate(data: bytes, start: int, wbits: int) -> bytes:
    """The first stream of ``data`` from ``start``; no more than a piece beyond what is allowed is ever unpacked."""
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
                    raise ReportUnfit("the archive is cut off")
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
