"""Doctor's findings with the official package: with the real engine in each state, and at other servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cbor2
import pytest
from websockets.asyncio.server import ServerConnection, serve

from inbox.app.doctor.surreal import surreal_findings
from inbox.base.clock import SystemClock
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import MIGRATIONS, SurrealDatabase
from inbox.store.surreal.gateway import Gateway
from tests.support.ports import free_port
from tests.support.store import IDS
from tests.support.surreal_server import SurrealServer, server

NEWEST = max(int(path.stem) for path in MIGRATIONS.glob("[0-9]*.surql"))


class TestTheRealEngine:
    pytestmark = pytest.mark.real

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[SurrealServer]:
        made = server(tmp_path / "db")
        yield made
        made.kill()

    async def said(self, engine: SurrealServer, user: str = "root", password: str = "root") -> list[tuple[str, str]]:
        found = await surreal_findings(SurrealConfig(engine.url, "inbox", "inbox", user, password), NEWEST)
        return [(outcome, text) for outcome, text in found]

    async def set_up(self, engine: SurrealServer, *statements: str) -> None:
        """The database of inbox with its schema, and more."""
        config = SurrealConfig(engine.url, password="root")
        database = SurrealDatabase(config, SystemClock(), IDS)
        await database.open()
        gateway: Gateway = database._gateway
        for each in statements:
            await gateway.query(each)
        await database.close()

    async def test_a_server_that_is_empty(self, engine: SurrealServer) -> None:
        found = await self.said(engine)
        assert found == [("warn", "surrealdb-3.0.2: no database inbox/inbox yet; inbox serve creates it")]
        assert await self.said(engine) == found  # asking did not make it

    async def test_another_database_of_the_namespace(self, engine: SurrealServer) -> None:
        await self.set_up(engine)
        config = SurrealConfig(engine.url, "inbox", "other", "root", "root")
        ((outcome, text),) = await surreal_findings(config, NEWEST)
        assert (outcome, text) == ("warn", "surrealdb-3.0.2: no database inbox/other yet; inbox serve creates it")

    async def test_a_user_of_the_database(self, engine: SurrealServer) -> None:
        await self.set_up(engine, "DEFINE USER mail ON DATABASE PASSWORD 'x' ROLES EDITOR")
        assert await self.said(engine, "mail", "x") == [
            ("ok", "surrealdb-3.0.2, the package surrealdb agrees: inbox/inbox is there"),
            ("ok", "the user mail has the rights that are needed, in this database only"),
            ("ok", f"the schema is {NEWEST}, that of this program"),
        ]

    async def test_root_may_more_than_it_needs(self, engine: SurrealServer) -> None:
        await self.set_up(engine)
        assert [outcome for outcome, _ in await self.said(engine)] == ["ok", "warn", "ok"]
        assert "the user root may change every database of the server" in (await self.said(engine))[1][1]

    async def test_a_user_who_may_only_read(self, engine: SurrealServer) -> None:
        await self.set_up(engine, "DEFINE USER reader ON DATABASE PASSWORD 'x' ROLES VIEWER")
        outcome, text = (await self.said(engine, "reader", "x"))[1]
        assert outcome == "fail"
        assert "the user reader may not change tables (IAM error: Not enough permissions" in text
        assert "docs/surrealdb.md" in text

    async def test_trying_the_rights_changes_nothing(self, engine: SurrealServer) -> None:
        await self.set_up(engine)
        await self.said(engine)
        database = SurrealDatabase(SurrealConfig(engine.url, password="root"), SystemClock(), IDS)
        await database.open()
        (info,) = await database._gateway.query("INFO FOR DB")
        await database.close()
        assert "doctor_probe" not in info["tables"]
        assert "meta" in info["tables"]

    @pytest.mark.parametrize(
        ("statement", "outcome", "text"),
        [
            ("UPDATE meta:schema SET value = 4", "warn", f"has schema 4; inbox serve migrates it to {NEWEST}"),
            (
                "UPDATE meta:schema SET value = 9999",
                "fail",
                f"has schema 9999, this program knows {NEWEST}: a newer inbox",
            ),
            ("DELETE meta:schema", "warn", "the database has no schema yet"),
            ("REMOVE TABLE meta", "warn", "the database has no schema yet"),
        ],
    )
    async def test_another_schema(self, engine: SurrealServer, statement: str, outcome: str, text: str) -> None:
        await self.set_up(engine, statement)
        found = (await self.said(engine))[-1]
        assert found[0] == outcome
        assert text in found[1]

    async def test_a_wrong_password(self, engine: SurrealServer) -> None:
        ((outcome, text),) = await self.said(engine, "root", "wrong")
        assert outcome == "fail"
        assert text.endswith("the server does not accept the user root: check DATABASE_USERNAME and _PASSWORD")

    async def test_a_server_that_hangs(self, engine: SurrealServer) -> None:
        engine.pause()
        try:
            found = await surreal_findings(SurrealConfig(engine.url, password="root"), NEWEST, seconds=0.2)
        finally:
            engine.resume()
        assert found == [("fail", f"{engine.url}/rpc: no answer within 0.2 seconds")]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_a_server_that_is_gone_and_comes_back(self, engine: SurrealServer) -> None:
        await self.set_up(engine)
        engine.kill()
        ((outcome, text),) = await self.said(engine)
        assert outcome == "fail"
        assert "the package surrealdb cannot talk to the server: " in text
        engine.start()
        assert [outcome for outcome, _ in await self.said(engine)] == ["ok", "warn", "ok"]


Answer = Callable[[dict[str, Any]], bytes | None]


@asynccontextmanager
async def playing(answer: Answer) -> AsyncIterator[SurrealConfig]:
    """A WebSocket server that gives these answers; None closes the connection."""

    async def one(connection: ServerConnection) -> None:
        async for frame in connection:
            assert isinstance(frame, bytes)
            said = answer(cbor2.loads(frame))
            if said is None:
                connection.transport.abort()
                return
            await connection.send(said)

    async with serve(one, "127.0.0.1", 0, subprotocols=["cbor"]) as running:  # type: ignore[list-item]  # a NewType
        port = running.sockets[0].getsockname()[1]
        yield SurrealConfig(f"ws://127.0.0.1:{port}", password="root")


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("surrealdb-2.6.1", "the server is surrealdb-2.6.1, inbox needs SurrealDB 3.x"),
        ("surrealdb-4.0.0", "the server is surrealdb-4.0.0, inbox needs SurrealDB 3.x"),
        ("redis 7", "'redis 7' is not the version of a SurrealDB server"),
        ("", "'' is not the version of a SurrealDB server"),
    ],
)
async def test_another_version(version: str, text: str) -> None:
    async with playing(lambda asked: cbor2.dumps({"id": asked["id"], "result": version})) as config:
        assert await surreal_findings(config, NEWEST) == [("fail", f"{config.endpoint}: {text}")]


async def test_a_connection_that_is_lost_during_a_question() -> None:
    async with playing(lambda _: None) as config:
        ((outcome, text),) = await surreal_findings(config, NEWEST)
    assert outcome == "fail"
    assert "connection was lost" in text or "cannot talk to the server" in text


@pytest.mark.parametrize("garbage", [b"\xff\xff", cbor2.dumps([1, 2]), cbor2.dumps({"id": None})])
async def test_garbage(garbage: bytes) -> None:
    async with playing(lambda _: garbage) as config:
        ((outcome, _),) = await surreal_findings(config, NEWEST, seconds=0.2)
    assert outcome == "fail"


async def test_nobody_listens_and_another_program() -> None:
    ((outcome, text),) = await surreal_findings(SurrealConfig(f"ws://127.0.0.1:{free_port()}", password="x"), NEWEST)
    assert (outcome, "ConnectionRefusedError" in text or "OSError" in text) == ("fail", True)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.example.org ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        ((outcome, text),) = await surreal_findings(SurrealConfig(f"ws://127.0.0.1:{port}", password="x"), NEWEST)
    assert outcome == "fail"
    assert text.startswith(f"ws://127.0.0.1:{port}/rpc: the package surrealdb cannot talk to the server: ")
