"""A process that delivers mails into one mailbox of a SQLite file and prints each uid once it is acknowledged.

Usage: python -m tests.support.deliver DATABASE TENANT MAILBOX COUNT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from inbox.base.clock import SystemClock
from inbox.store.ports.ingest import Indexed
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, email, indexed


async def main(path: str, tenant: str, mailbox: str, count: int) -> None:
    database = SqliteDatabase(Path(path), SystemClock(), IDS)
    await database.open()
    sys.stdin.readline()  # All processes are ready: now they start together.

    async def deliver() -> None:
        ((placed,),) = await database.writer.write(Indexed((indexed(email(tenant), mailbox),)))
        print(placed.uid, placed.email, flush=True)

    await asyncio.gather(*[deliver() for _ in range(count)])
    await database.close()


if __name__ == "__main__":
    _, path, tenant, mailbox, count = sys.argv
    asyncio.run(main(path, tenant, mailbox, int(count)))
