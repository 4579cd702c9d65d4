"""A server that sends mail to a host that hangs up, stalls, is slow or talks nonsense, and is back again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_queue_away import submit
from tests.e2e.test_sending import POLICY, QUICK, jobs
from tests.e2e.test_submission import connected
from tests.support.counting_sink import CountingSink
from tests.support.server import RunningServer
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]

Fault = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WEB = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
BOB = "bob@elsewhere.test"


async def hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def is_a_web_server(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(WEB)
    await writer.drain()


async def stalls(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def stalls_after_its_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 slow.test ESMTP\r\n")
    await reader.read()


async def is_slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Five octets of a greeting a second, without an end."""
    while not writer.is_closing():
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.2)


async def talks_nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"\xff\x00\xfe" * 1000)
        await writer.drain()


class Host:
    """A server in front of the sink that does what ``fault`` says, or passes everything on."""

    def __init__(self, target: int) -> None:
        self.fault: Fault | None = None
        self.connections = 0
        self.port = 0
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listens: threading.Event, ends: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        listens.set()
        await ends.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        with contextlib.closing(writer), contextlib.suppress(OSError):
            if self.fault is not None:
                await self.fault(reader, writer)
                return
            inner, outer = await asyncio.open_connection("127.0.0.1", self._target)
            with contextlib.closing(outer):
                await asyncio.gather(pump(reader, outer), pump(inner, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
def host(sink: CountingSink) -> Iterator[Host]:
    made, listens, ends = Host(sink.port), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(made.serve(listens, ends)))
    thread.start()
    listens.wait()
    yield made
    loop.call_soon_threadsafe(ends.set)
    thread.join()
    loop.close()


@pytest.fixture
def server(tmp_path: Path, host: Host) -> Iterator[RunningServer]:
    quick = {**QUICK, "SMTP_OUTBOUND_TIMEOUT_SECS": "2", "SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS": "3600"}
    made = RunningServer(tmp_path, ("smtp", "submission", "submissions", "imaps"), environment=quick)
    made.populate()
    made.policy("default.yaml", POLICY.format(port=host.port))
    yield made.start()
    made.close()


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        (hangs_up, "greeting"),
        (is_a_web_server, "greeting"),
        (stalls, "greeting"),
        (stalls_after_its_greeting, "ehlo"),
        (is_slow, "greeting"),
        (talks_nonsense, "greeting"),
    ],
)
def test_a_host_that_fails_leaves_the_mail_waiting(
    server: RunningServer, sink: CountingSink, host: Host, fault: Fault, stage: str
) -> None:
    host.fault = fault
    with connected(server, "submission") as client:
        assert submit(client, BOB)[0] == 250
    until(lambda: any(job.attempts == 1 and job.status == "queued" for job in jobs(server)), "an attempt has ended", 15)
    (job,) = jobs(server)
    assert (job.states[0].status, job.history[0].stage, job.states[0].code) == ("pending", stage, 0)
    assert host.connections == 1

    host.fault = None
    assert server.cli("queue", "retry", "--tenant", "demo").returncode == 0
    until(lambda: jobs(server) == [], "the queue is empty")
    assert sink.counts() == {BOB: 1}


def test_a_host_that_drops_the_connection_after_the_dot_gets_the_message_again_later(
    server: RunningServer, sink: CountingSink
) -> None:
    sink.answer = lambda _: None
    with connected(server, "submission") as client:
        assert submit(client, BOB)[0] == 250
    until(lambda: any(job.attempts == 1 and job.status == "queued" for job in jobs(server)), "an attempt has ended")
    (job,) = jobs(server)
    assert (job.states[0].status, job.history[0].stage) == ("pending", "dot")
    assert job.next_attempt_at - job.job.created_at >= 3600, "a full back-off"
    assert sink.counts() == {BOB: 1}, "and no other connection meanwhile"

    sink.answer = lambda _: "250 2.0.0 Ok"
    assert server.cli("queue", "retry", "--tenant", "demo").returncode == 0
    until(lambda: jobs(server) == [], "the queue is empty")
    assert sink.counts() == {BOB: 2}
    first, second = (dot.head.partition(b"Message-ID:")[2].split(b"\r\n")[0] for dot in sink.dots)
    assert first == second != b""
