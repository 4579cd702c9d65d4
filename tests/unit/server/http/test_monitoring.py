"""Liveness, readiness and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import httpx2
import pytest
from starlette.applications import Starlette

from inbox.base.errors import InboxError, StoreUnavailable
from inbox.server.http.monitoring import Monitoring, monitoring_routes

LISTED, OTHER = "10.0.0.5", "192.0.2.7"


class Server:
    """A server whose health and metrics a test chooses."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.error: InboxError | None = None

    async def health(self) -> Sequence[str]:
        if self.error is not None:
            raise self.error
        return self.warnings

    async def metrics(self) -> bytes:
        if self.error is not None:
            raise self.error
        return b"inbox_up 1\n"

    async def get(self, path: str, peer: str = LISTED) -> httpx2.Response:
        routes = monitoring_routes(Monitoring(self.health, self.metrics), (ip_network("10.0.0.0/24"),))

        async def app(scope, receive, send):  # type: ignore[no-untyped-def]
            await Starlette(routes=routes)({**scope, "state": {"request_id": "r1"}}, receive, send)

        transport = httpx2.ASGITransport(app, client=(peer, 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://mx.test") as http:
            return await http.get(path)


@pytest.mark.parametrize("peer", [LISTED, OTHER])
async def test_a_server_that_is_well(peer: str) -> None:
    server = Server()
    assert (await server.get("/healthz", peer)).json() == {"status": "ok"}
    ready = await server.get("/readyz", peer)
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


async def test_warnings_and_reasons_are_for_listed_networks() -> None:
    server = Server()
    server.warnings = ["the log is lost"]
    assert (await server.get("/readyz")).json() == {"status": "ok", "warnings": ["the log is lost"]}
    assert (await server.get("/readyz", OTHER)).json() == {"status": "ok"}
    server.error = StoreUnavailable("the database at /srv is away")
    failing = await server.get("/readyz")
    assert (failing.status_code, failing.json()["reason"]) == (503, "the database at /srv is away")
    assert (await server.get("/readyz", OTHER)).json() == {"status": "failing"}
    assert (await server.get("/healthz")).status_code == 200, "a restart would not bring the database back"


async def test_metrics_are_for_listed_networks() -> None:
    server = Server()
    assert (await server.get("/metrics")).text == "inbox_up 1\n"
    refused = await server.get("/metrics", OTHER)
    assert refused.status_code == 403
    assert "server.http.metrics_networks" in refused.json()["detail"]
    server.error = InboxError("does not answer within 4 s")
    assert (await server.get("/metrics")).status_code == 503
