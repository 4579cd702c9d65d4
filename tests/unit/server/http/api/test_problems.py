"""Problem documents (RFC 9457)."""

from __future__ import annotations

import json

import pytest

from inbox.flow.sending.errors import FieldError, Kind, RequestRefused
from inbox.server.http.api.problems import answer, problem, status_of

STATUS = {
    Kind.MALFORMED: 400, Kind.UNAUTHENTICATED: 401, Kind.FORBIDDEN: 403, Kind.NOT_FOUND: 404, Kind.NOT_ACCEPTABLE: 406,
    Kind.CONFLICT: 409, Kind.TOO_LARGE: 413, Kind.MEDIA_TYPE: 415, Kind.INVALID: 422, Kind.LIMITED: 429,
    Kind.UNAVAILABLE: 503,
}  # fmt: skip


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_status(kind: Kind) -> None:
    assert status_of(RequestRefused(kind, "x", "text")) == STATUS[kind]


def test_a_problem_has_all_that_is_known() -> None:
    wrong = FieldError("to[0]", "recipient_refused", "to[0]: No such user here")
    error = RequestRefused(Kind.LIMITED, "limit_reached", "Too much", [wrong], "06h33wqyqnamv606e4np", 60)
    response = problem(error, "request-1")
    assert (response.status_code, response.media_type) == (429, "application/problem+json")
    assert (response.headers["retry-after"], response.headers["cache-control"]) == ("60", "no-store")
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "Too much",
        "code": "limit_reached",
        "errors": [{"field": "to[0]", "code": "recipient_refused", "message": "to[0]: No such user here"}],
        "explainId": "06h33wqyqnamv606e4np",
        "requestId": "request-1",
    }


def test_what_is_unknown_is_absent() -> None:
    response = problem(RequestRefused(Kind.FORBIDDEN, "no", "No"), "")
    assert set(json.loads(bytes(response.body))) == {"type", "title", "status", "detail", "code"}
    assert "retry-after" not in response.headers


def test_an_answer_is_not_cached() -> None:
    assert answer({"a": 1}).headers["cache-control"] == "no-store"
