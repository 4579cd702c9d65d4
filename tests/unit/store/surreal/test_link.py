"""The link to a server that answers, is silent, goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request
from websockets.typing import Subprotocol

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.store.surreal import link
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.link import Link
from inbox.store.surreal.values import decode, encode


class Peer:
    """A server that does what the method of a call says."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.silent = asyncio.Event()
        self.connections: list[ServerConnection] = []

    async def __call__(self, socket: ServerConnection) -> None:
        self.connections.append(socket)
        async for frame in socket:
            assert isinstance(frame, bytes)
            asked = decode(frame)
            self.seen.append((asked["method"], asked["params"]))
            match asked["method"]:
                case "silence":
                    self.silent.set()
                case "notice":
                    await socket.send(encode({"result": {"record": "r"}}))
                    await socket.send(encode({"id": asked["id"], "result": None}))
                case "error":
                    await socket.send(encode({"id": asked["id"], "error": {"code": -1, "message": "no such method"}}))
                case "hang up":
                    socket.transport.abort()
                case "rubbish":
                    await socket.send(b"\xff\xff\xff")
                case _:
                    await socket.send(encode({"id": asked["id"], "result": asked["params"]}))


class Fixture:
    def __init__(self, peer: Peer, server: Server, timeout: float) -> None:
        self.peer = peer
        self.server = server
        self.notices: list[Any] = []
        self.losses = 0
        port = server.sockets[0].getsockname()[1]
        config = SurrealConfig(f"ws://127.0.0.1:{port}", "n", "d", "user", "secret", timeout=timeout)
        self.link = Link(config, self.notices.append, self.lost)

    def lost(self) -> None:
        self.losses += 1


@pytest.fixture
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Fixture]:
    peer = Peer()
    async with serve(peer, "127.0.0.1", 0, subprotocols=[Subprotocol("cbor")]) as server:
        fixture = Fixture(peer, server, getattr(request, "param", 10.0))
        yield fixture
        await fixture.link.close()


async def test_a_connection_is_signed_in_and_then_shared(made: Fixture) -> None:
    answers = await asyncio.gather(*[made.link.call("echo", n) for n in range(50)])
    assert answers == [[n] for n in range(50)]
    assert made.peer.seen[:2] == [("signin", [{"user": "user", "pass": "secret"}]), ("use", ["n", "d"])]
    assert len(made.peer.connections) == 1


async def test_errors_and_notices(made: Fixture) -> None:
    with pytest.raises(StoreError, match="no such method"):
        await made.link.call("error")
    await made.link.call("notice")
    assert made.notices == [{"record": "r"}]


@pytest.mark.parametrize("how", ["hang up", "rubbish"])
async def test_a_lost_connection_ends_the_calls_in_flight_and_comes_back(made: Fixture, how: str) -> None:
    waiting = asyncio.ensure_future(made.link.call("silence"))
    await made.peer.silent.wait()
    with pytest.raises(StoreUnavailable):
        await made.link.call(how)
    with pytest.raises(StoreUnavailable):
        await waiting
    assert made.losses == 1
    assert await made.link.call("echo", 1) == [1]
    assert [method for method, _ in made.peer.seen if method == "signin"] == ["signin"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("made", [1.0], indirect=True)
async def test_a_server_without_a_word_is_left(made: Fixture) -> None:
    with pytest.raises(StoreUnavailable, match="no answer"):
        await made.link.call("silence")
    assert made.losses == 1
    # The end of the old connection must not disturb the calls over the new one.
    assert await asyncio.gather(*[made.link.call("echo", n) for n in range(20)]) == [[n] for n in range(20)]
    assert len(made.peer.connections) == 2


async def test_a_call_that_is_given_up_disturbs_no_other(made: Fixture) -> None:
    waiting = asyncio.ensure_future(made.link.call("silence"))
    await made.peer.silent.wait()
    waiting.cancel()
    assert await made.link.call("echo", 1) == [1]
    assert len(made.peer.connections) == 1


async def test_frames_that_cannot_be_sent(made: Fixture) -> None:
    for value in (object(), "\ud800"):
        with pytest.raises(StoreError, match="cannot be encoded"):
            await made.link.call("echo", value)
    assert await made.link.call("echo", 1) == [1]


async def test_nobody_there(made: Fixture) -> None:
    made.server.close()
    await made.server.wait_closed()
    done = await asyncio.gather(*[made.link.call("echo", n) for n in range(5)], return_exceptions=True)
    assert [type(error) for error in done] == [StoreUnavailable] * 5


async def attempt_ends(used: Link) -> None:
    """Waits until an attempt to connect has ended."""
    assert used._connecting is not None
    await asyncio.wait([used._connecting])


async def test_only_the_first_calls_wait_long_for_a_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Later ones share one attempt to connect, and do not wait for its end."""
    peer, stalls, taken = Peer(), True, 0
    monkeypatch.setattr(link, "STALLED_SECONDS", 0)

    async def process(socket: ServerConnection, _: Request) -> None:
        nonlocal taken
        taken += 1
        if stalls:
            await asyncio.get_running_loop().create_future()

    async with serve(peer, "127.0.0.1", 0, subprotocols=[Subprotocol("cbor")], process_request=process) as server:
        made = Fixture(peer, server, 0.2)
        with pytest.raises(StoreUnavailable, match="timed out during opening handshake"):
            await made.link.call("echo", 1)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="did not answer, and does not answer yet"):
                await made.link.call("echo", 2)
        await attempt_ends(made.link)
        assert taken == 2

        stalls = False
        with pytest.raises(StoreUnavailable, match="does not answer yet"):
            await made.link.call("echo", 3)
        await attempt_ends(made.link)
        assert await made.link.call("echo", 4) == [4]
        await made.link.close()
        assert await made.link.call("echo", 5) == [5], "an answer ends the haste"
        await made.link.close()
