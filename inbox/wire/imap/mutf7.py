"""Mailbox names on the wire: modified UTF-7 (RFC 3501 §5.1.3)."""

from __future__ import annotations

import binascii
import re
from typing import Final

from inbox.mail.mailbox_name import normal
from inbox.wire.imap.errors import BadCommand

_SHIFTED: Final = re.compile(rb"&([A-Za-z0-9+,]*)-")
_OTHERS: Final = re.compile(r"[^\x20-\x7e]+")


def encode(name: str) -> bytes:
    """``name`` in modified UTF-7; always printable ASCII."""
    if name.isascii() and "&" not in name and name.isprintable():
        return name.encode("ascii")
    return _OTHERS.sub(_shift, name.replace("&", "&-")).encode("ascii")


def _shift(run: re.Match[str]) -> str:
    packed = binascii.b2a_base64(run[0].encode("utf-16-be"), newline=False)
    return "&" + packed.decode("ascii").rstrip("=").replace("/", ",") + "-"


def decode(raw: bytes) -> str:
    """Decode a mailbox name.

    Raises:
        BadCommand: it is not modified UTF-7, or encodes characters that need no encoding (a name must have only one
            encoded form). The response is NO: the command is well-formed, but no mailbox can have this name.
    """
    if b"&" not in raw and raw.isascii():
        return raw.decode("ascii")
    try:
        name = _SHIFTED.sub(_unshift, raw).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise _invalid("Mailbox name is not valid modified UTF-7") from None
    if encode(name) != raw:
        raise _invalid("Mailbox name is not in the canonical form of modified UTF-7")
    return name


def _invalid(text: str) -> BadCommand:
    return BadCommand(text, word="NO", response_code="CANNOT")


def _unshift(run: re.Match[bytes]) -> bytes:
    packed = run[1].replace(b",", b"/")
    if not packed:
        return b"&"
    return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4)).decode("utf-16-be").encode("utf-8")


def mailbox_name(raw: bytes) -> str:
    """The mailbox name that a client sent: decoded, with ``INBOX`` in capitals if it is the first level.

    A trailing separator ``/`` announces children (RFC 3501 §6.3.3); it is dropped.

    Raises:
        BadCommand: the name cannot be decoded.
    """
    return normal(decode(raw).removesuffix("/"))
