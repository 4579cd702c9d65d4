"""Replies of submission as errors of a request."""

from __future__ import annotations

import re
from typing import Final

from inbox.flow.replies import KEY_IN_USE
from inbox.flow.sending.errors import FieldError, Kind, RequestRefused
from inbox.mail.reply import Reply

#: Seconds after which a request may be repeated: while the server has trouble, and when a quota is used up.
_SOON: Final = 10
_LATER: Final = 60
#: ``Judge.with_id`` appends it.
_ID: Final = re.compile(r" \(id ([0-9a-z]{20})\)\Z")


def unavailable() -> RequestRefused:
    """The error while the database or the blob store does not answer. Whether the message was stored is unknown: a
    request with an idempotency key may be repeated safely."""
    text = "The server has a local problem, try again later"
    return RequestRefused(Kind.UNAVAILABLE, "temporarily_unavailable", text, retry_after=_SOON)


def refused_by(reply: Reply, field: str = "", explain_id: str = "") -> RequestRefused:
    """The error for a reply that refuses a message or a recipient.

    Args:
        field: the field of the request that the reply is about; empty: the whole message.
        explain_id: the id of the decision record if the reply has none.
    """
    found = _ID.search(reply.text)
    explain_id = explain_id if found is None else found[1]
    text = reply.text if found is None else reply.text[: found.start()]
    kind, code, after = _class_of(reply, field)
    text = f"{field}: {text}" if field else text
    fields = [FieldError(field, code, text)] if field else []
    return RequestRefused(kind, code, text, fields, explain_id, after)


def _class_of(reply: Reply, field: str) -> tuple[Kind, str, int | None]:
    """Kind, code, and seconds until the request may be repeated (RFC 3463 for the enhanced codes)."""
    if reply is KEY_IN_USE:
        return Kind.CONFLICT, "idempotency_key_in_progress", 1
    if reply.code < 500:
        if (reply.code, reply.enhanced) == (452, "4.5.3"):
            return Kind.INVALID, "too_many_recipients", None
        if reply.enhanced in ("4.7.0", "4.7.1", "4.3.1", "4.2.1"):
            return Kind.LIMITED, "limit_reached", _LATER
        return Kind.UNAVAILABLE, "temporarily_unavailable", _SOON
    if reply.enhanced == "5.3.4":
        return Kind.TOO_LARGE, "message_too_large", None
    if reply.code == 553:
        return Kind.FORBIDDEN, "sender_not_allowed", None
    if reply.enhanced == "5.3.3":
        return Kind.INVALID, "not_scheduled", None
    return Kind.INVALID, "recipient_refused" if field and field != "from" else "refused", None
