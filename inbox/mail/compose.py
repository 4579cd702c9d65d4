"""Compose a message from texts and attachments (RFC 5322, RFC 2045, RFC 2046)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from inbox.mail.edits import render_field
from inbox.mail.nameaddr import NameAddr, address_field

#: Octets of a line that is sent without an encoding; RFC 5322 §2.1.1 allows 998.
_LINE: Final = 900
#: Octets that one line of base64 holds (RFC 2045 §6.8: at most 76 characters).
_BASE64: Final = 57
#: Characters of one piece of a parameter (RFC 2231 §3).
_PIECE: Final = 60
_QUOTED_PAIR: Final = re.compile(r'(["\\])')
_PERCENT_SAFE: Final = "!#$&+-.^_`{}~"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file of a message.

    Attributes:
        filename: without folders and control characters.
        content_type: a media type with its parameters, checked.
        content_id: the id by which the HTML text shows it (``cid:``), without angle brackets; empty: it is listed as
            an attachment.
    """

    filename: str
    content_type: str
    content: bytes
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields and parts of a message. All values are checked: none has a control character except the texts.

    Attributes:
        text, html: the text in two forms; None: there is no such form.
        headers: further fields in their order.
    """

    author: NameAddr
    to: Sequence[NameAddr] = ()
    cc: Sequence[NameAddr] = ()
    bcc: Sequence[NameAddr] = ()
    reply_to: Sequence[NameAddr] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    attachments: Sequence[Attachment] = ()

    @property
    def is_international(self) -> bool:
        """Whether an address needs SMTPUTF8 (RFC 6531)."""
        everybody = (self.author, *self.to, *self.cc, *self.bcc, *self.reply_to)
        return not all(one.address.is_ascii for one in everybody)


def compose(draft: Draft, boundary: Callable[[], str]) -> bytes:
    """The message with CRLF line endings, without Date and Message-ID. It has a Bcc field, which submission removes.

    Args:
        boundary: returns a new text that occurs in no part.
    """
    fields = [address_field("From", [draft.author])]
    for name, addresses in (("Reply-To", draft.reply_to), ("To", draft.to), ("Cc", draft.cc), ("Bcc", draft.bcc)):
        if addresses:
            fields.append(address_field(name, list(addresses)))
    fields.append(render_field("Subject", draft.subject))
    fields += [render_field(name, value) for name, value in draft.headers]
    fields.append(b"MIME-Version: 1.0\r\n")
    return b"".join([*fields, _body(draft, boundary)])


def _body(draft: Draft, boundary: Callable[[], str]) -> bytes:
    """The MIME fields of the message and its body."""
    related = [_attached(each) for each in draft.attachments if each.content_id]
    others = [_attached(each) for each in draft.attachments if not each.content_id]
    texts = [] if draft.text is None else [_text(draft.text, "plain")]
    if draft.html is not None:
        html = _text(draft.html, "html")
        texts.append(_multipart("related", [html, *related], boundary()) if related else html)
    else:
        others = [*related, *others]
    if not texts and not others:
        texts = [_text("", "plain")]
    parts = [_multipart("alternative", texts, boundary())] if len(texts) > 1 else texts
    parts += others
    # A single attachment without a text remains a part, so that mail programs show it as an attachment.
    return parts[0] if len(parts) == 1 and not others else _multipart("mixed", parts, boundary())


def _multipart(subtype: str, parts: list[bytes], boundary: str) -> bytes:
    line = f"--{boundary}".encode()
    head = f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n'.encode()
    return head + b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"


def _text(text: str, subtype: str) -> bytes:
    octets = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\n".encode()
    if octets.isascii() and max(map(len, octets.split(b"\n"))) <= _LINE:
        body, encoding = octets.replace(b"\n", b"\r\n"), b"7bit"
    elif sum(octet > 127 for octet in octets[:2000]) * 6 > min(len(octets), 2000):
        body, encoding = _base64(octets.replace(b"\n", b"\r\n")), b"base64"
    else:
        body, encoding = binascii.b2a_qp(octets, istext=True).replace(b"\n", b"\r\n"), b"quoted-printable"
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    return b"%sContent-Transfer-Encoding: %s\r\n\r\n%s" % (head, encoding, body)


def _attached(attachment: Attachment) -> bytes:
    kind = b"inline" if attachment.content_id else b"attachment"
    shown = b"".join(b";\r\n " + each for each in _parameter("filename", attachment.filename))
    head = b"Content-Type: %s\r\nContent-Disposition: %s%s\r\n" % (attachment.content_type.encode(), kind, shown)
    if attachment.content_id:
        head += f"Content-ID: <{attachment.content_id}>\r\n".encode()
    return b"%sContent-Transfer-Encoding: base64\r\n\r\n%s" % (head, _base64(attachment.content))


def _base64(octets: bytes) -> bytes:
    lines = [binascii.b2a_base64(octets[at : at + _BASE64], newline=False) for at in range(0, len(octets), _BASE64)]
    return b"\r\n".join([*lines, b""])


def _parameter(name: str, value: str) -> list[bytes]:
    """The parameter in RFC 2231's form if it is long or not ASCII."""
    if value.isascii() and len(value) <= _PIECE:
        escaped = _QUOTED_PAIR.sub(r"\\\1", value)
        return [f'{name}="{escaped}"'.encode()]
    pieces, piece = [], "UTF-8''"
    for character in value:
        encoded = quote(character, safe=_PERCENT_SAFE)
        if len(piece) + len(encoded) > _PIECE:
            pieces.append(piece)
            piece = ""
        piece += encoded
    pieces.append(piece)
    if len(pieces) == 1:
        return [f"{name}*={pieces[0]}".encode()]
    return [f"{name}*{number}*={each}".encode() for number, each in enumerate(pieces)]
