"""Rules for mailbox names, the same for IMAP clients and plugins."""

from __future__ import annotations

import re
from typing import Final

from inbox.base.limits import MAILBOX_DEPTH, MAILBOX_NAME_OCTETS

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def normal(name: str) -> str:
    """``name`` with its first level in capitals if it is INBOX in any case (RFC 3501 §5.1)."""
    if name[:5].upper() == "INBOX" and name[5:6] in ("", "/"):
        return "INBOX" + name[5:]
    return name


def is_too_long(name: str) -> bool:
    """Whether the name as a whole is too long, or has too many levels."""
    return len(name.encode("utf-8", "surrogatepass")) > MAILBOX_NAME_OCTETS or name.count("/") >= MAILBOX_DEPTH


def complaint(name: str) -> str | None:
    """The reason why a new mailbox cannot have ``name``; None if it can."""
    if not name or "" in name.split("/"):
        return "Mailbox name has an empty level"
    if is_too_long(name):
        return f"Mailbox names are limited to {MAILBOX_NAME_OCTETS} octets and {MAILBOX_DEPTH} levels"
    if _CONTROL.search(name):
        return "Mailbox name contains a control character"
    if "*" in name or "%" in name:
        return "Wildcards are not allowed in mailbox names"
    return None
