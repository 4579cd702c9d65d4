"""Real processes that work on one queue (``inbox serve --only queue``), and jobs for them."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from inbox.app.admin import AdminClient
from inbox.app.config.loading import load
from inbox.app.wiring.installation import Installation, opened
from inbox.mail.content import MemoryContent
from inbox.store.ports.ingest import Indexed, IndexedMessage
from inbox.store.ports.job_filter import JobFilter
from inbox.store.ports.queue import Job, JobRecipient, QueuedJob
from tests.support.counting_sink import CountingSink, counting_sink
from tests.support.server import COMMAND, RunningServer
from tests.support.store import IDS, email
from tests.support.surreal_server import SurrealServer, server
from tests.support.waiting import until

Found = TypeVar("Found")

POLICY = """\
plugins:
  recipients: {{}}
outbound:
  tls: opportunistic
  connections: {connections}
  smarthost: {{host: 127.0.0.1, port: {port}}}
"""
#: A lease ends soon after a kill, and waits after an unknown outcome are short.
QUICK = {
    "SMTP_OUTBOUND_QUEUE_LEASE_SECS": "6",
    "SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS": "1",
    "SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS": "1",
}
DAY = 86_400.0
#: The message of all jobs.
MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
#: Messages of one transaction; each has one job.
BATCH = 100
#: Seconds for a run with kills.
LONG = 300.0


@dataclass
class Process:
    """A running worker. Its name is what it says in EHLO."""

    name: str
    data: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def suspend(self, database: Path) -> None:
        """SIGSTOP, at a moment at which the worker does not lock the database, if that is a file."""
        while True:
            self.signal(signal.SIGSTOP)
            if not database.exists():
                return
            with closing(sqlite3.connect(database, timeout=0.2, isolation_level=None)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    self.signal(signal.SIGCONT)
                    continue
                connection.execute("ROLLBACK")
                return

    def held(self) -> int:
        """The number of jobs that it holds; waits for its admin socket, which comes after its first jobs."""
        admin = AdminClient(self.data / "inbox.sock")
        status: dict[str, Any] = until(lambda: admin.call("GET", "/status") or {}, f"{self.name} answers")
        return int(status["outbound"]["jobs"])

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def sink() -> Iterator[CountingSink]:
    """A server to which all mail goes."""
    with counting_sink() as running:
        yield running


@pytest.fixture(params=["sqlite", "surreal"])
def workers(request: pytest.FixtureRequest, tmp_path: Path, sink: CountingSink) -> Iterator[QueueProcesses]:
    """An installation on each database; no worker runs yet."""
    engine = server(tmp_path / "engine") if request.param == "surreal" else None
    folder = tmp_path / "installation"
    folder.mkdir()
    made = QueueProcesses(folder, sink.port, engine.environment("workers") if engine else {}, connections=5)
    made.engine = engine
    yield made
    made.close()
    if engine is not None:
        engine.kill()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run in which workers were killed.

    Attributes:
        lost: recipients that got nothing.
        doubled: recipients that got more than one copy.
        unsettled: recipients whose final dot a killed worker had sent, or was about to, without an outcome in the
            queue: whether they got a copy is unknown to the others.
        left: jobs that are in the queue at the end.
    """

    lost: set[str]
    doubled: set[str]
    unsettled: set[str]
    left: int

    @property
    def wrong(self) -> set[str]:
        """Recipients that got a second copy although the outcome of the first was known."""
        return self.doubled - self.unsettled


