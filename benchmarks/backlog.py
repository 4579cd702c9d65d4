"""One worker process with a long queue: CPU while idle, memory, and a live destination beside a dead one.

Two installations of each database take turns: one with an empty queue, one with a backlog for a destination that
refuses connections. In each round, a new worker delivers the same number of messages to a live destination; its rate is
that between the first and the last message of the sink, its memory the highest RSS (VmHWM of proc(5)) of its processes.

    python -m benchmarks backlog
    BENCH_BACKLOG_JOBS=1000000 BENCH_BACKLOG_DATABASE=sqlite python -m benchmarks backlog
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing

from benchmarks.claiming import add_jobs
from benchmarks.delivery import folder_for
from benchmarks.memory import high_water
from benchmarks.support import Result, Skipped, cpu_seconds, descendants, free_port, machine, median_ratio, until
from inbox.app.wiring.installation import Installation
from inbox.mail.content import MemoryContent
from inbox.store.ports.ingest import Indexed, IndexedMessage
from inbox.store.ports.queue import Job, JobRecipient
from tests.support.counting_sink import CountingSink, counting_sink
from tests.support.queue_processes import QueueProcesses
from tests.support.store import IDS, email
from tests.support.surreal_server import FOLDER, SurrealServer

JOBS = int(os.environ.get("BENCH_BACKLOG_JOBS", "100000"))
LIVE = int(os.environ.get("BENCH_BACKLOG_LIVE", "5000"))
DATABASES = os.environ.get("BENCH_BACKLOG_DATABASE", "sqlite surreal").split()
IDLE_SECONDS = float(os.environ.get("BENCH_BACKLOG_IDLE", "60"))
ROUNDS = 3
LIMIT_SECONDS = 300.0
STEADY = 0.9
MEMORY_MB = 200
IDLE_PERCENT = 1.0
#: The defaults of a server, instead of those of tests.
SETTINGS = {
    "SMTP_OUTBOUND_QUEUE_LEASE_SECS": "120",
    "SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS": "2",
    "SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS": "30",
}
POLICY = """\
plugins:
  recipients: {{}}
outbound:
  tls: opportunistic
  connections: 20
  smarthost: {{host: 127.0.0.1, port: {live}}}
  destinations:
    dead.test: {{smarthost: {{host: 127.0.0.1, port: {dead}}}}}
