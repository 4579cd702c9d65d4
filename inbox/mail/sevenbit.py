"""Convert a message to 7-bit text, for servers on the way that do not offer 8BITMIME or BINARYMIME (RFC 6152 §3).

Parts with 8-bit octets get a transfer encoding (RFC 2045 §6): quoted-printable if they are mostly ASCII text, otherwise
base64. A conversion breaks signatures, so it comes before signing (RFC 6376 §5.3). Signed parts stay as they
are, and so do header fields: internationalised ones need SMTPUTF8 in any case. So the result may still have 8-bit
octets.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from inbox.mail.bodies import encoding_of
from inbox.mail.content import Content, MemoryContent
from inbox.mail.edits import change_field
from inbox.mail.mime import Part, scan

_ENCODING: Final = "Content-Transfer-Encoding"
#: Text with more 8-bit octets than this fraction is shorter in base64.
_MOSTLY_ASCII: Final = 1 / 6
_LINE: Final = 57  # octets of a base64 line of 76 characters
#: Octets of a line of text without its end (RFC 5322 §2.1.1).
_TEXT_LINE: Final = 998
_BINARY: Final = re.compile(rb"^content-transfer-encoding[ \t]*:\s*binary", re.IGNORECASE | re.MULTILINE)
_TO_ASCII: Final = bytes(range(128)) + b"?" * 128


def in_seven_bits(content: Content) -> Content:
    """The message with all its 8-bit and binary parts encoded; the same object if it has none.

    A message with more parts than a limit stays as it is.
    """
    octets = content.read(0, content.size)
    if octets.isascii() and _BINARY.search(octets) is None:
        return content
    root = scan(octets)
    if root.is_cut:
        return content
    pieces: list[bytes] = []
    _convert(root, octets, pieces)
    pieces.append(octets[root.end :])
    return MemoryContent(b"".join(pieces))


def _convert(part: Part, octets: bytes, pieces: list[bytes]) -> None:
    """Adds the part as 7-bit text: its header section and its body."""
    header, body, encoding = octets[part.start : part.body], octets[part.body : part.end], encoding_of(part)
    if part.is_multipart and part.subtype == b"signed":
        pieces += (header, body)
    elif part.children:
        pieces.append(_relabelled(part, header, "7bit") if encoding in {b"8bit", b"binary"} else header)
        at = part.body
        for child in part.children:
            pieces.append(_ignored(octets[at : child.start]))
            _convert(child, octets, pieces)
            at = child.end
        pieces.append(_ignored(octets[at : part.end]))
    elif part.is_multipart or encoding not in {b"7bit", b"8bit", b"binary"}:
        # Without parts it has no content; it must not be encoded as a whole (RFC 2045 §6.4).
        pieces += (header, _ignored(body) if part.is_multipart else body)
    elif not body.isascii() or (encoding == b"binary" and _is_binary(body)):
        pieces += _encoded(part, header, body)
    else:
        pieces += (_relabelled(part, header, "7bit") if encoding == b"binary" else header, body)


def _ignored(octets: bytes) -> bytes:
    """The text around the parts of a multipart, which readers ignore (RFC 2046 §5.1.1)."""
    return octets if octets.isascii() else octets.translate(_TO_ASCII)


def _is_binary(body: bytes) -> bool:
    """Whether the body is not lines of text (RFC 2045 §2.7)."""
    ends = body.count(b"\r\n")
    return (
        b"\0" in body
        or body.count(b"\r") != ends
        or body.count(b"\n") != ends
        or any(len(line) > _TEXT_LINE for line in body.split(b"\r\n"))
    )


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
