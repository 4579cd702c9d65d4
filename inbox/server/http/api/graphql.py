"""GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from graphql import GraphQLError, OperationType, build_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.server.http.api.documents import DocumentRefused, Documents, operation_of
from inbox.server.http.api.problems import details_of
from inbox.server.http.api.schema import SCHEMA, Context
from inbox.server.http.api.services import ApiServices, answering, caller_of, object_of, request_id

_RESPONSE: Final = "application/graphql-response+json"
_JSON: Final = "application/json"
#: Octets of a query string, which has a document and variables.
_QUERY_STRING_OCTETS: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Parameters:
    """The parameters of a request (section "Request Parameters" of the draft)."""

    query: str
    variables: dict[str, Any] | None
    operation: str | None


@dataclass(frozen=True, slots=True)
class _Media:
    """The media type of a response. ``always_200``: the client names ``application/json`` only, for which the draft
    demands 200 for every well-formed response."""

    type: str
    always_200: bool = False


@cache
def _documents() -> Documents:
    return Documents(build_schema(SCHEMA.as_str()))


def graphql_routes(services: ApiServices) -> list[BaseRoute]:
    """The route ``/graphql``."""
    return [Route("/graphql", answering(GraphQL(services).answer, services), methods=["GET", "POST"])]


class GraphQL:
    """The handler."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._documents = _documents()

    async def answer(self, request: Request) -> Response:
        """Executes one operation. Authentication and the form of the request come first."""
        media = _negotiated(request)
        caller = await caller_of(self._services, request)
        parameters = await _parameters(request)
        try:
            document = self._documents.prepared(parameters.query)
        except DocumentRefused as refused:
            errors = [_formatted(error) for error in refused.errors]
            return _response({"errors": errors}, media, 400 if refused.is_syntax else 422)
        operation = operation_of(document, parameters.operation)
        if operation is None:
            text = "operationName must name exactly one operation of the document"
            return _response({"errors": [{"message": text}]}, media, 400)
        if request.method == "GET" and operation is not OperationType.QUERY:
            text = "GET executes queries only, use POST"
            return _response({"errors": [{"message": text}]}, media, 405, Allow="POST")
        result = await SCHEMA.execute(
            None,
            variable_values=parameters.variables,
            context_value=Context(self._services, caller, request, document),
            operation_name=parameters.operation,
        )
        found: dict[str, Any] = {}
        if result.errors:
            found["errors"] = [self._shown(error, request) for error in result.errors]
            if result.data is None and all(error.path is None for error in result.errors):
                # The values of variables are wrong: nothing was executed.
                return _response(found, media, 400)
        found["data"] = result.data
        return _response(found, media, 200)

    def _shown(self, error: GraphQLError, request: Request) -> dict[str, Any]:
        """The error for the client: texts of unexpected errors stay in the log."""
        cause = error.original_error
        if isinstance(cause, RequestRefused):
            extensions = details_of(cause)
            if cause.retry_after is not None:
                extensions["retryAfter"] = cause.retry_after
            return {**_formatted(error), "message": cause.text, "extensions": extensions}
        if cause is None or isinstance(cause, GraphQLError):
            return _formatted(error)
        self._services.log.error("graphql_failed", id=request_id(request), error=repr(cause))
        text = "The server has a local problem, try again later"
        return {**_formatted(error), "message": text, "extensions": {"code": "temporarily_unavailable"}}


def _formatted(error: GraphQLError) -> dict[str, Any]:
    return dict(error.formatted)


def _negotiated(request: Request) -> _Media:
    """The media type of the response. Raises RequestRefused."""
    accept = request.headers.get("accept", "*/*").lower()
    given = {each.partition(";")[0].strip() for each in accept.split(",")}
    if _RESPONSE in given:
        return _Media(_RESPONSE)
    if _JSON in given:
        return _Media(_JSON, always_200=True)
    if given & {"*/*", "application/*", ""}:
        return _Media(_JSON)
    raise RequestRefused(Kind.NOT_ACCEPTABLE, "not_acceptable", f"The response is {_RESPONSE} or {_JSON}")


def _response(value: dict[str, Any], media: _Media, status: int, **fields: str) -> Response:
    """A response of GraphQL."""
    if media.always_200 and status in (400, 422):
        status = 200
    headers = {"Cache-Control": "no-store", **fields}
    return Response(msgspec.json.encode(value), status, headers, media_type=f"{media.type}; charset=utf-8")


async def _parameters(request: Request) -> _Parameters:
    """Raises RequestRefused: the request is not well-formed."""
    if request.method == "GET":
        if len(request.url.query) > _QUERY_STRING_OCTETS:
            raise _malformed(f"The query string exceeds the limit of {_QUERY_STRING_OCTETS} octets")
        values: dict[str, Any] = dict(request.query_params)
        for name in ("variables", "extensions"):
            if name in values:
                values[name] = _decoded(name, values[name])
    else:
        values = await object_of(request)
    query, variables, operation = (values.get(name) for name in ("query", "variables", "operationName"))
    if not isinstance(query, str) or not query:
        raise _malformed("query must be a string with a document")
    if variables is not None and not isinstance(variables, dict):
        raise _malformed("variables must be an object")
    if operation is not None and not isinstance(operation, str):
        raise _malformed("operationName must be a string")
    if not isinstance(values.get("extensions", {}), dict | None):
        raise _malformed("extensions must be an object")
    return _Parameters(query, variables, operation)


def _decoded(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _malformed(f"{name} must be JSON") from error


def _malformed(text: str) -> RequestRefused:
    return RequestRefused(Kind.MALFORMED, "malformed_request", text)
