"""Routes for monitoring: liveness, readiness, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from inbox.base.errors import InboxError, StoreError
from inbox.base.metrics import CONTENT_TYPE
from inbox.base.peers import peer_address
from inbox.server.http.application import problem
from inbox.server.http.config import Network, listed


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The views that these routes show.

    Attributes:
        health: returns warnings, one line each; raises StoreError if no message can be accepted now.
        metrics: returns the metrics of all processes of the server, as Prometheus reads them; raises InboxError.
    """

    health: Callable[[], Awaitable[Sequence[str]]]
    metrics: Callable[[], Awaitable[bytes]]


def monitoring_routes(monitoring: Monitoring, networks: tuple[Network, ...]) -> list[BaseRoute]:
    """``/healthz``, ``/readyz`` and ``/metrics``.

    Args:
        networks: of the clients that may read metrics, and the reason why the server is not ready.
    """

    def is_listed(request: Request) -> bool:
        return request.client is not None and listed(peer_address(request.client.host), networks)

    async def healthz(_: Request) -> Response:
        """The process answers; its dependencies are not asked, so that nobody restarts it when they are away."""
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        try:
            warnings = list(await monitoring.health())
        except StoreError as error:
            reason = {"reason": str(error)} if is_listed(request) else {}
            return JSONResponse({"status": "failing", **reason}, 503)
        return JSONResponse({"status": "ok", **({"warnings": warnings} if warnings and is_listed(request) else {})})

    async def metrics(request: Request) -> Response:
        if not is_listed(request):
            text = "Clients of this network may not read metrics: see server.http.metrics_networks"
            return problem(403, text, request.state.request_id)
        try:
            text_of_all = await monitoring.metrics()
        except InboxError as error:
            return problem(503, f"The metrics cannot be read now: {error}", request.state.request_id)
        return Response(text_of_all, headers={"content-type": CONTENT_TYPE})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