@dataclass
class QueueProcesses:
    """Worker processes over one installation, and the jobs in its queue.

    Args:
        folder: of the installation.
        port: the server to which all mail goes.
        environment: further variables, such as those of SurrealDB.
    """

    folder: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    connections: int = 20
    running: dict[str, Process] = field(default_factory=dict)
    engine: SurrealServer | None = None
    jobs: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.server = RunningServer(self.folder, (), environment={**QUICK, **self.environment})
        self.server.policy("default.yaml", POLICY.format(connections=self.connections, port=self.port))
        self.server.populate()

    def start(self, *more: str) -> Process:
        """Starts one more worker; :meth:`ready` waits for it."""
        name = f"w{next(self._numbers)}.test"
        own, log = self.folder / name, self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, "serve", "--only", "queue", *more],
                env={**self.server.env, **self._shared, "INBOX_DATA_DIR": str(own), "SERVER_HOSTNAME": name},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.running[name] = made = Process(name, own, log, process)
        return made

    def ready(self) -> None:
        """Waits until all workers have started."""
        for each in self.running.values():
            until(lambda each=each: '"started"' in each.log.read_text(), f"{each.name} has started")  # type: ignore[misc]

    @property
    def _shared(self) -> dict[str, str]:
        """Database and blobs; each process has a data folder of its own, with its admin socket."""
        data = self.server.data
        return {
            "DATABASE_URL": self.environment.get("DATABASE_URL", f"sqlite:///{data / 'inbox.db'}"),
            "INBOX_INCOMING_DIR": str(data / "incoming"),
        }

    @property
    def file(self) -> Path:
        """The file of the database; it does not exist with SurrealDB."""
        return self.server.data / "inbox.db"

    def close(self) -> None:
        """Ends all workers."""
        for each in self.running.values():
            if each.process.poll() is None:
                each.stop()

    def enqueue(self, count: int, first: int = 0, *, before: Callable[[], object] = lambda: None) -> list[str]:
        """Adds jobs for ``{number}@remote.test``; returns their recipients. Calls ``before`` between the blob and the
        jobs."""
        recipients = [f"{number}@remote.test" for number in range(first, first + count)]

        async def work(installation: Installation) -> None:
            tenant = await installation.database.tenants.by_name("demo")
            assert tenant is not None
            now = time.time()
            path = email(tenant.id).blob_path
            await installation.blobs.put(path, MemoryContent(MESSAGE))
            before()
            for begin in range(0, count, BATCH):
                jobs = tuple(
                    Job(IDS.new(), "ann@demo.test", (JobRecipient(to),), "remote.test", now, now + DAY)
                    for to in recipients[begin : begin + BATCH]
                )
                self.jobs += [job.id for job in jobs]
                mails = (email(tenant.id, blob_path=path, size=len(MESSAGE)) for _ in jobs)
                messages = (IndexedMessage(mail, (), jobs=(job,)) for mail, job in zip(mails, jobs, strict=True))
                await installation.database.writer.write(Indexed(tuple(messages)))

        self.database(work)
        return recipients

    def retry(self) -> None:
        """Makes all jobs due, as ``inbox queue retry`` does."""

        async def work(installation: Installation) -> None:
            tenant = await installation.database.tenants.by_name("demo")
            assert tenant is not None
            await installation.database.queue.retry(tenant.id, self.jobs, DAY)

        self.database(work)

    def deliver(self, sink: CountingSink, jobs: int, kills: Sequence[float], first: int = 0) -> Outcome:
        """Delivers jobs while workers are killed, each of which is replaced.

        Args:
            kills: how much of the jobs is delivered at each kill, from 0 to 1, in order.
            first: the number of the first recipient.
        """
        begun = len(sink.dots)
        wanted = self.enqueue(jobs, first)
        unsettled: set[str] = set()
        for part in kills:
            until(lambda part=part: len(sink.dots) - begun >= part * jobs, "so many are delivered")  # type: ignore[misc]
            # The worker of the latest message is certainly in the middle of its work.
            victim = self.running.pop(sink.dots[-1].client)
            victim.kill()
            unsettled |= self.unsettled(victim)
            self.start()
        until(lambda: set(wanted) <= sink.counts().keys() and self.left() == 0, "the queue is empty", LONG)
        counts = sink.counts()
        doubled = {each for each in wanted if counts[each] > 1}
        return Outcome({each for each in wanted if not counts[each]}, doubled, unsettled, self.left())

    def unsettled(self, worker: Process) -> set[str]:
        """The recipients of jobs that this worker holds and whose final dot it has sent, or was about to."""

        async def work(installation: Installation) -> set[str]:
            found: set[str] = set()
            page: list[QueuedJob] = []
            wanted = JobFilter(status="processing")
            while page := await installation.database.queue.jobs(None, wanted, after=page[-1] if page else None):
                found |= {
                    to.address
                    for each in page
                    for to in each.job.recipients
                    if each.dot_sent_at > 0 and (each.lease_owner or "").startswith(f"{worker.name} ")
                }
            return found

        return self.database(work)

    def deliveries(self) -> dict[str, int]:
        """The number of attempts of each delivered job, by recipient."""

        async def work(installation: Installation) -> dict[str, int]:
            tenant = await installation.database.tenants.by_name("demo")
            assert tenant is not None
            found = (await installation.database.queue.delivery(tenant.id, job) for job in self.jobs)
            return {one.recipients[0].address: len(one.history) async for one in found if one is not None}

        return self.database(work)

    def left(self) -> int:
        """The number of jobs in the queue."""

        async def work(installation: Installation) -> int:
            found = await installation.database.queue.count(None)
            return sum(each.queued + each.processing + each.held + each.dead for each in found)

        return self.database(work)

    def database(self, work: Callable[[Installation], Awaitable[Found]]) -> Found:
        """Runs ``work`` on the installation."""

        async def run() -> Found:
            async with opened(load(self.server.env)) as installation:
                return await work(installation)

        return asyncio.run(run())
