"""The index of a message: everything that a mailbox stores besides the bytes, computed once, at delivery."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from inbox.base.limits import HEADER_FIELDS, REFERENCES, TEXT_LINE_OCTETS
from inbox.mail.addresslist import ListedAddress, addr_spec, display
from inbox.mail.content import Content
from inbox.mail.dates import parse_date
from inbox.mail.encoded import decode_value
from inbox.mail.fields import split_fields
from inbox.mail.headers import header_block
from inbox.mail.imapview import Addresses, envelope, structures
from inbox.mail.mime import scan
from inbox.mail.sections import pack
from inbox.mail.snippet import snippet_of
from inbox.mail.subject import base_subject

#: Addresses of one field that are stored as text; ENVELOPE has all of them.
_ADDRESSES: Final = 100
_ADDRESS_CHARACTERS: Final = 512
#: RFC 5322 §3.6.4, tolerant: everything between angle brackets.
_MESSAGE_ID = re.compile(rb"<[^<>\s]{1,996}>")


@dataclass(frozen=True, slots=True)
class MessageIndex:
    """The fields that the store saves of a message (``EmailRecord`` has the same names).

    ``message_id`` and ``references`` keep their angle brackets. ``date`` is seconds since the epoch. No text holds
    NUL. ``envelope``, ``body`` and ``bodystructure`` are ready to send; ``sections`` is
    :func:`inbox.mail.sections.pack`.
    """

    message_id: str | None
    date: float | None
    subject: str
    subject_normalized: str
    references: tuple[str, ...]
    from_: tuple[str, ...]
    sender_address: str | None
    reply_to: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    mime_root_ct: str
    snippet: str
    envelope: bytes
    body: bytes
    bodystructure: bytes
    sections: bytes
    header_block: bytes


def index(content: Content) -> MessageIndex:
    """Index a message. Accepts any octets; the cost is linear in the message, with the bounds of ``limits``."""
    buffer = content.buffer()
    root = scan(buffer)
    fields = root.fields
    addresses = Addresses(root)
    raw_subject = fields.get(b"subject")
    subject = decode_value(raw_subject[: 4 * TEXT_LINE_OCTETS])[:TEXT_LINE_OCTETS] if raw_subject else ""
    raw_date = fields.get(b"date")
    body, bodystructure = structures(root, buffer)
    return MessageIndex(
        message_id=_message_id(fields.get(b"message-id")),
        date=parse_date(raw_date[:100].decode("latin-1")) if raw_date else None,
        subject=subject,
        subject_normalized=base_subject(subject),
        references=_references(fields),
        from_=_texts(addresses.from_),
        sender_address=addr_spec(addresses.from_) or None,
        reply_to=_texts(addresses.reply_to),
        to=_texts(addresses.to),
        cc=_texts(addresses.cc),
        bcc=_texts(addresses.bcc),
        mime_root_ct=_root_type(root.kind),
        snippet=snippet_of(root, buffer),
        envelope=envelope(fields, addresses),
        body=body,
        bodystructure=bodystructure,
        sections=pack(root),
        header_block=buffer[: root.body],
    )


def message_id_of(content: Content) -> str | None:
    """``message_id`` of :func:`index`, without the rest of the index."""
    fields = split_fields(header_block(content)[0], HEADER_FIELDS)
    return _message_id(next((value for name, value in fields if name == b"message-id"), None))


def _message_id(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = decode_value(value[: 2 * TEXT_LINE_OCTETS]).replace(" ", "").replace("\t", "")
    return text[:TEXT_LINE_OCTETS] or None


def _references(fields: dict[bytes, bytes]) -> tuple[str, ...]:
    """RFC 5256 §2.2 (INTERNET MESSAGE THREADING, 1): References, or otherwise the first of In-Reply-To.

    If there are too many, the first (the root of the thread) and the last are kept.
    """
    found = _MESSAGE_ID.findall(fields.get(b"references", b""))
    if not found:
        found = _MESSAGE_ID.findall(fields.get(b"in-reply-to", b""))[:1]
    if len(found) > REFERENCES:
        found = [found[0], *found[1 - REFERENCES :]]
    return tuple([decode_value(one) for one in found])


def _texts(addresses: tuple[ListedAddress, ...]) -> tuple[str, ...]:
    if not addresses:
        return ()
    shown = [display(address) for address in addresses[:_ADDRESSES]]
    return tuple([text[:_ADDRESS_CHARACTERS] for text in shown if text is not None])


def _root_type(kind: tuple[bytes, bytes] | None) -> str:
    if kind is None:
        return "text/plain"
    return f"{kind[0].decode('ascii', 'replace')}/{kind[1].decode('ascii', 'replace')}".lower()[:255]
