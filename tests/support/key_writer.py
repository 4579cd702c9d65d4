"""A process that submits messages with idempotency keys k0, k1 … and prints each after its commit, until it is killed.

Arguments: kind and place of the database, tenant, mailbox.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from dataclasses import replace

from inbox.store.ports import IdempotencyKey
from inbox.store.ports.ingest import Indexed
from inbox.store.ports.queue import Job, JobRecipient
from tests.support.chaos import database_of
from tests.support.store import IDS, email, indexed


async def main(kind: str, where: str, tenant: str, mailbox: str) -> None:
    database = database_of(kind, where)
    await database.open()
    for number in itertools.count():
        now, transaction = time.time(), f"T{number}"
        to = (JobRecipient("bob@example.org"),)
        job = Job(IDS.new(), "ann@acme.test", to, "example.org", now, now + 600.0, transaction=transaction)
        sent = replace(indexed(email(tenant), mailbox, recognise=False), jobs=(job,))
        await database.writer.write(Indexed((sent,), key=IdempotencyKey(tenant, f"k{number}", "f1", transaction, now)))
        print(transaction, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
