"""The ASGI application: routes, and what every request has in common.

From the outside in: the client's address (behind a listed proxy), request id and access log, plain HTTP refused where
it would expose secrets, errors as problem documents (RFC 9457), CORS where it is configured, the routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from time import monotonic
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.base.peers import peer_address, site_of
from inbox.plugin.api.services import Log
from inbox.server.fairness import Share, Turns
from inbox.server.http.config import LOOPBACK, HttpConfig, Network, listed

#: Of every response; the pages that need more say so themselves.
_FIELDS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
#: For a year: who has used https once does not go back to plain HTTP.
_HSTS: Final = "max-age=31536000"
#: Paths for monitoring over plain HTTP from everywhere: these answers contain no secret.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
_PLAIN: Final = (
    "This server speaks plain HTTP with loopback and with the proxies of server.http.proxies only: set TLS_CERT_FILE "
    "and TLS_KEY_FILE, or name the proxy"
)


def application(
    routes: Sequence[BaseRoute], config: HttpConfig, clock: Clock, ids: Ids, log: Log, turns: Turns
) -> ASGIApp:
    """The application that serves these routes."""
    middleware = []
    if config.origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(config.origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["X-Request-Id", "Retry-After", "Idempotent-Replayed"],
            max_age=600,
        )
        middleware.append(cors)
    inner = Starlette(
        routes=list(routes),
        middleware=middleware,
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )
    templates = {route.endpoint: route.path for route in routes if isinstance(route, Route)}
    guarded = _Guarded(inner, config.proxies)
    return _Client(_Requests(guarded, templates, clock, ids, log, turns), config.proxies)


def problem(status: int, detail: str, request_id: str = "", headers: dict[str, str] | None = None) -> Response:
    """A problem document (RFC 9457) for an error that no route explains."""
    document: dict[str, Any] = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail,
    }  # fmt: skip
    if request_id:
        document["requestId"] = request_id
    return Response(msgspec.json.encode(document), status, headers, media_type="application/problem+json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {
        404: f"There is nothing at {request.url.path}",
        405: f"{request.url.path} does not support {request.method}",
    }.get(error.status_code, error.detail)
    return problem(error.status_code, detail, request.state.request_id, dict(error.headers or {}))


async def _server_error(request: Request, _: Exception) -> Response:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server has failed", request.state.request_id)


class _Client:
    """Finds the client behind listed proxies (X-Forwarded-For, X-Forwarded-Proto); nobody else may name one."""

    def __init__(self, app: ASGIApp, proxies: tuple[Network, ...]) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct = scope["state"]["direct"] = peer_address(scope["client"][0])
        if listed(direct, self._proxies):
            headers = Headers(scope=scope)
            try:
                self._rename(scope, headers.getlist("x-forwarded-for"))
            except ValueError:
                await problem(HTTPStatus.BAD_REQUEST, "X-Forwarded-For: not an IP address")(scope, receive, send)
                return
            scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip().lower()
            if scheme in {"http", "https"}:
                scope["scheme"] = scheme
        await self._app(scope, receive, send)

    def _rename(self, scope: Scope, fields: list[str]) -> None:
        # Each proxy appends the address that it sees. What comes before the last address of a client, that client
        # may have made up.
        for host in reversed([host.strip() for host in ",".join(fields).split(",") if host.strip()]):
            address = _address(host)
            scope["client"] = (str(address), 0)
            if not listed(address, self._proxies):
                return


def _address(host: str) -> IPv4Address | IPv6Address:
    """``192.0.2.1``, ``192.0.2.1:4711``, ``2001:db8::1`` or ``[2001:db8::1]:4711``. Raises ValueError."""
    if host.startswith("["):
        return peer_address(host[1:].partition("]")[0])
    return peer_address(host.partition(":")[0] if host.count(":") == 1 else host)


class _Guarded:
    """Refuses plain HTTP from anywhere but loopback and the listed proxies: it would expose API keys."""

    def __init__(self, app: ASGIApp, proxies: tuple[Network, ...]) -> None:
        self._app = app
        self._networks = (*LOOPBACK, *proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state, app = scope["state"], self._app
        is_plain = scope["scheme"] == "http" and scope["path"] not in OPEN_PATHS
        if is_plain and not listed(state["direct"], self._networks):
            app = problem(HTTPStatus.FORBIDDEN, _PLAIN, state["request_id"])
        await app(scope, receive, send)


class _Requests:
    """Gives each request an id and a turn, and logs it; an error that nothing handled becomes 500."""

    def __init__(self, app: ASGIApp, templates: dict[Any, str], clock: Clock, ids: Ids, log: Log, turns: Turns) -> None:
        self._app = app
        self._templates = templates
        self._clock = clock
        self._ids = ids
        self._log = log
        self._turns = turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        site = site_of(peer_address(scope["client"][0]))
        await Share(self._turns, site).run(self._served(scope, receive, send))

    async def _served(self, scope: Scope, receive: Receive, send: Send) -> None:
        state, began = scope["state"], monotonic()
        request_id = state["request_id"] = self._ids.new()
        status = octets = 0

        async def sending(message: Message) -> None:
            nonlocal status, octets
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(scope, message, request_id)
            elif message["type"] == "http.response.body":
                octets += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - the client has its answer (_server_error); the operator gets the error
            self._log.error("http_request_failed", id=request_id, exc_info=error)
        finally:
            self._write(scope, status, octets, monotonic() - began)

    def _complete(self, scope: Scope, message: Message, request_id: str) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in _FIELDS.items():
            headers.setdefault(name, value)
        headers["date"] = _date(int(self._clock.now()))
        headers["x-request-id"] = request_id
        if scope["scheme"] == "https":
            headers["strict-transport-security"] = _HSTS

    def _write(self, scope: Scope, status: int, octets: int, seconds: float) -> None:
        state = scope["state"]
        caller = state.get("caller")
        # Monitoring asks every few seconds.
        write = self._log.debug if scope["path"] in OPEN_PATHS and status == HTTPStatus.OK else self._log.info
        write(
            "http_request", id=state["request_id"], method=scope["method"],
            route=self._templates.get(scope.get("endpoint"), ""), status=status, octets=octets,
            seconds=round(seconds, 4), peer=scope["client"][0],
            **({} if caller is None else {"tenant": caller.tenant_name, "caller": caller.name}),
        )  # fmt: skip


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
