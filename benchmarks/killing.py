"""Kills: one of three worker processes is killed in the middle of a run, on SQLite and on SurrealDB.

Each run delivers jobs to a sink that counts the copies of each. A worker is killed with SIGKILL when a part of the run,
different in each, is delivered; another one takes its place. No message may be lost. A second copy is unavoidable where
a worker was killed between the final dot and the record of its outcome; the figures show how many there were.

    python -m benchmarks killing
    BENCH_KILLING_JOBS=5000 BENCH_KILLING_RUNS=10 python -m benchmarks killing
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing

from benchmarks.delivery import folder_for
from benchmarks.support import Failed, Result, Skipped, machine
from tests.support.counting_sink import CountingSink, counting_sink
from tests.support.queue_processes import Outcome, QueueProcesses
from tests.support.surreal_server import FOLDER, SurrealServer

JOBS = int(os.environ.get("BENCH_KILLING_JOBS", "1000"))
RUNS = int(os.environ.get("BENCH_KILLING_RUNS", "2"))
WORKERS = 3
#: Long enough to read, after a kill, what the killed worker held.
LEASE = {"SMTP_OUTBOUND_QUEUE_LEASE_SECS": "30"}


def run() -> list[Result]:
    """Both databases, one after the other.

    Raises:
        Failed: a run did not end.
    """
    print(f"  {machine()}")
    lines = [_database("SQLite", {})]
    if not (FOLDER / "node_modules").exists():
        raise Skipped(f"the engine of SurrealDB is not installed ({FOLDER}: npm ci)")
    with ExitStack() as stack:
        engine = SurrealServer(folder_for(stack, None) / "engine")
        engine.start()
        stack.callback(engine.kill)
        lines.append(_database("SurrealDB", engine.environment("killing")))
    return lines


def _database(name: str, environment: Mapping[str, str]) -> Result:
    with ExitStack() as stack:
        sink = stack.enter_context(counting_sink())
        workers = QueueProcesses(folder_for(stack, None), sink.port, {**LEASE, **environment})
        stack.enter_context(closing(workers))
        for _ in range(WORKERS):
            workers.start()
        outcomes = [_run(name, workers, sink, number) for number in range(RUNS)]
    lost, doubled, wrong = (sum(len(getattr(one, what)) for one in outcomes) for what in ("lost", "doubled", "wrong"))
    return Result(
        f"kill -9 of one of {WORKERS} workers, {RUNS} times, each in {JOBS} jobs; {name}",
        f"{lost} lost, {doubled} sent twice, {wrong} of them needlessly",
        target="0 lost, 0 needlessly",
        met=not lost and not wrong,
    )


def _run(name: str, workers: QueueProcesses, sink: CountingSink, number: int) -> Outcome:
    workers.ready()
    began = time.monotonic()
    part = (number + 0.5) / (RUNS + 1)
    try:
        outcome = workers.deliver(sink, JOBS, [part], first=number * JOBS)
    except AssertionError as error:
        raise Failed(f"{name}, run {number + 1}: {error}") from error
    print(
        f"  {name}, run {number + 1:2}: killed at {part:4.0%}, {len(outcome.lost)} lost, "
        f"{len(outcome.unsettled)} outcomes unknown, {len(outcome.doubled)} sent twice, {len(outcome.wrong)} of them "
        f"needlessly ({time.monotonic() - began:.0f} s)",
        flush=True,
    )
    return outcome
