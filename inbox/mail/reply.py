"""An SMTP reply as a value (RFC 5321 §4.2, RFC 2034)."""

from __future__ import annotations

from dataclasses import dataclass

from inbox.base.errors import InboxError


@dataclass(frozen=True, slots=True)
class Reply:
    """Code, enhanced status code and text; without ``enhanced`` (banner, EHLO, 354) only the code is sent.

    ``text`` may have several lines. Its control characters never reach a peer: rendering replaces them.
    """

    code: int
    enhanced: str
    text: str

    @property
    def positive(self) -> bool:
        """2xx or 3xx."""
        return self.code < 400

    @classmethod
    def of(cls, error: InboxError) -> Reply:
        """The reply that a peer gets for an error."""
        return cls(error.code, error.status, error.text)
