"""Common parts of all requests: the client's address, plain HTTP, security fields, CORS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inbox.base.ids import RandomIds
from inbox.flow.sending.callers import Caller
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.server.fairness import Turns
from inbox.server.http.application import application
from inbox.server.http.config import HttpConfig

PROXY, CLIENT = "10.0.0.1", "192.0.2.7"
PROXIES = (ip_network("10.0.0.0/24"),)


async def _seen(request: Request) -> Response:
    request.state.caller = Caller("t1", "acme", "API key k1")
    assert request.client is not None
    return JSONResponse({"client": request.client.host, "scheme": request.url.scheme})


async def _well(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


@asynccontextmanager
async def client(
    peer: str, log: MemoryLog | None = None, scheme: str = "http", **settings: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    clock = FakeClock()
    routes = [Route("/seen/{name}", _seen), Route("/healthz", _well)]
    app = application(routes, HttpConfig(**settings), clock, RandomIds(clock.now), log or MemoryLog(), Turns())

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {}}, receive, send)

    transport = httpx2.ASGITransport(with_state, client=(peer, 50_000))
    async with httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://mx.test") as made:
        yield made


@pytest.mark.parametrize(
    ("peer", "scheme", "status"),
    [("127.0.0.1", "http", 200), ("::1", "http", 200), (CLIENT, "http", 403), (CLIENT, "https", 200)],
)
async def test_plain_http_stays_on_the_machine(peer: str, scheme: str, status: int) -> None:
    async with client(peer, scheme=scheme) as http:
        answer = await http.get("/seen/x")
        assert answer.status_code == status
        if status == 403:
            assert "TLS_CERT_FILE" in answer.json()["detail"]
        assert (await http.get("/healthz")).status_code == 200, "monitoring sends no secret"


async def test_a_listed_proxy_names_the_client() -> None:
    named = {"X-Forwarded-For": f"203.0.113.9, {CLIENT}", "X-Forwarded-Proto": "https"}
    async with client(PROXY, proxies=PROXIES) as http:
        answer = await http.get("/seen/x", headers=named)
        assert answer.json() == {"client": CLIENT, "scheme": "https"}, "the last one: the client made up the others"
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
    async with client("127.0.0.1", proxies=PROXIES) as http:
        assert (await http.get("/seen/x", headers=named)).json() == {"client": "127.0.0.1", "scheme": "http"}
    async with client(CLIENT, proxies=PROXIES) as http:
        assert (await http.get("/seen/x", headers=named)).status_code == 403, "nobody else may claim https"


@pytest.mark.parametrize(
    ("named", "client_of"),
    [
        ("192.0.2.7:4711", "192.0.2.7"), ("2001:db8::1", "2001:db8::1"), ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7, 10.0.0.2", "192.0.2.7"), ("10.0.0.2", "10.0.0.2"), ("", PROXY),
    ],
)  # fmt: skip
async def test_forms_of_addresses(named: str, client_of: str) -> None:
    async with client(PROXY, proxies=PROXIES) as http:
        assert (await http.get("/seen/x", headers={"X-Forwarded-For": named})).json()["client"] == client_of


async def test_a_name_that_is_no_address_from_a_proxy() -> None:
    async with client(PROXY, proxies=PROXIES) as http:
        answer = await http.get("/seen/x", headers={"X-Forwarded-For": "nonsense"})
        assert answer.status_code == 400


async def test_the_log_names_the_route_and_the_caller_and_no_secret() -> None:
    log = MemoryLog()
    async with client("127.0.0.1", log) as http:
        answer = await http.get("/seen/secret1?token=secret2", headers={"Authorization": "Bearer secret3"})
    (entry,) = log.named("http_request")
    assert entry["route"] == "/seen/{name}"
    assert (entry["tenant"], entry["caller"], entry["status"]) == ("acme", "API key k1", 200)
    assert entry["id"] == answer.headers["x-request-id"]
    assert entry["octets"] == len(answer.content)
    assert "secret" not in repr(log.events)


async def test_unknown_paths_and_methods_are_problem_documents() -> None:
    async with client("127.0.0.1") as http:
        missing = await http.get("/nothing")
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
        assert missing.json()["requestId"] == missing.headers["x-request-id"]
        wrong = await http.post("/seen/x")
        assert (wrong.status_code, set(wrong.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


async def test_scripts_of_other_origins_need_consent() -> None:
    asks = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    async with client("127.0.0.1") as http:
        answer = await http.options("/seen/x", headers=asks)
        assert not [name for name in answer.headers if name.startswith("access-control")]
    async with client("127.0.0.1", origins=("https://app.example.com",)) as http:
        answer = await http.options("/seen/x", headers=asks)
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        other = await http.options("/seen/x", headers={**asks, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
