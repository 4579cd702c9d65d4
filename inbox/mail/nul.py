"""NUL characters in messages: RFC 5322 §4.1 forbids them, and an IMAP literal cannot contain them (RFC 9051 §4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import CHUNK, Buffer, Content, View

#: The replacement for NUL in a stored message: a single octet, so that no size or offset changes (as in Dovecot).
REPLACEMENT: Final = b"\x80"


def has_nul(content: Content) -> bool:
    """Whether the message contains NUL. Reads the whole message."""
    return any(b"\0" in chunk for chunk in content.chunks())


class NulFree:
    """A content with :data:`REPLACEMENT` in place of each NUL (:class:`inbox.mail.content.Content`)."""

    __slots__ = ("_content",)

    def __init__(self, content: Content) -> None:
        self._content = content

    @property
    def size(self) -> int:
        return self._content.size

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        for chunk in self._content.chunks(size):
            yield chunk.replace(b"\0", REPLACEMENT)

    def read(self, offset: int, length: int) -> bytes:
        return self._content.read(offset, length).replace(b"\0", REPLACEMENT)

    def buffer(self) -> Buffer:
        return self.read(0, self.size) if self.size <= SPOOL_OCTETS else View(self)
