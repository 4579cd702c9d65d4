"""Outcomes of commands: tagged OK with a code, NO, or the end of the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from inbox.base.errors import AlreadyExists, InboxError, LimitReached, NotFound, StorageFull, StoreUnavailable
from inbox.flow.mailboxes import NotPermitted, SpecialUseTaken


@dataclass(frozen=True, slots=True)
class Done:
    """``tag OK [code] text``; ``then`` is called once this response is queued."""

    text: str = "Done"
    code: str = ""
    then: Callable[[], Awaitable[None]] | None = None


class No(Exception):
    """``tag NO [code] text`` (RFC 3501 §7.1.2; codes of RFC 5530)."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code

    @classmethod
    def of(cls, error: InboxError) -> No:
        """The reply to an error of the store or of the flow."""
        match error:
            case StoreUnavailable():
                code = "UNAVAILABLE"
            case StorageFull():
                code = "OVERQUOTA"
            case NotFound():
                code = "NONEXISTENT"
            case LimitReached():
                code = "LIMIT"  # RFC 9051 §7.1
            case AlreadyExists():
                code = "ALREADYEXISTS"
            case NotPermitted():
                code = "NOPERM"  # RFC 4314 §4
            case SpecialUseTaken():
                code = "USEATTR"  # RFC 6154 §3
            case _:
                code = "UNAVAILABLE" if error.temporary else "TOOBIG" if error.status == "5.3.4" else "CANNOT"
        return cls(error.text, code)


class EndConnection(Exception):
    """The connection ends: the server sends ``* BYE [code] text`` and closes it."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code
