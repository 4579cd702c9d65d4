"""A worker of the outbound queue, to be killed: ``python -m tests.support.queue_worker KIND WHERE NAME``.

It prints what it is about to do and what is durable: ``leased ID …``, ``delivered ID``, ``deferred ID``.
"""

from __future__ import annotations

import asyncio
import sys

from inbox.store.ports.queue import Sending
from tests.support.chaos import database_of
from tests.support.jobs import defer, deliver

#: Seconds of a lease: short, so that what a killed worker held is soon due again.
LEASE = 0.5


async def main(kind: str, where: str, name: str) -> None:
    database = database_of(kind, where)
    await database.open()
    print("ready", flush=True)
    while True:
        leased = await database.queue.lease(name, 5, LEASE)
        print("leased", *(job.job.id for job in leased), flush=True)
        for number, job in enumerate(leased):
            delivers = number % 3 != 2
            if not await database.queue.sending([Sending(job)]):
                continue
            done = await (deliver(database.queue, job) if delivers else defer(database.queue, job, 0.0))
            if done:
                print("delivered" if delivers else "deferred", job.job.id, flush=True)
        if not leased:
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
