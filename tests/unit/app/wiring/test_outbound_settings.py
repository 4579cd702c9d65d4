"""Each variable SMTP_OUTBOUND_* has its effect in a program that reads it from the environment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from inbox.app.wiring.outbound import Outside, make_outside, make_worker
from inbox.flow.outbound.attempt import SmtpAttempts
from inbox.flow.outbound.ports import Attempted
from inbox.flow.outbound.transmission import Held
from inbox.plugin.testing import MemoryLog, MemoryResolver
from inbox.store.ports.queue import QueuedJob
from tests.support.flow import world
from tests.support.imap_world import client_tls, server_tls
from tests.support.outbound import LATER, FakeAttempts, FakeBounces, FakeExchangers, FakeSuppressions
from tests.support.outbound_world import LOOPBACK, go_ahead, outgoing, way
from tests.support.ports import free_port
from tests.support.remote_smtp import RemoteSmtp, remote

REFUSES_TLS = RemoteSmtp({"STARTTLS": "454 4.7.0 Not now"}, ("STARTTLS",))
OPPORTUNISTIC = {"SMTP_OUTBOUND_TLS_MODE": "opportunistic"}
DELIVERED, NO_TLS, INVALID = (250, "dot"), (451, "starttls"), (451, "starttls")


@asynccontextmanager
async def attempts_of(folder: Path, **environment: str) -> AsyncIterator[SmtpAttempts]:
    """The attempts of an installation, with addresses from memory and the certificates of the tests."""
    async with world(folder, **environment) as here:
        dns: Any = MemoryResolver()
        dns.a_records = {"localhost": ["127.0.0.1"], "other.test": ["127.0.0.1"]}
        parts = make_outside(
            here.installation, here.parts.directory, here.parts.pipeline, dns, here.parts.judge, MemoryLog()
        )
        parts.attempts.routed, parts.attempts._trusted = LOOPBACK, client_tls()
        yield parts.attempts
        await parts.attempts.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "server", "host", "expected"),
    [
        # TLS_MODE: required and verified by default.
        ({}, RemoteSmtp(), "localhost", NO_TLS),
        ({}, RemoteSmtp(tls=server_tls()), "localhost", DELIVERED),
        ({}, RemoteSmtp(tls=server_tls()), "other.test", INVALID),
        (OPPORTUNISTIC, RemoteSmtp(), "localhost", DELIVERED),
        (OPPORTUNISTIC, RemoteSmtp(tls=server_tls()), "other.test", DELIVERED),
        # REQUIRE_STARTTLS
        ({**OPPORTUNISTIC, "SMTP_OUTBOUND_REQUIRE_STARTTLS": "true"}, RemoteSmtp(), "localhost", NO_TLS),
        # ALLOW_INVALID_CERTS
        ({"SMTP_OUTBOUND_ALLOW_INVALID_CERTS": "true"}, RemoteSmtp(tls=server_tls()), "other.test", DELIVERED),
        ({"SMTP_OUTBOUND_ALLOW_INVALID_CERTS": "true"}, RemoteSmtp(), "localhost", NO_TLS),
        # ALLOW_PLAINTEXT_FALLBACK: only when opportunistic.
        (OPPORTUNISTIC, REFUSES_TLS, "localhost", DELIVERED),
        ({**OPPORTUNISTIC, "SMTP_OUTBOUND_ALLOW_PLAINTEXT_FALLBACK": "false"}, REFUSES_TLS, "localhost", NO_TLS),
        ({"SMTP_OUTBOUND_ALLOW_PLAINTEXT_FALLBACK": "true"}, REFUSES_TLS, "localhost", NO_TLS),
        # TIMEOUT_SECS
        ({"SMTP_OUTBOUND_TIMEOUT_SECS": "1"}, RemoteSmtp({"greeting": None}), "localhost", (0, "greeting")),
    ],
)  # fmt: skip
async def test_settings_of_an_attempt(
    tmp_path: Path, environment: dict[str, str], server: RemoteSmtp, host: str, expected: tuple[int, str]
) -> None:
    """Each server is at the port that SMTP_OUTBOUND_PORT names."""
    port = free_port()
    async with remote(server, port=port), attempts_of(tmp_path, SMTP_OUTBOUND_PORT=str(port), **environment) as made:
        got: Attempted = await made.attempt(outgoing(), way(host), go_ahead)
    (reply,) = got.results
    assert (reply.code, reply.stage) == expected
    if expected[0] == 0:
        assert reply.text == "No reply within 1 seconds"


async def attempted(folder: Path, attempts: int, **environment: str) -> tuple[list[float], list[str], float]:
    """The waits after the attempts of a job that is always deferred, its states at the end, and its time to live."""
    async with world(folder, **environment) as here:
        queue, tenant = here.installation.database.queue, await here.tenant("acme")
        await here.submit(["x@elsewhere.test"])
        outside = Outside(FakeExchangers(), FakeAttempts(lambda mail, way: LATER), FakeBounces(), FakeSuppressions())
        worker = make_worker(here.installation, here.parts.directory, here.parts.judge, outside, MemoryLog())
        waits, states, lifetime = list[float](), list[str](), 0.0
        for _ in range(attempts):
            (leased,) = await queue.lease("w", 1, 60)
            lifetime = leased.job.expires_at - leased.job.created_at
            done = await worker._delivery.run(Held(leased))
            assert done is not None
            waits.append(done.delay)
            await queue.finish([done])
            states = [state.status for state in done.states]
            await queue.retry(tenant, [leased.job.id], 0)
        return waits, states, lifetime


async def test_waits_attempts_and_time_to_live(tmp_path: Path) -> None:
    waits, states, lifetime = await attempted(
        tmp_path,
        4,
        SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS="100",
        SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS="300",
        SMTP_OUTBOUND_MAX_ATTEMPTS="4",
        SMTP_OUTBOUND_TTL_SECS="5000",
    )
    for wait, nominal in zip(waits[:3], (100, 200, 300), strict=True):
        assert nominal * 0.8 <= wait <= nominal * 1.2
    assert states == ["failed"]
    assert lifetime == 5000


@pytest.mark.slow
async def test_batch_lease_and_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(
        tmp_path,
        SMTP_OUTBOUND_QUEUE_BATCH_SIZE="7",
        SMTP_OUTBOUND_QUEUE_LEASE_SECS="33",
        SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS="1",
    ) as here:
        asked: asyncio.Queue[tuple[float, int, float]] = asyncio.Queue()

        async def lease(owner: str, limit: int, seconds: float, avoided: object = None) -> list[QueuedJob]:
            asked.put_nowait((here.installation.clock.monotonic(), limit, seconds))
            return []

        monkeypatch.setattr(here.installation.database.queue, "lease", lease)
        outside = Outside(FakeExchangers(), FakeAttempts(lambda mail, way: LATER), FakeBounces(), FakeSuppressions())
        worker = make_worker(here.installation, here.parts.directory, here.parts.judge, outside, MemoryLog())
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(30):
            looks = [await asked.get() for _ in range(3)]
        await worker.stop(1)
        await running
    assert [(limit, seconds) for _, limit, seconds in looks] == [(7, 33)] * 3
    assert all(later[0] - earlier[0] >= 0.9 for earlier, later in pairwise(looks))
