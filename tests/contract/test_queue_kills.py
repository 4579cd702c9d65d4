"""Workers that are killed between lease and finish: no job is lost, none is delivered for the queue twice."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from inbox.store.ports.queue import Job, JobRecipient
from tests.support.chaos import database_of
from tests.support.invariants import broken
from tests.support.jobs import deliver
from tests.support.store import IDS, home

ROOT = Path(__file__).parents[2]
JOBS = 400


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("surreal", marks=pytest.mark.real)])
@pytest.mark.timeout(120)
async def test_kill_9_of_workers(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    where = str(tmp_path / "inbox.db")
    if kind == "surreal":
        where = f"{request.getfixturevalue('surreal_server').url} kills {IDS.new()}"
    database = database_of(kind, where)
    await database.open()
    try:
        acme = await home(database)
        now = time.time()
        made: list[str] = []
        for placed in await acme.fill(20):
            jobs = [
                Job(IDS.new(), "ann@acme.test", (JobRecipient(f"{n}@example.org"),), f"d{n}.test", now, now + 86_400)
                for n in range(JOBS // 20)
            ]
            await database.queue.enqueue(acme.tenant, placed.email, jobs)
            made += [job.id for job in jobs]
        await acme.db.messages.remove(acme.tenant, acme.inbox, await acme.uids())
        delivered: Counter[str] = Counter()
        for kill in range(3):
            workers = [
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.support.queue_worker", kind, where, f"w{kill}{number}",
                    cwd=ROOT, stdout=asyncio.subprocess.PIPE,
                )
                for number in range(2)
            ]  # fmt: skip
            for worker in workers:
                assert worker.stdout is not None
                # It has finished something, or there is nothing left for it.
                while not (line := await worker.stdout.readline()).startswith((b"delivered", b"leased\n")):
                    assert line, "it failed by itself"
            for worker in workers:
                worker.kill()
                output = (await worker.communicate())[0].decode()
                words = [line.split() for line in output.split("\n")[:-1]]
                delivered.update(line[1] for line in words if line[0] == "delivered")
            assert await settled(database) == []
        assert max(delivered.values(), default=0) <= 1, "a job was finished twice"
        for job in delivered:
            assert await database.queue.delivery(acme.tenant, job) is not None, "a delivery was forgotten"
        deadline = time.monotonic() + 60
        left = set(made)
        while left:
            assert time.monotonic() < deadline, f"{len(left)} jobs are never due"
            leased = await database.queue.lease("last", 50, 60.0)
            for taken in leased:
                assert await deliver(database.queue, taken)
            if not leased:
                left = {job.job.id for job in await database.queue.jobs(None, limit=JOBS)}
                await asyncio.sleep(0.05)
        assert [job for job in made if await database.queue.delivery(acme.tenant, job) is None] == []
        assert await settled(database) == []
    finally:
        await database.close()


async def settled(database: object) -> list[str]:
    """Violated invariants after the database's server has ended unfinished transactions."""
    deadline = time.monotonic() + 10
    while (wrong := await broken(database)) and time.monotonic() < deadline:  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
    return wrong
