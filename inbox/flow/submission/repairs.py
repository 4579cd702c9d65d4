"""Complete a submitted message: Date, Message-ID and From are added, Bcc is removed (RFC 6409 §8, RFC 5322 §3.6.3)."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

from inbox.flow.submission.idempotency import FIELD
from inbox.mail.content import Content, PrefixedContent, TailContent
from inbox.mail.edits import delete_field, render_field
from inbox.mail.headers import Headers

#: Fields that name recipients who must stay hidden from the others.
_HIDDEN = ("Bcc", "Resent-Bcc")
#: Fields that are for this server only.
_REMOVED = (*_HIDDEN, FIELD)


def repaired(content: Content, headers: Headers, author: str, message_id: str, now: float) -> Content:
    """Return the message to be judged, stored and sent.

    Args:
        content: the message as the client sent it.
        headers: its header section.
        author: the address for a missing From.
        message_id: the identifier for a missing Message-ID, with angle brackets.
        now: seconds since the epoch, for a missing Date.
    """
    missing = b""
    if not headers.count("from"):
        missing += f"From: {author}\r\n".encode()
    if not headers.count("date"):
        missing += f"Date: {_date(int(now))}\r\n".encode()
    if not headers.count("message-id"):
        missing += render_field("Message-ID", message_id)
    block = headers.block
    length = len(block)
    for name in _REMOVED:
        if headers.count(name):
            block = delete_field(block, name)
    if len(block) < length:
        return PrefixedContent(missing + block, TailContent(content, length))
    return PrefixedContent(missing, content) if missing else content


def hidden_fields(headers: Headers) -> bytes:
    """The fields that :func:`repaired` removes, unchanged, with their line endings."""
    names = {name.lower() for name in _HIDDEN}
    return b"".join([headers.block[each.start : each.end] for each in headers.fields() if each.name.lower() in names])


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    """RFC 5322 §3.3: +0000 means UTC; formatdate's -0000 means that the local time zone is unknown."""
    return formatdate(second).removesuffix("-0000") + "+0000"
