"""http_reputation against a small HTTP server on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from examples.plugins.http_reputation import HttpReputation, ReputationFact, Settings
from inbox.plugin import Score, Transaction
from tests.support.plugin_services import services, transaction


class Service:
    """Answers every request with ``status`` and ``body``, and keeps what it was asked."""

    def __init__(self, body: bytes = b'{"score": 3, "reason": "new sender"}', status: str = "200 OK") -> None:
        self.body, self.status = body, status
        self.heads: list[str] = []
        self.questions: list[dict[str, Any]] = []
        self.silent = asyncio.Event()
        self.silent.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = int(head.lower().partition("content-length:")[2].split()[0])
                self.heads.append(head)
                self.questions.append(json.loads(await reader.readexactly(length)))
                await self.silent.wait()
                writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()


@asynccontextmanager
async def asking(service: Service, **settings: object) -> AsyncIterator[HttpReputation]:
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/reputation"
    plugin = HttpReputation(Settings.model_validate({"url": url} | settings), services())
    try:
        yield plugin
    finally:
        await plugin.close()
        service.silent.set()
        server.close()


def mail() -> Transaction:
    tx = transaction(b"Subject: x\r\n\r\n")
    tx.session.helo = "mx.example.net"
    return tx


async def test_the_answer_becomes_a_score_and_a_fact() -> None:
    service, tx = Service(), mail()
    async with asking(service, weight=0.5, token="secret") as plugin:
        assert await plugin.data(tx) == Score("HTTP_REPUTATION", 1.5, "new sender")
        assert tx.facts.get(ReputationFact) == ReputationFact(3.0, "new sender")
        assert "secret" not in repr(plugin.settings)
    question = {"ip": "192.0.2.7", "helo": "mx.example.net", "sender": "bob@example.net", "tenant": "acme"}
    assert service.questions == [question]
    assert "authorization: bearer secret" in service.heads[0].lower()


async def test_nothing_against_the_sender_is_no_opinion() -> None:
    async with asking(Service(b'{"score": 0}')) as plugin:
        assert await plugin.data(mail()) is None


async def test_connections_are_used_again() -> None:
    service = Service()
    async with asking(service) as plugin:
        for _ in range(3):
            await plugin.data(mail())
    assert len(service.questions) == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", "200 OK"),
        (b'{"score": 1000}', "200 OK"),
        (b'{"score": "NaN"}', "200 OK"),
        (b"{}", "200 OK"),
        (b'{"score": 1, "reason": "' + b"x" * 20_000 + b'"}', "200 OK"),
        (b'{"score": 1}', "500 Internal Server Error"),
        (b'{"score": 1}', "302 Found\r\nLocation: http://127.0.0.1:1/"),
    ],
)
async def test_an_answer_that_does_not_fit_is_an_error(body: bytes, status: str) -> None:
    tx = mail()
    async with asking(Service(body, status)) as plugin:
        with pytest.raises((ValueError, httpx2.HTTPError)):
            await plugin.data(tx)
    assert tx.facts.get(ReputationFact) is None


async def test_a_service_that_says_nothing_is_given_up() -> None:
    service = Service()
    service.silent.clear()
    async with asking(service, wait=0.05) as plugin:
        with pytest.raises(httpx2.TimeoutException):
            await plugin.data(mail())


async def test_a_service_that_is_gone_is_an_error() -> None:
    async with asking(Service()) as plugin:
        gone = str(plugin.settings.url)
    plugin = HttpReputation(Settings.model_validate({"url": gone}), services())
    with pytest.raises(httpx2.ConnectError):
        await plugin.data(mail())
    await plugin.close()
    assert plugin.dependency == gone
    assert HttpReputation.on_error == "accept"


@pytest.mark.parametrize("settings", [{}, {"url": "ftp://x/"}, {"url": "http://x/", "wait": 0}])
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(settings)
