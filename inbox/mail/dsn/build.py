"""Build delivery status notifications (RFC 3464; RFC 6533 for internationalized addresses).

A notification must be deliverable itself: to an ASCII sender it is 7-bit throughout, whatever it reports about.
"""

from __future__ import annotations

import re
import textwrap
from base64 import encodebytes
from binascii import b2a_qp
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Literal

from inbox.mail.content import Content
from inbox.mail.headers import Headers, header_block

DsnKind = Literal["failed", "delayed", "relayed", "delivered"]
#: A larger message is returned as its header section only, in octets.
FULL_OCTETS: Final = 256 * 1024
#: The part of the header section that is returned, in octets.
HEADER_OCTETS: Final = 64 * 1024
_TEXT: Final = 1000
_LONGEST_LINE: Final = 998
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
_SUBJECTS: Final[dict[DsnKind, str]] = {
    "failed": "Undelivered mail: returned to sender",
    "delayed": "Delayed mail: still being retried",
    "relayed": "Mail relayed to a server that does not confirm delivery",
    "delivered": "Mail delivered",
}
_OPENINGS: Final[dict[DsnKind, str]] = {
    "failed": "Your message could not be delivered to the recipients below. It will not be tried again.",
    "delayed": "Your message has not been delivered to the recipients below yet. You do not need to send it again.",
    "relayed": "Your message was passed to the server of the recipients below. That server does not confirm delivery, "
    "so you receive no further notification of success.",
    "delivered": "Your message was delivered to the recipients below.",
}


@dataclass(frozen=True, slots=True)
class DsnRecipient:
    """One recipient in a notification.

    Attributes:
        status: the enhanced code (RFC 3463).
        code, reply: the server's reply; code 0 if none replied, and then ``reply`` is our reason.
        orcpt: the ORCPT parameter as the client sent it (RFC 3461 §4.2).
        host: the server that replied; empty if none did.
        last_attempt, retry_until: seconds since the epoch; 0: not reported.
    """

    address: str
    status: str
    code: int = 0
    reply: str = ""
    orcpt: str | None = None
    host: str = ""
    last_attempt: float = 0.0
    retry_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Dsn:
    """A notification to ``sender`` about one message.

    Attributes:
        reporting_mta: our host name.
        message_id: without brackets.
        at, arrived: now, and when the message was accepted; seconds since the epoch.
        original: the message; ``returns_all`` asks for all of it, not only its header section.
        takes_8bit: the way to ``sender`` carries 8-bit octets.
        envid: the ENVID parameter as the client sent it (RFC 3461 §4.4).
        note: an operator's text for people, in front of ours.
    """

    kind: DsnKind
    sender: str
    reporting_mta: str
    message_id: str
    at: float
    arrived: float
    recipients: tuple[DsnRecipient, ...]
    original: Content
    returns_all: bool = False
    takes_8bit: bool = False
    envid: str | None = None
    note: str = ""


def build(dsn: Dsn) -> bytes:
    """Returns the whole notification with CRLF line ends; its reverse-path must be null (RFC 3464 §2)."""
    block, _ = header_block(dsn.original)
    boundary = f"=_dsn_{re.sub(r'[^A-Za-z0-9]', '_', dsn.message_id)[:50]}"
    is_global = not dsn.sender.isascii()
    status_type = "message/global-delivery-status" if is_global else "message/delivery-status"
    status = _status(dsn, is_global)
    returned_type, encoding, returned = _returned(dsn, block)
    parts = [
        _part("text/plain; charset=utf-8", *_encoded(_people(dsn)), description="Notification"),
        _part(status_type, "8bit" if is_global else "7bit", status, description="Delivery report"),
        _part(returned_type, encoding, returned, description="Undelivered message"),
    ]
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts)
    header = _header(dsn, block, boundary)
    if not body.isascii():  # RFC 2045 §6.4: a multipart is 8bit if one of its parts is
        header += b"Content-Transfer-Encoding: 8bit\r\n"
    return b"%b\r\n%b--%b--\r\n" % (header, body, boundary.encode())


