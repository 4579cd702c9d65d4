"""Errors in SMTP commands, with reply codes (RFC 5321 §4.2) and enhanced status codes (RFC 3463)."""

from __future__ import annotations

from inbox.base.errors import ProtocolError


class CommandError(ProtocolError):
    """A command with invalid syntax, or in the wrong order.

    Args:
        code: reply code.
        status: enhanced status code (RFC 3463).
        text: the text of the reply.
    """

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(text)
        self.code, self.status, self.text = code, status, text
