"""Errors of the API as problem documents (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

from inbox.flow.sending.errors import Kind, RequestRefused

#: The status code of each kind of error.
STATUS_OF: Final = {
    Kind.MALFORMED: HTTPStatus.BAD_REQUEST,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.NOT_ACCEPTABLE: HTTPStatus.NOT_ACCEPTABLE,
    Kind.MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Kind.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: RequestRefused) -> HTTPStatus:
    """The status code for an error."""
    return STATUS_OF[error.kind]


def details_of(error: RequestRefused) -> dict[str, Any]:
    """The members of an error beside its text: code, fields, explain id."""
    found: dict[str, Any] = {"code": error.code_name}
    if error.fields:
        found["errors"] = [{"field": each.field, "code": each.code, "message": each.message} for each in error.fields]
    if error.explain_id:
        found["explainId"] = error.explain_id
    return found


def headers_of(error: RequestRefused) -> dict[str, str]:
    """The header fields that go with an error."""
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.kind is Kind.UNAUTHENTICATED:
        # RFC 9110 §11.6.1: 401 names the ways to authenticate.
        headers["WWW-Authenticate"] = 'Bearer realm="inbox", Basic realm="inbox", charset="UTF-8"'
    return headers


def problem(error: RequestRefused, request_id: str) -> Response:
    """The response for an error."""
    status = status_of(error)
    document = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": error.text}
    document |= details_of(error)
    if request_id:
        document["requestId"] = request_id
    return Response(msgspec.json.encode(document), status, headers_of(error), media_type="application/problem+json")


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response with JSON."""
    fields = {"Cache-Control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(value), status, fields, media_type="application/json")
