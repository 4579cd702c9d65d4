"""Accepting connections: endpoints that open and close, and handshakes of implicit TLS that fail or never begin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inbox.base.clock import SystemClock
from inbox.plugin.api.testing import MemoryLog
from inbox.server.acceptor import Acceptor
from inbox.server.fairness import Turns
from inbox.server.limits import ConnectionLimits
from inbox.server.listener import Encryption, bind
from inbox.server.transport import Channel, channels
from tests.support.imap_world import client_tls, server_tls


class Accepting:
    """An acceptor whose connections are only noted."""

    def __init__(self, *, most: int = 0, seconds: float = 30.0, tls: bool = True) -> None:
        self.log = MemoryLog()
        self.got: asyncio.Queue[tuple[Channel, int, Encryption]] = asyncio.Queue()
        self.acceptor = Acceptor(
            "imap",
            self.connected,
            ConnectionLimits(SystemClock(), most, most),
            Turns(),
            self.log,
            make=channels(SystemClock(), 60.0),
            tls=server_tls() if tls else None,
            tls_seconds=seconds,
        )

    def connected(self, channel: Channel, port: int, tls: Encryption) -> None:
        self.got.put_nowait((channel, port, tls))


@asynccontextmanager
async def accepting(tls: Encryption, **options: Any) -> AsyncIterator[tuple[Accepting, int]]:
    world, endpoint = Accepting(**options), bind("127.0.0.1", 0, "one", tls)
    await world.acceptor.start(endpoint)
    try:
        yield world, endpoint.port
    finally:
        await world.acceptor.close()


@pytest.mark.parametrize("tls", ["implicit", "starttls", "none"])
async def test_a_connection_is_handed_on_with_its_port(tls: Encryption) -> None:
    async with accepting(tls) as (world, port):
        secure: dict[str, Any] = {"ssl": client_tls(), "server_hostname": "localhost"} if tls == "implicit" else {}
        _, writer = await asyncio.open_connection("127.0.0.1", port, **secure)
        channel, at, how = await asyncio.wait_for(world.got.get(), 10)
        assert (at, how) == (port, tls)
        assert (channel.info("ssl_object") is not None) is (tls == "implicit")
        if tls == "implicit":
            assert channel.tls().version.startswith("TLSv1.")
        channel.abort()
        writer.close()


async def test_implicit_tls_needs_a_certificate() -> None:
    world = Accepting(tls=False)
    endpoint = bind("127.0.0.1", 0, "imaps", "implicit")
    with endpoint.socket, pytest.raises(ValueError, match="imaps: TLS needs a certificate"):
        await world.acceptor.start(endpoint)
    assert world.acceptor.ports == {}


async def test_a_closed_acceptor_frees_its_ports_and_ends_handshakes() -> None:
    async with accepting("implicit") as (world, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            while not world.acceptor.shaking:
                await asyncio.sleep(0)
        await world.acceptor.close()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert (world.acceptor.ports, world.acceptor.shaking) == ({}, {})
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.close()


async def test_a_handshake_that_fails_is_logged_and_the_next_one_succeeds() -> None:
    async with accepting("implicit") as (world, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a NOOP\r\n")
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
        async with asyncio.timeout(10):
            while world.acceptor.shaking:
                await asyncio.sleep(0)
        assert world.log.named("imap_tls_failed")
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls(), server_hostname="localhost")
        channel, _, _ = await asyncio.wait_for(world.got.get(), 10)
        channel.abort()
        writer.close()


async def test_handshakes_have_a_limit_of_their_own() -> None:
    async with accepting("implicit", most=2) as (world, port):
        first = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        async with asyncio.timeout(10):
            while len(world.acceptor.shaking) < 2:
                await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert world.log.named("imap_too_many_handshakes")
        for _, one in (*first, (reader, writer)):
            one.close()


async def test_out_of_descriptors_is_logged_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.server.acceptor._RETRY_SECONDS", 0.0)
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(24, "Too many open files")]

    async def failing(sock: Any) -> Any:
        if failures:
            raise failures.pop()
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", failing)
    async with accepting("implicit") as (world, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls(), server_hostname="localhost")
        channel, _, _ = await asyncio.wait_for(world.got.get(), 10)
        assert world.log.errors == ["imap_accept_failed"]
        channel.abort()
        writer.close()
