"""The error of a request: its kind, a code for programs, a text for people, and the fields that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from inbox.base.errors import InboxError


class Kind(StrEnum):
    """Classes of errors; a server maps each to a status code."""

    MALFORMED = "malformed"
    MEDIA_TYPE = "media_type"
    NOT_ACCEPTABLE = "not_acceptable"
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One mistake in a request: ``field`` is its path (``to[2]``, ``attachments[0].content``)."""

    field: str
    code: str
    message: str


class RequestRefused(InboxError):
    """A request that is not carried out; nothing was sent.

    Args:
        code: for programs, in snake_case.
        fields: the mistakes, if fields of the request are wrong.
        explain_id: the id for ``inbox explain`` if a hook or the server refused the message; otherwise empty.
        retry_after: seconds after which the request may succeed; None: it never will.
    """

    def __init__(
        self,
        kind: Kind,
        code: str,
        text: str,
        fields: Sequence[FieldError] = (),
        explain_id: str = "",
        retry_after: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.kind = kind
        self.code_name = code
        self.text = text
        self.fields = tuple(fields)
        self.explain_id = explain_id
        self.retry_after = retry_after
