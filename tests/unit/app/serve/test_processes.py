"""Several processes behind the same sockets: real ones, under a real parent."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from inbox.app.admin import AdminClient
from inbox.app.serve import processes
from inbox.app.serve.processes import Processes
from inbox.store.worker.starting import WORKER, is_responsive
from tests.support.children import children, runs, workers
from tests.support.ports import free_port
from tests.support.server import COMMAND, NO_SENDING, RunningServer
from tests.support.waiting import TIMEOUT_SECONDS, until

pytestmark = pytest.mark.real

PROCESSES = 2


def servers(pid: int) -> set[int]:
    """Children that serve."""
    return children(pid) - workers(pid)


def all_run(pid: int) -> bool:
    return len(workers(pid)) == 1 and len(servers(pid)) == PROCESSES


def greets(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        return connection.recv(100).startswith(b"220 ")


@contextmanager
def parent(folder: Path, port: int, program: str = COMMAND) -> Iterator[subprocess.Popen[bytes]]:
    """``inbox serve --processes`` with its SMTP door on ``port``."""
    server = RunningServer(folder, names=())
    environment = {**server.env, "SMTP_TRANSFER_PORT": str(port), "IMAP_PORT": "0", "IMAPS_PORT": "0", **NO_SENDING}
    command = [sys.executable, "-c", program, "serve", "--processes", str(PROCESSES)]
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(TIMEOUT_SECONDS)


def test_a_child_that_dies_is_replaced_and_sigterm_ends_all(tmp_path: Path) -> None:
    port = free_port()
    with parent(tmp_path, port) as process:
        until(lambda: all_run(process.pid), "all children run")
        assert greets(port)
        first = children(process.pid)
        killed = min(servers(process.pid))
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(servers(process.pid) - {killed}) == PROCESSES, "the dead child is replaced")
        # The other one was left in peace. (The kernel may leave a child out of the list while another one comes.)
        until(lambda: (first - {killed}) < children(process.pid), "the other child is still there")
        assert greets(port)
        everybody = children(process.pid)
        process.terminate()
        assert process.wait(TIMEOUT_SECONDS) == 0
        assert [pid for pid in everybody if Path(f"/proc/{pid}").exists()] == []
    ended = re.findall(r'"code":\s*(-?\d+)', (tmp_path / "server.log").read_text())
    assert ended == [str(-signal.SIGKILL)]


def test_a_killed_parent_takes_its_children_along(tmp_path: Path) -> None:
    port = free_port()
    with parent(tmp_path, port) as process:
        until(lambda: all_run(process.pid), "all children run")
        assert greets(port)
        everybody = children(process.pid)
        process.kill()
        process.wait(TIMEOUT_SECONDS)
    until(lambda: not any(runs(pid) for pid in everybody), "the children end")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, names=("smtp",), processes=PROCESSES)
    server.populate()
    yield server
    server.close()


def call(server: RunningServer, method: str, path: str) -> dict[str, Any]:
    client = AdminClient(server.data / "inbox.sock")
    until(client.running, "the first process has its socket")
    answer = client.call(method, path)
    assert answer is not None
    return answer


def all_answer(server: RunningServer) -> bool:
    return all(process["answers"] for process in call(server, "GET", "/status")["processes"])


def send(server: RunningServer) -> int:
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=TIMEOUT_SECONDS) as client:
        client.ehlo("client.test")
        client.mail("bob@elsewhere.test")
        client.rcpt("ann@demo.test")
        return client.data(b"Subject: hello\r\n\r\nbody\r\n")[0]


#: ``inbox serve`` whose parent looks more often than it does for operators.
HURRIED = f"import inbox.app.serve.processes as p; p.WATCH_SECONDS = 1.5; {COMMAND}"


def test_a_server_that_is_stopped_is_killed_and_replaced(tmp_path: Path) -> None:
    port = free_port()
    with parent(tmp_path, port, HURRIED) as process:
        until(lambda: all_run(process.pid), "all children run")
        assert greets(port)
        stopped, *others = sorted(servers(process.pid))
        sockets = [tmp_path / "data" / name for name in ("inbox.sock", "inbox-1.sock")]
        until(lambda: all(path.exists() for path in sockets), "both serve")
        os.kill(stopped, signal.SIGSTOP)
        until(lambda: not runs(stopped), "the stopped one is killed")
        until(lambda: len(servers(process.pid)) == PROCESSES, "it is replaced")
        assert set(others) < servers(process.pid), "the other one is left in peace"
        assert greets(port)
    events = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines() if line.startswith("{")]
    [killed] = [event for event in events if event["event"] == "process_killed"]
    assert killed["pid"] == stopped
    assert killed["reason"] == "it gave no sign of life for 6 s"


def test_the_status_is_that_of_all_and_so_is_a_reload(server: RunningServer) -> None:
    server.start()
    assert server.process is not None
    until(lambda: all_answer(server), "all processes answer")
    status = call(server, "GET", "/status")
    assert {process["pid"] for process in status["processes"]} == servers(server.process.pid)
    assert {status["worker"]["pid"]} == workers(server.process.pid)
    assert call(server, "GET", "/health") == {"status": "ok"}

    server.policy("tenants/demo.yaml", "plugins: {clamv: {}}\n")
    problems = call(server, "POST", "/reload")["problems"]
    assert len(problems) == 1
    assert "unknown plugin 'clamv'" in problems[0]
    told = [process["policy_error"] for process in call(server, "GET", "/status")["processes"]]
    assert told == problems * PROCESSES


def test_a_plugin_that_fails_in_every_process_is_reported_once(server: RunningServer) -> None:
    server.policy("tenants/demo.yaml", 'plugins:\n  clamav: {enabled: true, address: "tcp://127.0.0.1:1"}\n')
    server.start()
    until(lambda: all_answer(server), "all processes answer")

    def fails_everywhere() -> bool:
        assert send(server) == 451
        return all(process["failing_plugins"] for process in call(server, "GET", "/status")["processes"])

    until(fails_everywhere, "both processes have had a mail")
    status = call(server, "GET", "/status")
    (told,) = status["failing_plugins"]
    assert told["plugin"] == "clamav"
    assert told["pid"] in {process["pid"] for process in status["processes"]}


def test_doctor_names_a_process_that_hangs(server: RunningServer) -> None:
    server.start()
    until(lambda: all_answer(server), "all processes answer")
    pid = call(server, "GET", "/status")["processes"][1]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        checks = json.loads(server.cli("doctor", "--json").stdout)["checks"]
    finally:
        os.kill(pid, signal.SIGCONT)
    told = [check["detail"] for check in checks if check["check"] == "server" and check["outcome"] == "fail"]
    assert len(told) == 1
    assert told[0].startswith(f"process 1 (pid {pid}) does not answer")


def test_a_worker_that_hangs_is_reported(server: RunningServer) -> None:
    server.start()
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    why = f"the worker process (pid {worker}) did not answer within 2 s"
    try:
        assert call(server, "GET", "/health") == {"status": "failing", "reason": why}
        told = call(server, "GET", "/status")["worker"]
    finally:
        os.kill(worker, signal.SIGCONT)
    assert told == {"name": "the worker process", "pid": worker, "answers": False, "why": why}
    until(lambda: call(server, "GET", "/health") == {"status": "ok"}, "it answers again")


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    port = free_port()
    with parent(tmp_path, port) as process:
        until(lambda: all_run(process.pid), "all children run")
        assert greets(port)
        before = servers(process.pid)
        (killed,) = workers(process.pid)
        os.kill(killed, signal.SIGKILL)
        until(lambda: bool(workers(process.pid) - {killed}), "the dead worker is replaced")
        assert servers(process.pid) == before


#: A server that does not hear that it shall stop.
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(3600)"


def made(monkeypatch: pytest.MonkeyPatch, program: str, worker: str | None = None) -> Processes:
    monkeypatch.setattr(processes, "CHILD", (sys.executable, "-c", program))
    return Processes([], 1, worker)


async def test_a_child_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STOP_SECONDS", "WORKER_STOP_SECONDS"):
        monkeypatch.setattr(processes, name, 0.05)
    ours = made(monkeypatch, DEAF, WORKER)
    run = asyncio.create_task(ours.run())
    here = os.getpid()
    both = await asyncio.to_thread(until, lambda: pair(here), "both run")
    assert both is not None
    worker, child = both
    assert await is_responsive(ours._handover, TIMEOUT_SECONDS)
    os.kill(worker, signal.SIGSTOP)
    os.kill(here, signal.SIGTERM)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await run
    assert not runs(worker)
    assert not runs(child)


def pair(pid: int) -> tuple[int, int] | None:
    """The worker and the deaf child of ``pid``."""
    found = {name: [each for each in children(pid) if name.encode() in words(each)] for name in (WORKER, "SIG_IGN")}
    return (found[WORKER][0], found["SIG_IGN"][0]) if all(found.values()) else None


def words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def test_a_worker_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = made(monkeypatch, DEAF, WORKER)
    monkeypatch.setattr(processes, "WATCH_SECONDS", 3600)
    worker = await ours._start_worker()
    assert await is_responsive(ours._handover, TIMEOUT_SECONDS)
    os.kill(worker.pid, signal.SIGSTOP)
    monkeypatch.setattr(processes, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(processes, "HANG_SECONDS", 0.05)
    await ours._watch(worker)
    assert await worker.wait() == -signal.SIGKILL
    ours.close()


async def test_one_that_could_not_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "PAUSES", (0.01, 0.01))
    ours, here = Processes([], 1), os.getpid()
    monkeypatch.setattr(processes, "CHILD", (str(tmp_path / "nothing"),))
    run = asyncio.create_task(ours.run())
    await asyncio.sleep(0.05)
    monkeypatch.setattr(processes, "CHILD", (sys.executable, "-c", "import time; time.sleep(3600)"))
    await asyncio.to_thread(until, lambda: any(b"3600" in words(each) for each in children(here)), "it is started")
    os.kill(here, signal.SIGTERM)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await run


class Ending:
    """A child that ends while it is being stopped: no process has that number any more."""

    pid = 0
    returncode = None

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def wait(self) -> int:
        await self.over.wait()
        return 0

    def send_signal(self, _number: int) -> None:
        self.over.set()
        raise ProcessLookupError


async def test_a_process_that_ends_while_it_is_being_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    parent_of_all, child = made(monkeypatch, "pass"), Ending()
    parent_of_all._stopping.set()
    await parent_of_all._until_it_ends("process 0", cast("asyncio.subprocess.Process", child), TIMEOUT_SECONDS)
    assert child.over.is_set()
    parent_of_all.close()


def test_a_child_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    for name in ("typer", "inbox", "structlog"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    done = subprocess.run(
        [*processes.CHILD[:-1], "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "inbox")


def given_up(code: int, times: str) -> str:
    """A child that notes its start and ends at once with this code."""
    return f"import sys; open({times!r}, 'a').write('x'); sys.exit({code})"


@pytest.mark.parametrize(("code", "starts", "ends_with"), [(78, 1, 78), (2, 1, 2), (1, 6, 1)])
async def test_a_parent_whose_children_do_not_stay_gives_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, starts: int, ends_with: int
) -> None:
    monkeypatch.setattr(processes, "PAUSES", (0.001, 0.2))
    # However long the start took, these codes say that no start succeeds.
    monkeypatch.setattr(processes, "EARLY_SECONDS", TIMEOUT_SECONDS if code == 1 else 0.0)
    monkeypatch.setattr(processes, "CHILD", (sys.executable, "-c", given_up(code, str(tmp_path / "starts"))))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await Processes([], 2).run() == ends_with
    assert len((tmp_path / "starts").read_text()) >= 2 * starts


async def test_a_parent_with_a_child_that_stays_does_not_give_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    stays = "import sys, time; time.sleep(3600 if sys.argv[sys.argv.index('--index') + 1] == '0' else 0); "
    program = stays + given_up(78, str(starts))
    monkeypatch.setattr(processes, "PAUSES", (0.001, 0.001))
    monkeypatch.setattr(processes, "CHILD", (sys.executable, "-c", program))
    run = asyncio.create_task(Processes([], 2).run())
    await asyncio.to_thread(until, lambda: starts.exists() and len(starts.read_text()) > 2, "it is tried again")
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await run == 0
