"""Requests to receivers: real sockets and real TLS on loopback."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address

import pytest
import trustme

from inbox.dns.answers import Answer, DnsTemporary
from inbox.flow.webhooks import posting
from inbox.flow.webhooks.posting import MOST_TEXT, Poster, Response
from inbox.flow.webhooks.signature import generate, signed
from inbox.policy.model import WebhookSettings
from tests.support.receiver import Receiver, receiving

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Names:
    """Every name has these addresses, one after the other for each question."""

    def __init__(self, *answers: str) -> None:
        self._answers = answers or ("127.0.0.1",)
        self.asked: list[str] = []

    async def aaaa(self, name: str) -> Answer[IPv6Address]:
        return Answer()

    async def a(self, name: str) -> Answer[IPv4Address]:
        self.asked.append(name)
        if "failing" in name:
            raise DnsTemporary("SERVFAIL")
        found = self._answers[min(len(self.asked), len(self._answers)) - 1]
        return Answer(tuple(IPv4Address(text) for text in found.split()))


def _settings(*ports: int) -> WebhookSettings:
    return WebhookSettings.model_validate({"networks": ["127.0.0.0/8"], "http": ["demo"], "ports": ports or [443]})


async def _post(
    url: str, names: Names | None = None, tls: ssl.SSLContext | None = None, settings: WebhookSettings | None = None
) -> Response:
    poster = Poster(names or Names(), tls)  # type: ignore[arg-type]  # it asks for addresses only
    fields = signed("msg_1", time.time(), b"{}", [generate()])
    try:
        return await poster.post(url, "demo", settings or _settings(), fields, b"{}")
    finally:
        await poster.close()


@asynccontextmanager
async def _raw(serve: Serve) -> AsyncIterator[str]:
    """A server that may do anything; yields its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n{}")
            await serve(reader, writer)
            writer.close()
        except OSError:
            pass

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://hooks.example.com:{server.sockets[0].getsockname()[1]}/"


def _says(*pieces: bytes) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return serve


async def test_a_request_is_a_signed_post() -> None:
    receiver = Receiver(answers=[201], body=b"thank you\r\n")
    with receiving(receiver):
        found = await _post(f"http://hooks.example.com:{receiver.port}/hook?a=1")
    assert found == Response(201, "thank you  ")
    (fields,) = receiver.fields
    assert fields["host"] == f"hooks.example.com:{receiver.port}"
    assert (fields["content-type"], fields["webhook-id"]) == ("application/json", "msg_1")
    assert fields["connection"] == "close"


async def test_the_certificate_is_verified_against_the_name() -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.com").configure_cert(server_tls)
    trusted, receiver = ssl.create_default_context(), Receiver()
    authority.configure_trust(trusted)
    with receiving(receiver, server_tls):
        settings = _settings(receiver.port)
        found = await _post(f"https://hooks.example.com:{receiver.port}/", None, trusted, settings)
        assert found.status == 204
        for url, tls in ((f"https://other.example.com:{receiver.port}/", trusted), ("same", None)):
            wrong = url.replace("same", f"https://hooks.example.com:{receiver.port}/")
            refused = await _post(wrong, None, tls, settings)
            assert refused.status == 0
            assert "certificate verify failed" in refused.text.lower()
    assert len(receiver.fields) == 1


async def test_the_request_goes_to_the_address_that_was_checked() -> None:
    """A name whose next answer is another address (DNS rebinding) does not move the request there."""
    receiver, names = Receiver(), Names("127.0.0.1", "10.0.0.1")
    with receiving(receiver):
        url = f"http://hooks.example.com:{receiver.port}/"
        assert (await _post(url, names)).status == 204
        assert names.asked == ["hooks.example.com"]
        refused = await _post(url, names)
    assert (refused.status, "10.0.0.1" in refused.text) == (0, True)
    assert len(receiver.fields) == 1


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "127.0.0.1 192.168.0.1"])
async def test_a_name_with_an_address_that_is_not_allowed(address: str) -> None:
    receiver = Receiver()
    with receiving(receiver):
        found = await _post(f"http://hooks.example.com:{receiver.port}/", Names(address))
    assert found.text.startswith("not allowed: ")
    assert receiver.fields == []


async def test_a_redirection_is_not_followed() -> None:
    receiver = Receiver(answers=[307], body=b"go there")
    with receiving(receiver):
        found = await _post(f"http://hooks.example.com:{receiver.port}/")
    assert found == Response(307, "go there")
    assert len(receiver.fields) == 1


async def test_the_next_address_is_tried_if_a_connection_fails() -> None:
    receiver = Receiver()
    with receiving(receiver):
        found = await _post(f"http://hooks.example.com:{receiver.port}/", Names("127.9.9.9 127.0.0.1"))
    assert found.status == 204


async def test_a_receiver_that_is_gone() -> None:
    receiver = Receiver()
    with receiving(receiver):
        pass
    found = await _post(f"http://hooks.example.com:{receiver.port}/")
    assert found.status == 0
    assert f"connection to 127.0.0.1 port {receiver.port} failed" in found.text


async def test_a_name_that_cannot_be_looked_up() -> None:
    assert (await _post("http://failing.example.com/")).text == "the host could not be looked up: SERVFAIL"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"\x00" * 99,
    ],
)
async def test_garbage_is_a_failed_try(answer: bytes) -> None:
    async with _raw(_says(answer)) as url:
        found = await _post(url)
    assert found.status == 0
    assert found.text


async def test_a_long_body_is_not_read_to_its_end() -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            writer.write(b"\x1b[31m" * 10_000)
            await writer.drain()
            sent += 50_000

    async with _raw(endless) as url:
        found = await _post(url)
    assert found.status == 200
    assert len(found.text) == MOST_TEXT
    assert found.text.isprintable()
    assert sent < 10_000_000


async def test_a_response_without_an_end_of_its_fields() -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Field: " + b"x" * 10_000 + b"\r\n")
            await writer.drain()

    async with _raw(endless) as url:
        assert (await _post(url)).status == 0


@pytest.mark.parametrize(
    "pieces", [(), (b"HTTP/1.1 200 OK\r\nContent-Le",), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",)]
)
async def test_a_receiver_that_stalls_has_a_time_limit(
    pieces: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _says(*pieces)(reader, writer)
        await reader.read()
        ended.set()

    monkeypatch.setattr(posting, "REQUEST_SECONDS", 0.2)
    async with _raw(stalls) as url:
        found = await _post(url)
        assert found == Response(0, "no complete response within 0 seconds")
        await ended.wait()


async def test_the_environment_has_no_proxy_for_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, receiver = Receiver(), Receiver()
    with receiving(proxy), receiving(receiver):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await _post(f"http://hooks.example.com:{receiver.port}/")).status == 204
    assert proxy.fields == []
