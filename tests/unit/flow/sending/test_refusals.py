"""Replies of submission as errors of requests."""

from __future__ import annotations

import pytest

from inbox.flow.replies import HEADER_TOO_LONG, KEY_IN_USE, TROUBLE
from inbox.flow.sending.errors import Kind
from inbox.flow.sending.refusals import refused_by, unavailable
from inbox.mail.reply import Reply


@pytest.mark.parametrize(
    ("reply", "field", "kind", "code", "after"),
    [
        (TROUBLE, "", Kind.UNAVAILABLE, "temporarily_unavailable", 10),
        (KEY_IN_USE, "", Kind.CONFLICT, "idempotency_key_in_progress", 1),
        (HEADER_TOO_LONG, "", Kind.TOO_LARGE, "message_too_large", None),
        (Reply(450, "4.7.1", "quota"), "", Kind.LIMITED, "limit_reached", 60),
        (Reply(452, "4.3.1", "full"), "", Kind.LIMITED, "limit_reached", 60),
        (Reply(452, "4.5.3", "many"), "to[3]", Kind.INVALID, "too_many_recipients", None),
        (Reply(553, "5.7.1", "no"), "from", Kind.FORBIDDEN, "sender_not_allowed", None),
        (Reply(550, "5.1.1", "no"), "to[0]", Kind.INVALID, "recipient_refused", None),
        (Reply(550, "5.7.1", "no"), "", Kind.INVALID, "refused", None),
        (Reply(550, "5.3.3", "no"), "to[0]", Kind.INVALID, "not_scheduled", None),
    ],
)
def test_a_reply_has_a_kind_and_a_code(reply: Reply, field: str, kind: Kind, code: str, after: int | None) -> None:
    error = refused_by(reply, field)
    assert (error.kind, error.code_name, error.retry_after) == (kind, code, after)
    assert [each.field for each in error.fields] == ([field] if field else [])


def test_the_id_in_the_text_becomes_a_member() -> None:
    error = refused_by(Reply(550, "5.7.1", "Refused (id 06h33wqyqnamv606e4np)"), explain_id="other")
    assert (error.text, error.explain_id) == ("Refused", "06h33wqyqnamv606e4np")
    assert refused_by(Reply(550, "5.7.1", "Refused"), explain_id="other").explain_id == "other"


def test_trouble_is_temporary() -> None:
    assert (unavailable().kind, unavailable().retry_after) == (Kind.UNAVAILABLE, 10)
