"""A message: bytes first, everything else looked up in them when it is asked for."""

from __future__ import annotations

from inbox.mail.content import Content


class Message:
    """One message as it came (RFC 5322), with what can be read from it. Nothing is parsed before it is asked for."""

    __slots__ = ("content",)

    def __init__(self, content: Content) -> None:
        self.content = content

    @property
    def size(self) -> int:
        """Octets."""
        return self.content.size
