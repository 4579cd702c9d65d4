"""The worker of webhooks on a real database, with a clock that the test sets and receivers from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import structlog

from inbox.base.errors import StoreUnavailable
from inbox.flow.webhooks import worker as module
from inbox.flow.webhooks.events import WebhookEvents
from inbox.flow.webhooks.posting import Response
from inbox.flow.webhooks.signature import generate
from inbox.flow.webhooks.worker import DELAYS, MOST_ATTEMPTS, OF_WEBHOOK, WebhookWorker
from inbox.policy.model import WebhookSettings
from inbox.store.ports import Database, Webhook, WebhookMessage
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home, home

HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Receivers:
    """Answers by URL; a URL without an answer accepts everything."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.answers: dict[str, Callable[[], Any]] = {}
        self.got: list[tuple[float, str, str]] = []
        self.fields: list[Mapping[str, str]] = []
        self.at_once = 0
        self.most: dict[str, int] = {}
        self._open: dict[str, int] = {}

    async def post(
        self, url: str, tenant: str, settings: WebhookSettings, fields: Mapping[str, str], body: bytes
    ) -> Response:
        self.got.append((self._clock.at, url, fields["webhook-id"]))
        self.fields.append(fields)
        self._open[url] = self._open.get(url, 0) + 1
        self.most[url] = max(self.most.get(url, 0), self._open[url])
        try:
            answer = self.answers[url]() if url in self.answers else 204
            if not isinstance(answer, int):
                await answer
                answer = 204
            return Response(answer, "" if answer else "connection refused")
        finally:
            self._open[url] -= 1

    async def close(self) -> None: ...


class World:
    def __init__(self, acme: Home) -> None:
        self.acme = acme
        self.db: Database = acme.db
        self.clock = Clock()
        self.receivers = Receivers(self.clock)
        self.worker = self.another()

    def another(self) -> WebhookWorker:
        log = structlog.get_logger("test")
        events = WebhookEvents(self.db.webhooks, self.clock, log)
        settings = WebhookSettings()
        return WebhookWorker(
            self.db.webhooks, self.db.tenants, events, self.receivers, lambda: settings, self.clock, log, lambda: 0.0
        )

    async def add(self, id_: str = "w1", tenant: str = "") -> Webhook:
        tenant = tenant or self.acme.tenant
        webhook = Webhook(tenant, id_, f"https://{id_}.test/", ("delivered",), generate(), created_at=1.0)
        await self.db.webhooks.add(webhook)
        return webhook

    async def put(self, count: int = 1, webhook: str = "w1") -> None:
        new = [
            WebhookMessage(self.acme.tenant, webhook, f"{webhook}-m{n}", "delivered", "{}", self.clock.at)
            for n in range(count)
        ]
        await self.db.webhooks.put(new)

    async def run(self, worker: WebhookWorker | None = None) -> None:
        """Works until nothing is due."""
        worker = worker or self.worker
        busy = True
        while await worker.step() or busy:
            await asyncio.sleep(0)
            # A webhook with requests under way may not have been asked for more.
            busy = bool(worker.families()[2].samples[0].value)

    async def message(self, id_: str = "w1-m0", webhook: str = "w1") -> WebhookMessage:
        found = await self.db.webhooks.message(self.acme.tenant, webhook, id_)
        assert found is not None
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = Clock()
    database = SqliteDatabase(tmp_path / "inbox.db", clock, IDS)
    await database.open()
    world = World(await home(database))
    yield world
    await world.worker.stop(0)
    await database.close()


async def test_a_message_is_posted_once(world: World) -> None:
    webhook = await world.add()
    await world.put()
    await world.run()
    await world.run()
    assert [url for _, url, _ in world.receivers.got] == [webhook.url]
    found = await world.message()
    assert (found.state, found.attempts, found.tries[0].status) == ("delivered", 1, 204)


async def test_ten_tries_in_75_hours(world: World) -> None:
    webhook = await world.add()
    world.receivers.answers[webhook.url] = lambda: 500
    await world.put()
    began = world.clock.at
    await world.run()
    for delay in DELAYS:
        world.clock.at += delay - 1
        await world.run()
        before = len(world.receivers.got)
        world.clock.at += 1
        await world.run()
        assert len(world.receivers.got) == before + 1
    assert len(world.receivers.got) == MOST_ATTEMPTS == 10
    assert 75 <= (world.clock.at - began) / HOUR < 76
    assert len({id_ for _, _, id_ in world.receivers.got}) == 1
    found = await world.message()
    assert (found.state, found.attempts) == ("failed", 10)
    world.clock.at += 100 * HOUR
    await world.run()
    assert len(world.receivers.got) == 10


async def test_a_receiver_that_was_down_for_an_hour_gets_everything(world: World) -> None:
    webhook = await world.add()
    back = world.clock.at + HOUR
    world.receivers.answers[webhook.url] = lambda: 204 if world.clock.at >= back else 0
    await world.put(50)
    while world.clock.at < back + 3 * HOUR:
        await world.run()
        world.clock.at += 60
    accepted = {id_ for at, _, id_ in world.receivers.got if at >= back}
    assert len(accepted) == 50
    assert await world.db.webhooks.waiting(world.acme.tenant, "w1", 100) == 0
    assert {one.state for one in await world.db.webhooks.messages(world.acme.tenant, "w1", 100)} == {"delivered"}


