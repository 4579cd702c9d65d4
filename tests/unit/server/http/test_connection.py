"""One HTTP connection: its limits, and requests that are refused before any route sees them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from inbox.base.ids import RandomIds
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.server.fairness import Turns
from inbox.server.http.config import HttpConfig, HttpLimits
from inbox.server.http.connection import HttpConnection
from inbox.server.http.server import HttpServer
from inbox.server.listener import bind

GET = b"GET /echo HTTP/1.1\r\nHost: mx.test\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: mx.test\r\n"


@dataclass
class Serving:
    """A server with one route, and what it logged."""

    server: HttpServer
    port: int
    clock: FakeClock
    log: MemoryLog
    #: Requests that wait until the test lets them go on.
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connections(self) -> list[HttpConnection]:
        return [each for each in self.server._state.connections if isinstance(each, HttpConnection)]

    def later(self, seconds: float) -> None:
        """Puts the clock forward, and lets the server look at its connections."""
        self.clock.advance(seconds)
        self.server.limits.sweep()


@asynccontextmanager
async def serving(limits: HttpLimits | None = None, **settings: Any) -> AsyncIterator[Serving]:
    clock, log = FakeClock(), MemoryLog()
    waiting = asyncio.Event()

    async def echo(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    async def slow(_: Request) -> Response:
        await waiting.wait()
        return JSONResponse({"done": True})

    async def large(_: Request) -> Response:
        return PlainTextResponse(b"x" * 8_000_000)

    async def broken(_: Request) -> Response:
        raise ValueError("a secret of the program")

    def routes(_: HttpConfig) -> list[BaseRoute]:
        return [
            Route("/echo", echo, methods=["GET", "POST"]), Route("/slow", slow), Route("/large", large),
            Route("/broken", broken),
        ]  # fmt: skip

    config = HttpConfig(**settings)
    server = HttpServer(lambda: config, routes, clock, RandomIds(clock.now), log, Turns(), limits)
    endpoint = bind("127.0.0.1", 0, "http", "none")
    port = endpoint.port
    await server.start([endpoint])
    try:
        yield Serving(server, port, clock, log, waiting)
    finally:
        waiting.set()
        await server.drain(5)
        await server.stop()


@dataclass
class Client:
    """A raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Sends octets, and reads one response: status, fields, body."""
        self.writer.write(data)
        return await self.response()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = await self.reader.readexactly(int(fields.get("content-length", "0")))
        return int(lines[0].split(" ")[1]), fields, body

    async def ended(self) -> bytes:
        """The rest of the input, when the server has ended the connection."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def connected(world: Serving) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def test_requests_share_a_connection() -> None:
    async with serving() as world, connected(world) as client:
        for number in range(3):
            body = b"%d" % number
            status, fields, got = await client.ask(POST + b"Content-Length: 1\r\n\r\n" + body)
            assert (status, got) == (200, body)
            assert fields["cache-control"] == "no-store"
            assert fields["x-content-type-options"] == "nosniff"
            assert "strict-transport-security" not in fields
        assert world.server.describe()["connections"] == 1
    assert [entry["route"] for entry in world.log.named("http_request")] == ["/echo"] * 3


