"""The admin socket: what it answers, and who may open it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from inbox.app.admin import AdminClient, AdminServer, owner
from inbox.app.admin import ask as request
from inbox.base.errors import ConfigError, InboxError, PolicyError, StoreUnavailable
from inbox.base.metrics import Family, gauge


class Suite:
    """A running server as the admin socket sees it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.ill = False
        self.reloads = 0
        self.warnings: list[str] = []

    async def health(self) -> list[str]:
        if self.ill:
            raise StoreUnavailable("database is gone")
        return self.warnings

    async def reload(self) -> list[str]:
        self.reloads += 1
        return self.problems

    async def status(self) -> dict[str, Any]:
        return {"connections": 3}

    async def metrics(self) -> list[Family]:
        return [gauge("inbox_uptime_seconds", "Uptime.", [({"a": 'x"\n\\'}, 1.5)])]

    async def take_policy(self, tenant: str) -> dict[str, Any]:
        if tenant == "no name":
            raise PolicyError("'no name' cannot be the name of a policy file")
        return {"problems": self.problems, "plugins": {tenant: "enforce"}}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's name has 107 octets at most."""
    path = Path(tempfile.mkdtemp(prefix="inbox"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def suite(folder: Path) -> AsyncIterator[Suite]:
    suite = Suite()
    server = AdminServer(folder / "inbox.sock", suite)
    await server.start()
    yield suite
    await server.stop()
    assert not (folder / "inbox.sock").exists()


async def ask(folder: Path, method: str, path: str) -> dict[str, Any] | None:
    return await asyncio.to_thread(AdminClient(folder / "inbox.sock", timeout=10).call, method, path)


async def test_status_and_health(folder: Path, suite: Suite) -> None:
    assert await ask(folder, "GET", "/status") == {"connections": 3}
    assert await ask(folder, "GET", "/health") == {"status": "ok"}
    suite.warnings = ["the tenant acme is suspended"]
    assert await ask(folder, "GET", "/health") == {"status": "ok", "warnings": ["the tenant acme is suspended"]}
    suite.ill = True
    assert await ask(folder, "GET", "/health") == {"status": "failing", "reason": "database is gone"}


async def test_metrics_are_text_for_prometheus(folder: Path, suite: Suite) -> None:
    del suite
    transport = httpx2.AsyncHTTPTransport(uds=str(folder / "inbox.sock"))
    async with httpx2.AsyncClient(transport=transport) as http:
        answer = await http.get("http://inbox/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'inbox_uptime_seconds{a="x\\"\\n\\\\"} 1.5\n' in answer.text
    assert (await ask(folder, "GET", "/metrics.json") or {})["families"][0]["kind"] == "gauge"


async def test_reload_tells_what_was_left_as_it_was(folder: Path, suite: Suite) -> None:
    assert await ask(folder, "POST", "/reload") == {"problems": []}
    suite.problems = ["acme.yaml:3:5: unknown key"]
    assert await ask(folder, "POST", "/reload") == {"problems": ["acme.yaml:3:5: unknown key"]}
    assert suite.reloads == 2


async def test_a_tenant_s_policy_is_taken_up(folder: Path, suite: Suite) -> None:
    assert await ask(folder, "POST", "/policies/acme") == {"problems": [], "plugins": {"acme": "enforce"}}
    assert await ask(folder, "POST", "/policies/no%20name") == {
        "problems": ["'no name' cannot be the name of a policy file"]
    }
    suite.problems = ["acme.yaml:3:5: unknown key"]
    answer = await ask(folder, "POST", "/policies/acme")
    assert answer is not None
    assert answer["problems"] == suite.problems


async def test_only_the_owner_may_open_the_socket(folder: Path, suite: Suite) -> None:
    assert (folder / "inbox.sock").stat().st_mode & 0o777 == 0o600


async def test_a_second_server_is_refused_and_the_first_continues(folder: Path, suite: Suite) -> None:
    with pytest.raises(ConfigError, match="another server"):
        await AdminServer(folder / "inbox.sock", Suite()).start()
    assert await ask(folder, "GET", "/health") == {"status": "ok"}


async def test_the_socket_of_a_killed_server_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "inbox.sock"))
        left.listen()
    assert await ask(folder, "GET", "/health") is None
    server = AdminServer(folder / "inbox.sock", Suite())
    await server.start()
    assert await ask(folder, "GET", "/health") == {"status": "ok"}
    await server.stop()


async def test_nobody_there(folder: Path) -> None:
    assert await ask(folder, "GET", "/health") is None


async def test_the_process_that_listens_on_a_socket(folder: Path, suite: Suite) -> None:
    assert owner(folder / "inbox.sock") == os.getpid()
    assert owner(folder / "other.sock") is None


async def test_invalid_answers(folder: Path) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{")
        writer.close()

    async with await asyncio.start_unix_server(nonsense, folder / "inbox.sock"):
        with pytest.raises(InboxError, match="does not answer: "):
            await request(folder / "inbox.sock", "GET", "/status", 10)


async def test_a_path_that_is_too_long_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        await AdminServer(folder / ("d" * 120) / "inbox.sock", Suite()).start()