"""
DAY = 86_400.0


class Side:
    """An installation, and the figures of its runs: messages a second, CPU ms of a message, and octets."""

    def __init__(self, stack: ExitStack, sink: CountingSink, environment: Mapping[str, str]) -> None:
        self._sink = sink
        self.workers = QueueProcesses(folder_for(stack, None), sink.port, {**SETTINGS, **environment})
        self.workers.server.policy("default.yaml", POLICY.format(live=sink.port, dead=free_port()))
        stack.enter_context(closing(self.workers))
        self._first = 0
        self.rates: list[float] = []
        self.cpu: list[float] = []
        self.memory: list[int] = []

    def fill(self) -> None:
        """Adds the backlog."""

        async def work(installation: Installation) -> None:
            tenant = await installation.database.tenants.by_name("demo")
            assert tenant is not None
            mail, now = email(tenant.id), time.time()
            await installation.blobs.put(mail.blob_path, MemoryContent(b"Subject: x\r\n\r\nbody\r\n"))
            first = Job(IDS.new(), "ann@demo.test", (JobRecipient("0@dead.test"),), "dead.test", now, now + DAY)
            await installation.database.writer.write(Indexed((IndexedMessage(mail, (), jobs=(first,)),)))
            await add_jobs(installation.database.queue, tenant.id, mail.id, JOBS - 1, lambda _: "dead.test")

        self.workers.database(work)

    def idle(self) -> float:
        """The percentage of a core that a worker without jobs uses."""
        process = self.workers.start()
        self.workers.ready()
        # What it does once after the start is no part of it.
        time.sleep(5)
        before, began = cpu_seconds(process.pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        used = (cpu_seconds(process.pid) - before) / (time.monotonic() - began)
        del self.workers.running[process.name]
        process.stop()
        return used * 100

    def run(self) -> None:
        """Delivers messages to the live destination with a new worker."""
        taken = len(self._sink.dots)
        self.workers.enqueue(LIVE, self._first)
        self._first += LIVE
        process = self.workers.start()
        until(lambda: len(self._sink.dots) > taken, LIMIT_SECONDS, "the worker delivers", 0.002)
        began, begun, used = time.perf_counter(), len(self._sink.dots), cpu_seconds(process.pid)
        until(lambda: len(self._sink.dots) >= taken + LIVE, LIMIT_SECONDS, f"{LIVE} messages are delivered", 0.002)
        delivered = taken + LIVE - begun
        self.rates.append(delivered / (time.perf_counter() - began))
        self.cpu.append((cpu_seconds(process.pid) - used) / delivered * 1e3)
        self.memory.append(sum(high_water(pid) for pid, _ in descendants(process.pid)))
        del self.workers.running[process.name]
        process.stop()


def run() -> list[Result]:
    """All databases, one after the other.

    Raises:
        Skipped: the engine of SurrealDB is not installed.
        Failed: a message was not delivered.
    """
    print(f"  {machine()}")
    lines: list[Result] = []
    if "sqlite" in DATABASES:
        lines += _database("SQLite", {}, {})
    if "surreal" in DATABASES:
        if not (FOLDER / "node_modules").exists():
            raise Skipped(f"the engine of SurrealDB is not installed ({FOLDER}: npm ci)")
        with ExitStack() as stack:
            engine = SurrealServer(folder_for(stack, None) / "engine")
            engine.start()
            stack.callback(engine.kill)
            lines += _database("SurrealDB", engine.environment("empty"), engine.environment("backlog"))
    return lines


def _database(name: str, of_empty: Mapping[str, str], of_full: Mapping[str, str]) -> list[Result]:
    with ExitStack() as stack:
        sink = stack.enter_context(counting_sink())
        empty, full = Side(stack, sink, of_empty), Side(stack, sink, of_full)
        idle = empty.idle()
        print(f"  {name}: an idle worker uses {idle:.2f} % of a core", flush=True)
        began = time.monotonic()
        full.fill()
        print(f"  {name}: {JOBS} jobs added in {time.monotonic() - began:.0f} s", flush=True)
        for number in range(ROUNDS):
            for side, what in ((empty, "empty"), (full, "backlog")):
                side.run()
                print(
                    f"  {name}, round {number + 1}, {what:7}: {side.rates[-1]:5.0f} mails/s, "
                    f"{side.cpu[-1]:.2f} ms of CPU, VmHWM {side.memory[-1] / 1e6:.0f} MB",
                    flush=True,
                )
    ratio = median_ratio(full.rates, empty.rates)
    grown = (max(full.memory) - max(empty.memory)) / 1e6
    return [
        Result(f"CPU of an idle worker, {name}", f"{idle:.2f} %", target=f"< {IDLE_PERCENT:g} %",
               met=idle < IDLE_PERCENT),
        Result(f"memory of a worker with {JOBS} jobs, {name}", f"{max(full.memory) / 1e6:.0f} MB",
               f"ours, none: {max(empty.memory) / 1e6:.0f} MB", None, f"< {MEMORY_MB} MB more", grown < MEMORY_MB),
        Result(f"live destination beside {JOBS} jobs for a dead one, {name}",
               f"{statistics.median(full.rates):.0f} mails/s",
               f"ours, alone: {statistics.median(empty.rates):.0f} mails/s", ratio, f">= {STEADY:g}", ratio >= STEADY),
        Result(f"CPU time of the worker beside {JOBS} jobs for a dead destination, {name}",
               f"{statistics.median(full.cpu):.2f} ms", f"ours, alone: {statistics.median(empty.cpu):.2f} ms",
               median_ratio(empty.cpu, full.cpu)),
    ]  # fmt: skip