@pytest.mark.parametrize("status", [0, 199, 301, 307, 400, 401, 404, 429, 500, 503])
async def test_everything_but_2xx_is_tried_again(world: World, status: int) -> None:
    webhook = await world.add()
    world.receivers.answers[webhook.url] = lambda: status
    await world.put()
    await world.run()
    found = await world.message()
    assert (found.state, found.due_at, found.tries[0].status) == ("waiting", world.clock.at + DELAYS[0], status)


async def test_410_disables_the_webhook(world: World) -> None:
    webhook, other = await world.add(), await world.add("w2")
    world.receivers.answers[webhook.url] = lambda: 410
    await world.put(1)
    await world.put(1, "w2")
    await world.run()
    found = await world.db.webhooks.get(world.acme.tenant, "w1")
    assert found is not None
    assert (found.is_enabled, "410" in found.reason) == (False, True)
    assert (await world.message()).state == "failed"
    assert (await world.message("w2-m0", other.id)).state == "delivered"
    assert [one.id for one in await world.db.webhooks.enabled()] == ["w2"]
    await world.db.webhooks.put([WebhookMessage(world.acme.tenant, "w1", "later", "delivered", "{}", world.clock.at)])
    await world.run()
    assert (await world.message("later")).attempts == 0


async def test_a_slow_receiver_delays_only_itself(world: World) -> None:
    slow, quick = await world.add("slow"), await world.add("quick")
    released = asyncio.Event()
    world.receivers.answers[slow.url] = released.wait
    await world.put(100, "slow")
    await world.put(100, "quick")
    while await world.worker.step() or await world.db.webhooks.waiting(world.acme.tenant, "quick", 100):
        await asyncio.sleep(0)
    assert sum(url == quick.url for _, url, _ in world.receivers.got) == 100
    assert world.receivers.most[slow.url] <= OF_WEBHOOK
    released.set()
    await world.run()
    assert sum(url == slow.url for _, url, _ in world.receivers.got) == 100


async def test_a_process_has_a_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OF_PROCESS", 12)
    released = asyncio.Event()
    for number in range(6):
        webhook = await world.add(f"w{number}")
        world.receivers.answers[webhook.url] = released.wait
        await world.put(20, webhook.id)
    for _ in range(20):
        await world.worker.step()
        await asyncio.sleep(0)
    assert len(world.receivers.got) == 12
    released.set()
    await world.run()
    assert len(world.receivers.got) == 120


async def test_both_secrets_sign_during_a_rotation(world: World) -> None:
    old = await world.add()
    new = generate()
    await world.db.webhooks.rotate(world.acme.tenant, "w1", new, world.clock.at + 10)
    await world.put()
    await world.run()
    (fields,) = world.receivers.fields
    signatures = fields["webhook-signature"].split()
    assert len(signatures) == 2
    world.clock.at += 10
    await world.db.webhooks.replay(world.acme.tenant, "w1", ["w1-m0"], world.clock.at)
    await world.run()
    assert len(world.receivers.fields[1]["webhook-signature"].split()) == 1
    assert old.secret != new


async def test_a_worker_that_died_leaves_a_lease(world: World) -> None:
    webhook = await world.add()
    never = asyncio.Event()
    world.receivers.answers[webhook.url] = never.wait
    await world.put()
    dead = world.another()
    await dead.step()
    await asyncio.sleep(0)
    await dead.stop(0)
    del world.receivers.answers[webhook.url]
    await world.run()
    assert len(world.receivers.got) == 1
    world.clock.at += module.LEASE_SECONDS
    await world.run()
    assert [id_ for _, _, id_ in world.receivers.got] == ["w1-m0"] * 2
    assert (await world.message()).state == "delivered"


async def test_a_result_that_cannot_be_recorded_is_a_repeated_message(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add()
    await world.put()

    async def fails(*_: object) -> bool:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(world.db.webhooks, "finish", fails)
        await world.run()
    assert (await world.message()).attempts == 0
    world.clock.at += module.LEASE_SECONDS
    await world.run()
    assert len(world.receivers.got) == 2
    assert (await world.message()).state == "delivered"


async def test_the_worker_survives_a_database_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.add()
    asked = asyncio.Event()

    async def fails(*_: object) -> list[WebhookMessage]:
        asked.set()
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    task = asyncio.create_task(world.worker.run())
    with monkeypatch.context() as patch:
        patch.setattr(world.db.webhooks, "claim", fails)
        await asked.wait()
    await world.put()
    while not world.receivers.got:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_webhooks_nothing_is_claimed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def claim(*_: object) -> list[WebhookMessage]:
        raise AssertionError("it is asked for messages of no webhook")

    monkeypatch.setattr(world.db.webhooks, "claim", claim)
    assert await world.worker.step() == 0


async def test_a_test_of_the_signature(world: World) -> None:
    """The library compares with the time of the machine, so this clock is the machine's."""
    import time

    webhook = await world.add()
    world.clock.at = time.time()
    await world.put()
    await world.run()
    assert standardwebhooks.Webhook(webhook.secret).verify(b"{}", dict(world.receivers.fields[0])) == {}
