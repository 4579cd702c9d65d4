"""The REST API: one route for each operation."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inbox.flow.sending.request import read_request
from inbox.flow.sending.sending import Sent
from inbox.server.http.api.openapi import document
from inbox.server.http.api.problems import answer
from inbox.server.http.api.services import ApiServices, Handler, answering, caller_of, object_of, session_of, with_key


def rest_routes(services: ApiServices) -> list[BaseRoute]:
    """The routes below ``/v1``."""
    rest = Rest(services)

    def route(path: str, handler: Handler, *methods: str) -> Route:
        return Route(path, answering(handler, services), methods=list(methods))

    return [
        Route("/v1/openapi.json", description, methods=["GET"]),
        route("/v1/send", rest.send, "POST"),
    ]


async def description(_: Request) -> Response:
    """The description of the API, which everybody may read."""
    return answer(document())


class Rest:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def send(self, request: Request) -> Response:
        """Sends one message: 202 when it is durable."""
        services = self._services
        caller = await caller_of(services, request)
        # Before the body is read: a stranger cannot make the server hold 36 MB.
        caller.check("send")
        values = with_key(request, await object_of(request))
        sent = await services.sending.send(caller, read_request(values), session_of(services, request))
        return answer(shown(sent), 202, {"Idempotent-Replayed": "true"} if sent.repeated else None)


def shown(sent: Sent) -> dict[str, Any]:
    """A message that was accepted, as clients see it."""
    return {"id": sent.id, "recipients": list(sent.recipients), "explainId": sent.id}
