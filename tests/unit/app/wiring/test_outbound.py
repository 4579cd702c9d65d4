"""The worker over a real installation: database, blobs, directory and policies; the remote host is scripted."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inbox.app.wiring.outbound import Outside, make_worker
from inbox.plugin.testing import MemoryLog
from inbox.store.ports.queue import Job, JobRecipient
from tests.support.flow import World, world
from tests.support.outbound import OK, FakeAttempts, FakeBounces, FakeExchangers, FakeSuppressions


async def _enqueue(here: World, name: str) -> None:
    tenant = await here.tenant("acme")
    (stored, *_) = await here.mailbox("ann@acme.test")
    now = here.installation.clock.now()
    job = Job(
        name, "ann@acme.test", (JobRecipient("x@y.test"),), "y.test", now, now + 100, prepended=b"Received: here\r\n"
    )
    await here.installation.database.queue.enqueue(tenant, stored.email.id, [job])


async def test_a_worker_delivers_what_an_installation_queues(tmp_path: Path) -> None:
    attempts = FakeAttempts(lambda mail, way: OK)
    async with world(tmp_path, SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS="3600") as here:
        await here.policy("tenants/acme.yaml", "outbound: {ehlo_name: out.acme.test}\n")
        await here.receive(["ann@acme.test"])
        await _enqueue(here, "first")
        outside = Outside(FakeExchangers(), attempts, FakeBounces(), FakeSuppressions())
        worker = make_worker(here.installation, here.parts.directory, here.parts.judge, outside, MemoryLog())
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while len(attempts.dots) < 1:
                await asyncio.sleep(0.01)
            # The poll is an hour away: the queue's event wakes the worker.
            await _enqueue(here, "second")
            while len(attempts.dots) < 2:
                await asyncio.sleep(0.01)
        await worker.stop(10)
        await running

        tenant = await here.tenant("acme")
        assert await here.installation.database.queue.delivery(tenant, "second") is not None
    assert all(text.startswith("Received: here\r\n") and "hello" in text for text in attempts.dots)
    assert attempts.mails[0][1].ehlo_name == "out.acme.test"
