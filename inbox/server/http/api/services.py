"""The services of the API's routes, and what all routes have in common: the caller, the session, the body."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.base.ids import Ids
from inbox.base.peers import unmapped
from inbox.flow.sending.callers import Caller, Callers
from inbox.flow.sending.errors import FieldError, Kind, RequestRefused
from inbox.flow.sending.refusals import unavailable
from inbox.flow.sending.sending import Sending
from inbox.flow.sending.status import SentMessages
from inbox.flow.sending.suppressions import TenantSuppressions
from inbox.plugin.api.context import Door, Session
from inbox.plugin.api.services import Log
from inbox.server.http.api.problems import problem

#: Octets of a request with one message: 25 MB in base64, and the rest.
BODY_OCTETS: Final = 36 * 1024 * 1024
#: Octets of a request with several messages: 50 MB in base64, and the rest.
BATCH_OCTETS: Final = 70 * 1024 * 1024
#: The longest credentials, in characters.
_CREDENTIALS: Final = 2000
_BASIC: Final = "basic"
_BEARER: Final = "bearer"


@dataclass(frozen=True, slots=True)
class ApiServices:
    """The parts of the program behind the routes."""

    callers: Callers
    sending: Sending
    messages: SentMessages
    suppressions: TenantSuppressions
    clock: Clock
    ids: Ids
    log: Log


Handler = Callable[[Request], Awaitable[Response]]


def answering(handler: Handler, services: ApiServices) -> Handler:
    """The handler, whose errors become problem documents (RFC 9457)."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestRefused as error:
            return problem(error, request_id(request))
        except StoreError as error:
            return _unavailable(services, request, error)

    return answer


def _unavailable(services: ApiServices, request: Request, error: StoreError) -> Response:
    services.log.error("api_request_failed", id=request_id(request), error=str(error))
    return problem(unavailable(), request_id(request))


def request_id(request: Request) -> str:
    """The id that the server gave the request; empty if it gave none."""
    return str(getattr(request.state, "request_id", ""))


def session_of(services: ApiServices, request: Request, *, own_id: bool = False) -> Session:
    """A session for one message; hooks and the decision record see the client's address in it.

    The first message of a request gets the request's id, so that ``inbox explain`` knows that one.

    Args:
        own_id: it gets an id of its own in any case, because the request has several messages.
    """
    is_later, request.state.has_message = getattr(request.state, "has_message", False), True
    return _session(services, request, services.ids.new() if own_id or is_later else request_id(request))


def _session(services: ApiServices, request: Request, name: str) -> Session:
    host = request.client.host if request.client is not None else "127.0.0.1"
    return Session(
        name or services.ids.new(),
        Door.API,
        unmapped(ip_address(host.partition("%")[0])),
        peer_port=request.client.port if request.client is not None else 0,
        started_at=services.clock.now(),
    )


async def caller_of(services: ApiServices, request: Request) -> Caller:
    """The caller by the field Authorization (RFC 6750, RFC 7617).

    Raises:
        RequestRefused: there are no valid credentials.
        StoreUnavailable: they cannot be checked now.
    """
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    session = _session(services, request, request_id(request))
    if len(given) <= _CREDENTIALS and scheme.lower() == _BEARER:
        caller = await services.callers.by_key(session, given.strip(" "))
    elif len(given) <= _CREDENTIALS and scheme.lower() == _BASIC:
        address, password = _basic(given)
        caller = await services.callers.by_app_password(session, address, password)
    else:
        text = "Give an API key (Authorization: Bearer inboxkey_...), or an address and an app password (Basic)"
        raise RequestRefused(Kind.UNAUTHENTICATED, "not_authenticated", text)
    request.state.caller = caller
    return caller


def _basic(given: str) -> tuple[str, str]:
    try:
        address, colon, password = base64.b64decode(given.strip(" "), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = address = password = ""
    if not colon:
        text = "Authorization: Basic needs the base64 of address:password (RFC 7617)"
        raise RequestRefused(Kind.UNAUTHENTICATED, "not_authenticated", text)
    return address, password


async def json_of(request: Request, most: int = BODY_OCTETS) -> Any:
    """The body as JSON.

    Raises:
        RequestRefused: it is too large, of another media type, or not JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip(" ").lower()
    if media_type != "application/json":
        # Also: a web page of another origin cannot send this type without asking first.
        raise RequestRefused(Kind.MEDIA_TYPE, "unsupported_media_type", "Content-Type must be application/json")
    body = await _body(request, most)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"The body is not JSON in UTF-8: {str(error)[:200]}"
        raise RequestRefused(Kind.MALFORMED, "malformed_json", text) from error


async def object_of(request: Request, most: int = BODY_OCTETS) -> dict[str, Any]:
    """The body as a JSON object. Raises as :func:`json_of`."""
    values = await json_of(request, most)
    if not isinstance(values, dict):
        raise RequestRefused(Kind.MALFORMED, "malformed_json", "The body must be a JSON object")
    return values


async def _body(request: Request, most: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise too_large(most)
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large(most)
        pieces.append(piece)
    return b"".join(pieces)


def too_large(most: int) -> RequestRefused:
    """The error for a body that is too large."""
    return RequestRefused(Kind.TOO_LARGE, "request_too_large", f"The request exceeds the limit of {most} octets")


def with_key(request: Request, values: dict[str, Any]) -> dict[str, Any]:
    """The values with the key of the field Idempotency-Key, if the request has one. Raises RequestRefused."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return values
    # draft-ietf-httpapi-idempotency-key-header: the value is a string in quotes; many programs leave them out.
    key = given[0]
    if len(key) > 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(given) > 1 or values.get("idempotencyKey", key) != key:
        text = "idempotencyKey: the request has two different idempotency keys"
        wrong = FieldError("idempotencyKey", "invalid", text)
        raise RequestRefused(Kind.INVALID, "invalid_request", text, [wrong])
    return {**values, "idempotencyKey": key}
