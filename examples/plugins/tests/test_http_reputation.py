"""http_reputation against a small HTTP server on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest

from inbox.plugin import Accept, Defer
from inbox.plugin.testing import PluginTest, PolicyMistakes, Status

PLUGIN = Path(__file__).parents[1] / "http_reputation.py"


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
async def asking(
    service: Service, errors: Literal["raise", "outcome"] = "raise", **settings: object
) -> AsyncIterator[PluginTest]:
    """The plugin, with ``service`` behind its URL."""
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/reputation"
    test = PluginTest(PLUGIN, {"url": url} | settings, tenant="acme", errors=errors)
    try:
        yield test
    finally:
        await test.close()
        service.silent.set()
        server.close()


async def test_the_answer_becomes_a_score_and_a_fact() -> None:
    service = Service()
    async with asking(service, weight=0.5, token="secret") as test:
        outcome = await test.data(sender="bob@example.net", ip="192.0.2.7", helo="mx.example.net")
        assert outcome.symbols == {"HTTP_REPUTATION": 1.5}
        assert outcome.trace.facts == (test.loaded.gives[0](3.0, "new sender"),)
        assert "secret" not in repr(test.policy)
    question = {"ip": "192.0.2.7", "helo": "mx.example.net", "sender": "bob@example.net", "tenant": "acme"}
    assert service.questions == [question]
    assert "authorization: bearer secret" in service.heads[0].lower()


async def test_nothing_against_the_sender_is_no_opinion() -> None:
    async with asking(Service(b'{"score": 0}')) as test:
        assert (await test.data(sender=None)).symbols == {}


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
async def test_an_answer_that_does_not_fit_is_an_error_and_the_mail_goes_on(body: bytes, status: str) -> None:
    async with asking(Service(body, status), errors="outcome") as test:
        outcome = await test.data()
        assert outcome.trace.status is Status.FAILED
        assert outcome.trace.facts == ()
        assert isinstance(outcome.verdict, Accept)


async def test_a_policy_may_say_otherwise() -> None:
    async with asking(Service(b"nonsense"), errors="outcome", on_error="defer") as test:
        assert isinstance((await test.data()).verdict, Defer)


async def test_a_service_that_says_nothing_is_given_up() -> None:
    service = Service()
    service.silent.clear()
    async with asking(service, wait=0.05) as test:
        with pytest.raises((httpx2.TimeoutException, TimeoutError)):
            await test.data()


async def test_a_service_that_never_ends_is_given_up() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass  # the client is gone
        finally:
            writer.close()

    service = Service()
    service.serve = drip  # type: ignore[method-assign]  # another way to answer
    async with asking(service, wait=0.1) as test:
        with pytest.raises(TimeoutError):
            await test.data()


async def test_a_service_that_is_gone_is_an_error() -> None:
    async with asking(Service()) as test:
        url = test.policy.plugins[-1].settings.model_dump(mode="json")["url"]
    test = PluginTest(PLUGIN, {"url": url})
    with pytest.raises(httpx2.ConnectError):
        await test.data()
    await test.close()


@pytest.mark.parametrize("settings", [{}, {"url": "ftp://x/"}, {"url": "http://x/", "wait": 0}])
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(PolicyMistakes):
        PluginTest(PLUGIN, settings)
