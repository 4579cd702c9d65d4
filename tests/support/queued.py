"""Puts jobs into the database of a command's installation, and lets a worker finish them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.store.ports import Database
from inbox.store.ports.ingest import Indexed, IndexedMessage
from inbox.store.ports.queue import AttemptRecord, Finished, Job, JobRecipient, RecipientState
from inbox.store.sqlite import SqliteDatabase
from tests.support.cli import Cli
from tests.support.store import IDS, email

Found = TypeVar("Found")


def in_database(cli: Cli, work: Callable[[Database], Awaitable[Found]]) -> Found:
    """Runs ``work`` on the installation's database."""

    async def run() -> Found:
        clock = SystemClock()
        db = SqliteDatabase(cli.folder / "data" / "inbox.db", clock, RandomIds(clock.now))
        await db.open()
        try:
            return await work(db)
        finally:
            await db.close()

    return asyncio.run(run())


async def tenant_of(db: Database, name: str) -> str:
    found = await db.tenants.by_name(name)
    assert found is not None
    return found.id


def queued(cli: Cli, tenant: str, *wanted: dict[str, Any]) -> list[str]:
    """One message of the tenant with these jobs; returns their ids. ``wanted`` are fields that differ."""

    async def work(db: Database) -> list[str]:
        owner, now = await tenant_of(db, tenant), time.time()
        plain = Job(IDS.new(), "ann@demo.test", (JobRecipient("bob@x.test"),), "x.test", now - 1, now + 86_400)
        jobs = tuple(replace(plain, **{"id": IDS.new(), **fields}) for fields in wanted)
        await db.writer.write(Indexed((IndexedMessage(email(owner), (), jobs=jobs),)))
        return [job.id for job in jobs]

    return in_database(cli, work)


def finish(cli: Cli, attempt: AttemptRecord, *states: RecipientState, delay: float = 0.0, limit: int = 1) -> None:
    """One attempt of the jobs that are due; ``states`` are those of the recipients of each."""

    async def work(db: Database) -> None:
        for job in await db.queue.lease("worker", limit, 60.0):
            await db.queue.finish([Finished(job, states, delay, attempt.text, attempt=attempt)])

    in_database(cli, work)
