"""The worker over a real installation: database, blobs, directory and policies; the remote host is scripted."""

from __future__ import annotations

import asyncio
import shutil
from ipaddress import ip_network
from pathlib import Path

import pytest

from inbox.app.wiring.outbound import Outside, make_worker
from inbox.app.wiring.services import make_resolver
from inbox.flow.outbound.attempt import SmtpAttempts
from inbox.flow.outbound.mx import MailExchangers
from inbox.plugin.testing import MemoryLog
from inbox.store.ports.queue import Job, JobRecipient
from tests.support.flow import World, world
from tests.support.outbound import OK, FakeAttempts, FakeBounces, FakeExchangers, FakeSuppressions
from tests.support.ports import free_port


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


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


@pytest.mark.real
@pytest.mark.skipif(shutil.which("smtp-sink") is None, reason="smtp-sink is not installed")
async def test_a_worker_delivers_to_a_real_server_through_a_smarthost(tmp_path: Path) -> None:
    port = free_port()
    sink = await asyncio.create_subprocess_exec("smtp-sink", "-u", "root", f"127.0.0.1:{port}", "100")
    try:
        async with world(tmp_path, SMTP_OUTBOUND_TLS_MODE="opportunistic") as here, asyncio.timeout(30):
            smarthost = f"{{host: 127.0.0.1, port: {port}}}"
            await here.policy("tenants/acme.yaml", f"outbound: {{tls: opportunistic, smarthost: {smarthost}}}\n")
            await here.receive(["ann@acme.test"])
            config, clock = here.installation.config, here.installation.clock
            resolver = make_resolver(config, clock)
            attempts = SmtpAttempts(resolver, config.outbound, clock, routed=[ip_network("127.0.0.0/8")])
            bounces = FakeBounces()
            outside = Outside(MailExchangers(resolver), attempts, bounces, FakeSuppressions())
            log = MemoryLog()
            worker = make_worker(here.installation, here.parts.directory, here.parts.judge, outside, log)
            await _listening(port)
            await _enqueue(here, "real")
            running = asyncio.create_task(worker.run())
            while not [event for event in log.events if event[1] == "smtp.egress.queue"]:
                await asyncio.sleep(0.01)
            await worker.stop(10)
            await running
            await attempts.close()
            record = await here.installation.database.queue.delivery(await here.tenant("acme"), "real")
    finally:
        sink.terminate()
        await sink.wait()
    assert record is not None
    assert (record.states[0].code, record.history[0].stage) == (250, "dot")
