"""What is wrong with a command, in the words of RFC 5321 §4.2 and RFC 3463."""

from __future__ import annotations

from inbox.base.errors import ProtocolError


class CommandError(ProtocolError):
    """A command that is refused for its form.

    Args:
        code: reply code.
        status: enhanced status code (RFC 3463).
        said: what the peer is told.
    """

    def __init__(self, code: int, status: str, said: str) -> None:
        super().__init__(said)
        self.code, self.status, self.said = code, status, said
