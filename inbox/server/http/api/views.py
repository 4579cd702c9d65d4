"""Objects of the API as clients see them in REST."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from inbox.flow.sending.batch import Result
from inbox.flow.sending.errors import RequestRefused
from inbox.flow.sending.sending import Sent
from inbox.flow.sending.status import MessageStatus, RecipientStatus
from inbox.server.http.api.problems import details_of, status_of
from inbox.store.ports import Suppression


def moment(seconds: float | None) -> str | None:
    """A time as RFC 3339 writes it; None for a time that did not happen."""
    return None if not seconds else datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sent_view(sent: Sent) -> dict[str, Any]:
    """A message that was accepted."""
    return {"id": sent.id, "recipients": list(sent.recipients), "explainId": sent.id}


def result_view(result: Result) -> dict[str, Any]:
    """The answer for one message of a batch."""
    if isinstance(result, RequestRefused):
        return {"status": status_of(result).value, "detail": result.text, **details_of(result)}
    return {"status": 202, **sent_view(result)}


def message_view(status: MessageStatus) -> dict[str, Any]:
    """The state of a message."""
    return {
        "id": status.id,
        "acceptedAt": moment(status.accepted_at),
        "from": status.sender,
        "recipients": [recipient_view(each) for each in status.recipients],
        "explainId": status.id,
    }


def recipient_view(state: RecipientStatus) -> dict[str, Any]:
    """The state of a recipient."""
    return {
        "address": state.address,
        "status": state.status,
        "at": moment(state.at),
        "attempts": state.attempts,
        "reply": f"{state.code} {state.enhanced} {state.reply}".replace("  ", " ")
        if state.code
        else state.reply or None,
    }


def suppression_view(entry: Suppression) -> dict[str, Any]:
    """An entry of the suppression list."""
    return {
        "target": entry.target,
        "scope": entry.scope,
        "active": entry.is_active,
        "reason": entry.reason,
        "source": entry.source,
        "createdAt": moment(entry.created_at),
        "expiresAt": moment(entry.expires_at),
    }
