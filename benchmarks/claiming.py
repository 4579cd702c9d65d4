"""Claiming: the time to claim jobs from a small and from a large queue, on SQLite and on SurrealDB.

Jobs are added through the database's own port, as acceptance does it, but many for one message. The claims are made of
the small and the large queue in turn, so that a busier moment does not hit one side alone. A worker's
memory is that of the process that claims, measured before and after.

    python -m benchmarks claiming
    BENCH_CLAIMING_JOBS=1000000 python -m benchmarks claiming
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.delivery import folder_for
from benchmarks.support import Result, Skipped, machine
from inbox.store.ports import Database
from inbox.store.ports.queue import Job, JobRecipient, Queue
from tests.support.chaos import database_of
from tests.support.store import IDS, home
from tests.support.surreal_server import FOLDER, SurrealServer

SIZES = (1000, int(os.environ.get("BENCH_CLAIMING_JOBS", "100000")))
ROUNDS = 15
CLAIM = 20
BATCH = 1000
DAY = 86_400.0
TARGET = 1.5
MEMORY_MB = 200


def run() -> list[Result]:
    """Both databases.

    Raises:
        Skipped: the engine of SurrealDB is not installed.
    """
    print(f"  {machine()}")
    with ExitStack() as stack:
        folder = folder_for(stack, None)
        files = [str(folder / f"{size}.db") for size in SIZES]
        lines = asyncio.run(_compared("sqlite", "SQLite", files))
        if not (FOLDER / "node_modules").exists():
            raise Skipped(f"the engine of SurrealDB is not installed ({FOLDER}: npm ci)")
        engine = SurrealServer(folder / "engine")
        engine.start()
        stack.callback(engine.kill)
        places = [f"{engine.url} claiming q{size}" for size in SIZES]
        return lines + asyncio.run(_compared("surreal", "SurrealDB", places))


async def _compared(kind: str, name: str, places: list[str]) -> list[Result]:
    databases = [database_of(kind, place) for place in places]
    try:
        for database, size in zip(databases, SIZES, strict=True):
            await database.open()
            began = time.perf_counter()
            await _fill(database, size)
            print(f"  {name}: {size} jobs added in {time.perf_counter() - began:.0f} s", flush=True)
        before = _memory_mb()
        times: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for database, taken in zip(databases, times, strict=True):
                began = time.perf_counter()
                found = await database.queue.lease("bench", CLAIM, 600.0)
                taken.append(time.perf_counter() - began)
                assert len(found) == CLAIM
        grown = _memory_mb() - before
    finally:
        for database in databases:
            await database.close()
    small, large = (statistics.median(taken) * 1e3 for taken in times)
    what = f"claiming {CLAIM} of {SIZES[1]} jobs, {name}"
    return [
        Result(what, f"{large:.1f} ms", f"ours, of {SIZES[0]}: {small:.1f} ms", large / small, f"<= {TARGET:g}",
               large / small <= TARGET),
        Result(f"memory of {what}", f"{grown:.0f} MB more", target=f"< {MEMORY_MB} MB", met=grown < MEMORY_MB),
    ]  # fmt: skip


async def _fill(database: Database, size: int) -> None:
    tenant = await home(database)
    mail = (await tenant.deliver()).email
    await add_jobs(database.queue, tenant.tenant, mail, size, lambda number: f"d{number % 50}.test")


async def add_jobs(queue: Queue, tenant: str, mail: str, size: int, domain: Callable[[int], str]) -> None:
    """Adds jobs of one message. ``domain`` gives the destination of each, by number."""
    now = time.time()
    for begin in range(0, size, BATCH):
        numbers = range(begin, min(begin + BATCH, size))
        jobs = [
            Job(IDS.new(), "ann@acme.test", (JobRecipient(f"{each}@{domain(each)}"),), domain(each), now, now + DAY)
            for each in numbers
        ]
        await queue.enqueue(tenant, mail, jobs)


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