def _header(dsn: Dsn, block: bytes, boundary: str) -> bytes:
    lines = [
        f"From: Mail Delivery System <MAILER-DAEMON@{dsn.reporting_mta}>",
        f"To: <{_plain(dsn.sender)}>",
        f"Subject: {_SUBJECTS[dsn.kind]}",
        f"Date: {_date(dsn.at)}",
        f"Message-ID: <{dsn.message_id}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    answered = _plain(Headers.parse(block).get("Message-ID") or "").strip()
    if answered and answered.isascii() and len(answered) < _LONGEST_LINE - 20 and " " not in answered:
        lines.insert(5, f"References: {answered}")
    return ("\r\n".join(lines) + "\r\n").encode()


def _part(content_type: str, encoding: str, body: bytes, description: str) -> bytes:
    head = (
        f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\nContent-Description: {description}"
    )
    return head.encode() + b"\r\n\r\n" + body + (b"" if body.endswith(b"\r\n") else b"\r\n")


def _people(dsn: Dsn) -> str:
    paragraphs = [each for each in dsn.note.split("\n\n") if each.strip()]
    paragraphs.append(f"This is the mail server {dsn.reporting_mta}.")
    paragraphs.append(_OPENINGS[dsn.kind])
    text = "\n\n".join(textwrap.fill(one, 76) for one in paragraphs) + "\n"
    for each in dsn.recipients:
        text += f"\n<{_plain(each.address)}>\n"
        if each.reply and each.code:
            who = f"{each.host} replied: " if each.host else "The server replied: "
            text += textwrap.indent(textwrap.fill(who + _plain(_reply(each)), 72), "    ") + "\n"
        elif each.reply:
            text += textwrap.indent(textwrap.fill(_plain(each.reply)[:_TEXT], 72), "    ") + "\n"
        if each.retry_until:
            text += f"    The server tries again until {_date(each.retry_until)}.\n"
    return text


def _encoded(text: str) -> tuple[str, bytes]:
    """The transfer encoding and the encoded text."""
    if text.isascii() and all(len(line) < _LONGEST_LINE for line in text.splitlines()):
        return "7bit", text.replace("\n", "\r\n").encode()
    return "quoted-printable", b2a_qp(text.replace("\n", "\r\n").encode(), istext=True)


def _status(dsn: Dsn, is_global: bool) -> bytes:
    """The fields about the message, and a group for each recipient (RFC 3464 §2.2, §2.3)."""
    lines = [f"Reporting-MTA: dns; {dsn.reporting_mta}"]
    if dsn.envid:
        lines.append(f"Original-Envelope-Id: {_plain(_from_xtext(dsn.envid))}")
    lines.append(f"Arrival-Date: {_date(dsn.arrived)}")
    for each in dsn.recipients:
        lines.append("")
        kind, _, original = (each.orcpt or "").partition(";")
        if original:
            lines.append(f"Original-Recipient: {_plain(kind)}; {_plain(_from_xtext(original))}")
        lines.append(f"Final-Recipient: {_typed(each.address, is_global)}")
        lines.append(f"Action: {dsn.kind}")
        lines.append(f"Status: {each.status}")
        if each.host:
            lines.append(f"Remote-MTA: dns; {_plain(each.host)}")
        if each.code:
            lines.append(f"Diagnostic-Code: smtp; {_plain(_reply(each))}")
        if each.last_attempt:
            lines.append(f"Last-Attempt-Date: {_date(each.last_attempt)}")
        if each.retry_until:
            lines.append(f"Will-Retry-Until: {_date(each.retry_until)}")
    folded = "\r\n".join(_folded(line) for line in lines) + "\r\n"
    return folded.encode() if is_global else folded.encode("ascii", "replace")


def _typed(address: str, is_global: bool) -> str:
    """The address with its type; RFC 6533 §3 encodes it as ``utf-8-addr-xtext`` where the report must be ASCII."""
    plain = _plain(address)
    if plain.isascii():
        return f"rfc822; {plain}"
    if is_global:
        return f"utf-8; {plain}"
    return "utf-8; " + "".join(c if c.isascii() and c not in "\\+=" else f"\\x{{{ord(c):X}}}" for c in plain)


def _reply(each: DsnRecipient) -> str:
    status = each.status if not each.reply.startswith(each.status) else ""
    return " ".join(one for one in (str(each.code), status, each.reply[:_TEXT]) if one)


def _date(second: float) -> str:
    """RFC 5322 §3.3: +0000 means UTC; formatdate's -0000 means that the local time zone is unknown."""
    return formatdate(second).removesuffix("-0000") + "+0000"


def _plain(text: str) -> str:
    """The text without control characters and line ends, which would begin a field of their own."""
    return "".join(c if c.isprintable() else " " for c in text)


def _from_xtext(text: str) -> str:
    """Decodes xtext (RFC 3461 §4)."""
    return _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)


def _folded(line: str) -> str:
    return "\r\n ".join(textwrap.wrap(line, 500, break_on_hyphens=False)) if len(line) > 500 else line


def _returned(dsn: Dsn, block: bytes) -> tuple[str, str, bytes]:
    """Type, transfer encoding and octets of the returned message, or of its header section.

    ``message/rfc822`` allows no encoding (RFC 2046 §5.2.1). So a message with 8-bit octets is sent unchanged only to
    servers that accept them, and otherwise, like one with overlong lines or NUL, as ``message/global`` in base64
    (RFC 6532 §3.7): a server without 8BITMIME would refuse the notification.
    """
    if dsn.returns_all and dsn.original.size <= FULL_OCTETS:
        whole = dsn.original.read(0, dsn.original.size)
        if b"\x00" not in whole and _is_short(whole) and (whole.isascii() or dsn.takes_8bit):
            return "message/rfc822", "7bit" if whole.isascii() else "8bit", whole
        return "message/global", "base64", _base64(whole)
    cut = block[:HEADER_OCTETS]
    if len(block) > HEADER_OCTETS:
        cut = cut[: cut.rfind(b"\n") + 1]
    if not cut.isascii() or b"\x00" in cut or not _is_short(cut):
        return "message/global-headers", "base64", _base64(cut)
    return "text/rfc822-headers", "7bit", cut


def _base64(octets: bytes) -> bytes:
    return encodebytes(octets).replace(b"\n", b"\r\n")


def _is_short(octets: bytes) -> bool:
    return all(len(line) <= _LONGEST_LINE for line in octets.split(b"\r\n"))