@pytest.mark.parametrize(
    ("request_octets", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Bad Field: 1\r\n\r\n", 400),
        (POST + b"X: a\0b\r\n\r\n", 400),
        (b"CONNECT mx.test:25 HTTP/1.1\r\nHost: mx.test\r\n\r\n", 400),
        (POST + b"".join(b"A%d: 1\r\n" % number for number in range(101)) + b"\r\n", 431),
        (POST + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: mx.test\r\n\r\n", 431),
        (POST + b"Content-Length: 99999999999\r\n\r\n", 413),
    ],
)  # fmt: skip
async def test_a_request_that_is_refused(request_octets: bytes, status: int) -> None:
    """Nothing after it is read: two servers could disagree where it ends (RFC 9112 §11.2)."""
    async with serving() as world, connected(world) as client:
        got, fields, body = await client.ask(request_octets + GET)
        assert (got, fields["connection"]) == (status, "close")
        assert json.loads(body)["status"] == status
        assert await client.ended() == b""
    assert [event for _, event, _ in world.log.events] == ["http_refused"]


async def test_a_chunked_body_that_grows_without_end_is_cut_off() -> None:
    async with serving(HttpLimits(body_octets=100_000)) as world, connected(world) as client:
        client.writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        client.writer.write(b"fff0\r\n" + b"x" * 0xFFF0 + b"\r\n" + b"fff0\r\n" + b"x" * 0xFFF0 + b"\r\n")
        assert await client.ended() == b""


async def test_pipelined_requests_are_answered_in_order_and_are_few() -> None:
    async with serving() as world:
        async with connected(world) as client:
            client.writer.write(GET * 4)
            assert [(await client.response())[0] for _ in range(4)] == [200] * 4
        async with connected(world) as client:
            client.writer.write(GET * 50)
            await client.ended()
    assert [entry["why"] for entry in world.log.named("http_refused")] == ["Too many pipelined requests"]


async def test_a_connection_that_sends_nothing_is_closed() -> None:
    async with serving() as world, connected(world) as client:
        await until(lambda: world.server.connections == 1)
        world.later(64)
        world.later(2)
        assert await client.ended() == b""


async def test_a_half_sent_header_has_a_time_limit() -> None:
    """One octet at a time does not extend it."""
    async with serving() as world, connected(world) as client:
        for octet in b"GET /e":
            client.writer.write(bytes([octet]))
            await client.writer.drain()
            await asyncio.sleep(0)
            world.later(3)
        world.later(5)
        status, _, _ = await client.response()
        assert status == 408
        assert await client.ended() == b""


async def test_a_body_has_time_for_what_arrived_and_no_more() -> None:
    async with serving() as world, connected(world) as client:
        client.writer.write(POST + b"Content-Length: 200000\r\n\r\n" + b"x" * 160_000)
        await until(lambda: any(each._octets == 160_000 for each in world.connections))
        world.later(35)
        assert world.server.connections == 1, "30 s, and 10 s for 160,000 octets"
        world.later(6)
        assert await client.ended() == b""


async def test_a_request_in_progress_has_no_time_limit() -> None:
    async with serving() as world, connected(world) as client:
        client.writer.write(GET.replace(b"/echo", b"/slow"))
        await until(lambda: bool(world.server._state.tasks))
        world.later(3600)
        world.waiting.set()
        assert (await client.response())[0] == 200
        world.later(66)
        assert await client.ended() == b""


async def test_a_client_that_does_not_read_is_disconnected() -> None:
    async with serving() as world, connected(world) as client:
        client.writer.write(GET.replace(b"/echo", b"/large"))
        await until(lambda: any(each._unsent for each in world.connections))
        world.later(59)
        assert world.server.connections == 1
        world.later(2)
        await until(lambda: world.server.connections == 0)
        assert len(await client.ended()) < 8_000_000


async def test_a_client_that_disconnects_leaves_nothing_behind() -> None:
    async with serving() as world:
        async with connected(world) as client:
            client.writer.write(GET.replace(b"/echo", b"/slow"))
            await until(lambda: bool(world.server._state.tasks))
        await until(lambda: world.server.connections == 0)
        world.waiting.set()
        await until(lambda: not world.server._state.tasks)
        assert world.server.limits.connections == ()
    (entry,) = world.log.named("http_request")
    assert entry["route"] == "/slow"


async def test_one_address_has_a_share_of_the_connections() -> None:
    async with serving(HttpLimits(peer_connections=2)) as world, connected(world), connected(world):
        await until(lambda: world.server.connections == 2)
        async with connected(world) as third:
            status, _, body = await third.response()
            assert (status, json.loads(body)["detail"]) == (503, "Too many connections")
            assert await third.ended() == b""
    proxies = (ip_network("127.0.0.0/8"),)
    async with (
        serving(HttpLimits(peer_connections=2), proxies=proxies) as world,
        connected(world),
        connected(world),
        connected(world) as third,
    ):
        assert (await third.ask(GET))[0] == 200, "a proxy speaks for many clients"


async def test_when_all_connections_are_in_use_new_ones_are_turned_away() -> None:
    async with serving(max_connections=1) as world, connected(world) as first:
        assert (await first.ask(GET))[0] == 200
        async with connected(world) as second:
            assert (await second.response())[0] == 503


async def test_after_so_many_requests_a_connection_is_closed() -> None:
    async with serving(HttpLimits(requests=2)) as world, connected(world) as client:
        assert "connection" not in (await client.ask(GET))[1]
        assert (await client.ask(GET))[1]["connection"] == "close"
        assert await client.ended() == b""
        async with connected(world) as again:
            assert (await again.ask(GET))[0] == 200


async def test_a_stop_answers_what_is_in_progress() -> None:
    async with serving() as world, connected(world) as idle, connected(world) as busy:
        assert (await idle.ask(GET))[0] == 200
        busy.writer.write(GET.replace(b"/echo", b"/slow"))
        await until(lambda: bool(world.server._state.tasks))
        draining = asyncio.create_task(world.server.drain(10))
        assert await idle.ended() == b""
        world.waiting.set()
        assert (await busy.response())[0] == 200
        await draining
        assert await busy.ended() == b""


async def test_an_error_of_the_program_is_logged_and_not_shown() -> None:
    async with serving() as world, connected(world) as client:
        status, fields, body = await client.ask(GET.replace(b"/echo", b"/broken"))
        assert (status, fields["content-type"]) == (500, "application/problem+json")
        assert b"secret" not in body
        assert json.loads(body)["requestId"] == fields["x-request-id"]
        assert (await client.ask(GET))[0] == 200
    (failed,) = world.log.named("http_request_failed")
    assert failed["id"] == fields["x-request-id"]
    assert str(failed["exc_info"]) == "a secret of the program"


async def test_there_is_no_websocket() -> None:
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"
    )
    async with serving() as world, connected(world) as client:
        assert (await client.ask(GET[:-2] + upgrade))[0] == 200
