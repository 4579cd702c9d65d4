"""Errors with two texts: ``str(error)`` is for the log, ``text`` is for the peer and reveals nothing internal.

Every class has the SMTP reply code and the enhanced status code (RFC 3463) that a peer gets when the error ends its
command. IMAP and HTTP map the classes to their own responses.
"""

from __future__ import annotations


class InboxError(Exception):
    """Base class of all errors that this program raises on purpose."""

    code: int = 451
    status: str = "4.3.0"
    text: str = "Local problem, try again later"

    @property
    def temporary(self) -> bool:
        """True if the peer should try again (RFC 5321 §4.2.1: first digit 4)."""
        return self.code < 500


class ConfigError(InboxError):
    """A setting of the environment or of the command line is unknown or malformed."""


class PolicyError(InboxError):
    """A policy file is wrong. ``str(error)`` is ``file:line:column: what is wrong``, one line per mistake."""

    # RFC 3463 §3.4: X.3.5, the operator has to correct the configuration; the peer retries meanwhile, so no mail is
    # lost.
    code, status, text = 451, "4.3.5", "System incorrectly configured, try again later"


class ProtocolError(InboxError):
    """The peer broke a protocol's grammar."""

    code, status, text = 500, "5.5.2", "Syntax error"


class StoreError(InboxError):
    """The database or the blob store failed."""


class StoreUnavailable(StoreError):
    """The database or the blob store cannot be reached; whether a write in flight happened is unknown."""


class Conflict(StoreError):
    """A transaction conflicted with another one; nothing was written, and it may be retried."""


class AlreadyExists(StoreError):
    """The object to be created exists already."""

    code, status, text = 550, "5.3.0", "Already exists"


class KeyTaken(AlreadyExists):
    """Another message was accepted with the same idempotency key; nothing was written."""


class NotFound(StoreError):
    """The object does not exist, or no longer exists."""

    code, status, text = 550, "5.3.0", "Not found"


class StorageFull(StoreError):
    """No room for the message (RFC 3463 §3.4: X.3.1)."""

    code, status, text = 452, "4.3.1", "Not enough room, try again later"


class LimitReached(StoreError):
    """The owner has reached a limit, which ``text`` names."""

    code, status = 552, "5.2.2"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class TableFull(LimitReached):
    """A plugin has reached its limit of entries for a tenant, and too few of them expire; nothing was written."""


class AuthenticationFailed(InboxError):
    """Wrong credentials; the error never reveals whether the user exists."""

    code, status, text = 535, "5.7.8", "Authentication failed"
