"""The first process speaks for all: the others are real admin sockets."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from inbox.app.admin import AdminServer
from inbox.app.serve import group as module
from inbox.app.serve.group import Group, socket_of
from inbox.base.errors import StoreUnavailable
from inbox.base.metrics import Family, gauge, rendered


def failing(plugin: str, failures: int, breaker: str = "closed") -> dict[str, Any]:
    return {"plugin": plugin, "settings": "s", "failures": failures, "breaker": breaker, "why": "gone"}


class Process:
    """One process of a server."""

    def __init__(self, pid: int, *failing: dict[str, Any], problems: tuple[str, ...] = (), policy: str = "") -> None:
        self.pid = pid
        self.failing = list(failing)
        self.problems = list(problems)
        self.policy = policy
        self.reloads = 0

    async def health(self) -> list[str]:
        if self.policy:
            raise StoreUnavailable("no room")
        return []

    async def reload(self) -> list[str]:
        self.reloads += 1
        return self.problems

    async def status(self) -> dict[str, Any]:
        told = {"version": "1", "pid": self.pid, "uptime_seconds": 5, "listeners": {}}
        return {
            **told, "policy_error": self.policy, "failing_plugins": self.failing,
            "suspended_tenants": [], "log": {"lost": 0, "why": ""}, "rate_counters": "",
        }  # fmt: skip

    async def metrics(self) -> list[Family]:
        return [gauge("inbox_uptime_seconds", "Uptime.", [({}, float(self.pid))])]

    async def take_policy(self, tenant: str) -> dict[str, Any]:
        return {"problems": self.problems, "plugins": {tenant: "enforce"}}


@pytest.fixture
def first() -> Iterator[Path]:
    """A short path: a Unix socket's name has 107 octets at most."""
    folder = Path(tempfile.mkdtemp(prefix="inbox"))
    yield folder / "inbox.sock"
    shutil.rmtree(folder)


async def serving(stack: AsyncExitStack, path: Path, process: Process) -> None:
    server = AdminServer(path, process)
    await server.start()
    stack.push_async_callback(server.stop)


def test_each_process_has_a_socket_of_its_own() -> None:
    assert [str(socket_of(Path("/d/inbox.sock"), index)) for index in range(3)] == [
        "/d/inbox.sock",
        "/d/inbox-1.sock",
        "/d/inbox-2.sock",
    ]


async def test_the_status_is_that_of_all_processes(first: Path) -> None:
    own = Process(1, failing("clamav", 2), failing("spf", 1))
    other = Process(2, failing("clamav", 7, "open"), policy="a.yaml:1:1: no")
    async with AsyncExitStack() as stack:
        await serving(stack, socket_of(first, 1), other)
        status = await Group(own, [socket_of(first, 1)]).status()
    assert status["pid"] == 1
    assert status["policy_error"] == ""
    assert status["failing_plugins"] == [
        {**failing("clamav", 7, "open"), "pid": 2},
        {**failing("spf", 1), "pid": 1},
    ]
    assert status["processes"] == [
        {
            "index": 0, "answers": True, "pid": 1, "uptime_seconds": 5, "failing_plugins": own.failing,
            "policy_error": "", "suspended_tenants": [], "log": {"lost": 0, "why": ""},
            "rate_counters": "",
        },
        {
            "index": 1, "answers": True, "pid": 2, "uptime_seconds": 5, "failing_plugins": other.failing,
            "policy_error": "a.yaml:1:1: no", "suspended_tenants": [], "log": {"lost": 0, "why": ""},
            "rate_counters": "",
        },
    ]  # fmt: skip


async def test_a_process_that_does_not_answer_is_reported(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATUS_SECONDS", 0.1)
    monkeypatch.setattr(module, "RELOAD_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(socket_of(first, 1)))
        hanging.listen()
        group = Group(Process(1), [socket_of(first, 1), socket_of(first, 2)])
        _, hangs, gone = (await group.status())["processes"]
        problems = await group.reload()
    ours = os.getpid()
    assert hangs == {
        "index": 1, "answers": False, "pid": ours, "why": f"process 1 (pid {ours}) does not answer within 0 s",
    }  # fmt: skip
    why = "process 2 does not answer: it is still starting, or has ended"
    assert gone == {"index": 2, "answers": False, "pid": None, "why": why}
    assert problems == [f"{each['why']}: it continues with what it has" for each in (hangs, gone)]


async def test_all_processes_reload_and_equal_errors_are_reported_once(first: Path) -> None:
    processes = [Process(1, problems=("a", "b")), Process(2, problems=("b", "c"))]
    async with AsyncExitStack() as stack:
        await serving(stack, socket_of(first, 1), processes[1])
        assert await Group(processes[0], [socket_of(first, 1)]).reload() == ["a", "b", "c"]
    assert [process.reloads for process in processes] == [1, 1]


async def test_health_is_that_of_the_first(first: Path) -> None:
    await Group(Process(1), [socket_of(first, 1)]).health()
    with pytest.raises(StoreUnavailable, match="no room"):
        await Group(Process(1, policy="x"), []).health()


async def test_the_metrics_are_those_of_all_processes(first: Path) -> None:
    async with AsyncExitStack() as stack:
        await serving(stack, socket_of(first, 1), Process(7))
        text = rendered(await Group(Process(5), [socket_of(first, 1), socket_of(first, 2)]).metrics())
    assert text.splitlines() == [
        "# HELP inbox_process_up 1 if the server process answers.",
        "# TYPE inbox_process_up gauge",
        'inbox_process_up{process="0"} 1',
        'inbox_process_up{process="1"} 1',
        'inbox_process_up{process="2"} 0',
        "# HELP inbox_uptime_seconds Uptime.",
        "# TYPE inbox_uptime_seconds gauge",
        'inbox_uptime_seconds{process="0"} 5',
        'inbox_uptime_seconds{process="1"} 7',
    ]
