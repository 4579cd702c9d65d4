"""The work of claims and questions does not grow with the queue.

Instructions of SQLite and rows of SurrealDB are counted.
"""

from __future__ import annotations

import random
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inbox.plugin.testing import FakeClock
from inbox.store.ports import Database
from inbox.store.ports.job_filter import JobFilter
from inbox.store.ports.queue import Job, JobRecipient, Queue
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home

DAY = 86_400.0
SMALL, LARGE = 100, 2000


#: ``LET $name = (SELECT …)``
_ASSIGNED = re.compile(r"LET \$\w+ = \((SELECT .*)\)", re.DOTALL)


class Work:
    """Counts what the queue's statements read."""

    def __init__(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        gateway: Any = db.queue._gateway  # type: ignore[attr-defined]
        if isinstance(db, SqliteDatabase):
            for name in ("read", "write"):
                monkeypatch.setattr(gateway, name, self._counted(getattr(gateway, name)))
            return
        query = gateway.query

        async def explained(sql: str, /, **values: Any) -> Any:
            for part in sql.split(";"):
                statement = _ASSIGNED.sub(r"\1", part.strip())
                if statement.startswith("SELECT") and ("outbound_" in statement or "$keys" in statement):
                    (plan,) = await query(f"{statement} EXPLAIN FULL", **values)
                    self.count += _rows(plan)
            return await query(sql, **values)

        monkeypatch.setattr(gateway, "query", explained)

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(work: Callable[[sqlite3.Connection], Any], **more: Any) -> Any:
            def inside(db: sqlite3.Connection) -> Any:
                db.set_progress_handler(self._step, 10)
                try:
                    return work(db)
                finally:
                    db.set_progress_handler(None, 0)

            return await real(inside, **more)

        return counted

    def _step(self) -> int:
        self.count += 1
        return 0


def _rows(plan: dict[str, Any]) -> int:
    """The rows that all parts of a plan read."""
    own = plan.get("metrics", {}).get("output_rows", 0)
    return int(own) + sum(_rows(child) for child in plan.get("children", []))


@pytest.mark.parametrize("waits", [False, True])
async def test_a_claim_reads_no_more_from_a_large_queue(
    acme: Home, db: Database, clock: FakeClock, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs of one domain that are due, and jobs that wait."""
    now = clock.now() if isinstance(db, SqliteDatabase) else time.time()
    mail = (await acme.deliver()).email

    async def add(count: int) -> None:
        for begin in range(0, count, 500):
            jobs = [
                Job(
                    IDS.new(), "ann@acme.test", (JobRecipient("bob@x.test"),), "x.test", now, now + DAY,
                    not_before=now + DAY / 2 if waits and number else 0.0,
                )
                for number in range(min(500, count - begin))
            ]  # fmt: skip
            await db.queue.enqueue(acme.tenant, mail, jobs)

    async def claimed() -> int:
        work.count = 0
        # The same place to start from, whether there are few jobs or many.
        monkeypatch.setattr(db.queue, "_random", random.Random(1))
        assert len(await db.queue.lease("w", 1 if waits else 50, 60.0)) == (1 if waits else 50)
        return work.count

    await add(SMALL)
    work = Work(db, monkeypatch)
    small = await claimed()
    monkeypatch.undo()
    await add(LARGE)
    work = Work(db, monkeypatch)
    large = await claimed()

    assert 0 < large <= 1.5 * small, f"{small} from {SMALL} jobs, {large} from {LARGE + SMALL}"


#: The calls of operators, metrics and quotas.
QUESTIONS: dict[str, Callable[[Queue, str], Awaitable[object]]] = {
    "count of all tenants": lambda queue, _: queue.count(None),
    "count of a tenant": lambda queue, tenant: queue.count(tenant),
    "pending": lambda queue, tenant: queue.pending(tenant, 1_000_000),
    "a page of a tenant": lambda queue, tenant: queue.jobs(tenant, limit=10),
    "a page of all tenants": lambda queue, _: queue.jobs(None, limit=10),
    "a page of matching jobs": lambda queue, tenant: queue.jobs(tenant, JobFilter(status="queued"), limit=10),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_question_about_the_queue_reads_no_more_from_a_large_queue(
    acme: Home, db: Database, clock: FakeClock, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now() if isinstance(db, SqliteDatabase) else time.time()
    mail = (await acme.deliver()).email

    async def add(count: int) -> None:
        for _ in range(0, count, 500):
            jobs = [
                Job(IDS.new(), "ann@acme.test", (JobRecipient("bob@x.test"),), f"d{number % 3}.test", now, now + DAY)
                for number in range(500)
            ]
            await db.queue.enqueue(acme.tenant, mail, jobs)

    async def read() -> int:
        with monkeypatch.context() as patched:
            work = Work(db, patched)
            await QUESTIONS[question](db.queue, acme.tenant)
            return work.count

    # More than one step of a page, so that the second measurement cannot be larger by the rows of one step.
    await add(1000)
    small = await read()
    await add(4000)
    large = await read()
    assert 0 < large <= 1.5 * small, f"{small} from 1000 jobs, {large} from 5000"
