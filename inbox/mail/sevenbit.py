"""Convert a message to 7-bit text, for servers on the way that do not offer 8BITMIME (RFC 6152 §3).

Parts with 8-bit octets get a transfer encoding (RFC 2045 §6): quoted-printable if they are mostly ASCII text, otherwise
base64. A conversion breaks signatures, so it comes before signing (RFC 6376 §5.3). Signed parts stay as they
are, and so do header fields: internationalised ones need SMTPUTF8 in any case.
"""

from __future__ import annotations

import binascii
from typing import Final

from inbox.mail.bodies import encoding_of
from inbox.mail.content import Content, MemoryContent
from inbox.mail.edits import change_field
from inbox.mail.mime import Part, scan

_ENCODING: Final = "Content-Transfer-Encoding"
#: Text with more 8-bit octets than this fraction is shorter in base64.
_MOSTLY_ASCII: Final = 1 / 6
_LINE: Final = 57  # octets of a base64 line of 76 characters


def in_seven_bits(content: Content) -> Content:
    """The message with all its 8-bit parts encoded; the same object if it has none."""
    octets = content.read(0, content.size)
    if octets.isascii():
        return content
    root = scan(octets)
    pieces: list[bytes] = []
    _convert(root, octets, pieces)
    pieces.append(octets[root.end :])
    return MemoryContent(b"".join(pieces))


def _convert(part: Part, octets: bytes, pieces: list[bytes]) -> None:
    """Adds the part as 7-bit text: its header section and its body."""
    if octets[part.start : part.end].isascii() or (part.is_multipart and part.subtype == b"signed"):
        pieces.append(octets[part.start : part.end])
        return
    header, body = octets[part.start : part.body], octets[part.body : part.end]
    if part.children:
        pieces.append(_relabelled(part, header, "7bit"))
        at = part.body
        for child in part.children:
            pieces.append(octets[at : child.start])
            _convert(child, octets, pieces)
            at = child.end
        pieces.append(octets[at : part.end])
    elif body.isascii() or encoding_of(part) not in {b"7bit", b"8bit", b"binary"}:
        pieces.append(octets[part.start : part.end])
    else:
        pieces += _encoded(part, header, body)


def _encoded(part: Part, header: bytes, body: bytes) -> list[bytes]:
    eight_bit = len(body) - len(body.translate(None, bytes(range(128, 256))))
    if part.lower == b"text" and eight_bit <= len(body) * _MOSTLY_ASCII:
        return [_relabelled(part, header, "quoted-printable"), _quoted_printable(body)]
    lines = [binascii.b2a_base64(body[at : at + _LINE], newline=False) for at in range(0, len(body), _LINE)]
    return [_relabelled(part, header, "base64"), b"\r\n".join(lines) + (b"\r\n" if body.endswith(b"\r\n") else b"")]


def _quoted_printable(body: bytes) -> bytes:
    """RFC 2045 §6.7; line ends stay line ends."""
    lines = body.split(b"\r\n")
    return b"\r\n".join([binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in lines])


def _relabelled(part: Part, header: bytes, encoding: str) -> bytes:
    """The header section with this Content-Transfer-Encoding; without one, 7bit is the default."""
    if b"content-transfer-encoding" not in part.fields and encoding == "7bit":
        return header
    end = b"\r\n" if header.endswith(b"\r\n\r\n") or header == b"\r\n" else b""
    labelled = change_field(header[: len(header) - len(end)], _ENCODING, encoding)
    if b"mime-version" not in part.fields and part.parent is None:
        labelled = change_field(labelled, "MIME-Version", "1.0")
    return labelled + end
