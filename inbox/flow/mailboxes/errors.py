"""Refusals of the use cases. ``text`` is the text for the user; each server maps the classes to its own codes."""

from __future__ import annotations

from inbox.base.errors import InboxError, NotFound


class NoSuchMailbox(NotFound):
    """No mailbox of this name or id is visible to the user, whether or not one exists."""

    text = "No such mailbox"


class NotPermitted(InboxError):
    """The user sees the mailbox, but lacks a right to it (RFC 5530: NOPERM)."""

    code, status, text = 550, "5.7.1", "Permission denied for this mailbox"


class NameRefused(InboxError):
    """A mailbox cannot have this name, or its name cannot be changed or deleted."""

    code, status = 550, "5.3.0"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class SpecialUseTaken(InboxError):
    """The special use is not supported, or another mailbox has it (RFC 6154 §3: USEATTR)."""

    code, status = 550, "5.3.0"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
