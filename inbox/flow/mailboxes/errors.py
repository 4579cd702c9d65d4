"""Refusals of the use cases. ``said`` is for the user; each server maps the classes to its own codes."""

from __future__ import annotations

from inbox.base.errors import InboxError, NotFound


class NoSuchMailbox(NotFound):
    """The user sees no mailbox of this name or id, whether or not there is one."""

    said = "No such mailbox"


class NotPermitted(InboxError):
    """The user sees the mailbox, but lacks a right to it (RFC 5530: NOPERM)."""

    code, status, said = 550, "5.7.1", "You do not have the right to do this with this mailbox"


class NameRefused(InboxError):
    """A mailbox cannot have this name, or cannot lose the one that it has."""

    code, status = 550, "5.3.0"

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class SpecialUseTaken(InboxError):
    """The special use does not exist here, or another mailbox has it (RFC 6154 §3: USEATTR)."""

    code, status = 550, "5.3.0"

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said
