"""The REST API: one route for each operation."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inbox.flow.sending.batch import read_batch, send_batch
from inbox.flow.sending.errors import FieldError, Kind, RequestRefused
from inbox.flow.sending.request import read_request
from inbox.flow.sending.suppressions import MOST_OF_PAGE, PAGE
from inbox.flow.submission.idempotency import is_key
from inbox.server.http.api.openapi import document
from inbox.server.http.api.problems import answer
from inbox.server.http.api.services import (
    BATCH_OCTETS,
    ApiServices,
    Handler,
    answering,
    caller_of,
    object_of,
    session_of,
    with_key,
)
from inbox.server.http.api.views import message_view, result_view, sent_view, suppression_view

_MODES: Final = ("permissive", "strict")
_BATCH_FIELDS: Final = frozenset({"messages", "mode", "idempotencyKey"})


def rest_routes(services: ApiServices) -> list[BaseRoute]:
    """The routes below ``/v1``."""
    rest = Rest(services)

    def route(path: str, handler: Handler, *methods: str) -> Route:
        return Route(path, answering(handler, services), methods=list(methods))

    return [
        Route("/v1/openapi.json", description, methods=["GET"]),
        route("/v1/send", rest.send, "POST"),
        route("/v1/send/batch", rest.send_batch, "POST"),
        route("/v1/messages/{id}", rest.message, "GET"),
        route("/v1/suppressions", rest.suppressions, "GET", "POST"),
        route("/v1/suppressions/{target:path}", rest.allow, "DELETE"),
    ]


async def description(_: Request) -> Response:
    """The description of the API, which everybody may read."""
    return answer(document())


class Rest:
    """The handlers. Each finds the caller before it reads a body: a stranger cannot make the server hold 36 MB."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def send(self, request: Request) -> Response:
        """Sends one message: 202 when it is durable."""
        services = self._services
        caller = await caller_of(services, request)
        caller.check("send")
        values = with_key(request, await object_of(request))
        sent = await services.sending.send(caller, read_request(values), session_of(services, request))
        return answer(sent_view(sent), 202, {"Idempotent-Replayed": "true"} if sent.repeated else None)

    async def send_batch(self, request: Request) -> Response:
        """Sends up to 500 messages: 200 with an answer for each."""
        services = self._services
        caller = await caller_of(services, request)
        caller.check("send")
        values = with_key(request, await object_of(request, BATCH_OCTETS))
        unknown = next((name for name in values if name not in _BATCH_FIELDS), None)
        if unknown is not None:
            raise _wrong(str(unknown)[:80], "unknown_field", "this field does not exist")
        if values.get("mode", "permissive") not in _MODES:
            raise _wrong("mode", "invalid", f"must be {' or '.join(_MODES)}")
        key = read_key(values.get("idempotencyKey"))
        requests = read_batch(values.get("messages"), strict=values.get("mode") == "strict", key=key)
        results = await send_batch(
            services.sending, caller, requests, lambda: session_of(services, request, own_id=True)
        )
        return answer({"results": [result_view(each) for each in results]})

    async def message(self, request: Request) -> Response:
        """Shows what became of a message."""
        caller = await caller_of(self._services, request)
        return answer(message_view(await self._services.messages.get(caller, request.path_params["id"])))

    async def suppressions(self, request: Request) -> Response:
        """Shows a page of the suppression list, or adds an entry (POST)."""
        if request.method == "POST":
            return await self._suppress(request)
        caller = await caller_of(self._services, request)
        limit = request.query_params.get("limit", str(PAGE))
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MOST_OF_PAGE):
            raise _wrong("limit", "invalid", f"must be a number from 1 to {MOST_OF_PAGE}")
        page = await self._services.suppressions.page(caller, request.query_params.get("after"), int(limit))
        return answer({"suppressions": [suppression_view(each) for each in page.entries], "after": page.after})

    async def _suppress(self, request: Request) -> Response:
        caller = await caller_of(self._services, request)
        caller.check("suppressions")
        values = await object_of(request, 64 * 1024)
        return answer(suppression_view(await self._services.suppressions.add(caller, values)), 201)

    async def allow(self, request: Request) -> Response:
        """Removes an entry of the suppression list."""
        caller = await caller_of(self._services, request)
        await self._services.suppressions.remove(caller, request.path_params["target"])
        return Response(status_code=204)


def read_key(value: Any) -> str | None:
    """The idempotency key of a batch. Raises RequestRefused."""
    if value is None or (isinstance(value, str) and is_key(value)):
        return value
    raise _wrong("idempotencyKey", "invalid", "must have 1 to 255 visible ASCII characters and no spaces")


def _wrong(field: str, code: str, message: str) -> RequestRefused:
    text = f"{field}: {message}"
    return RequestRefused(Kind.INVALID, "invalid_request", text, [FieldError(field, code, text)])
