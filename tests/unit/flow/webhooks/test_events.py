"""Events of jobs, reports and suppressions, on a real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from inbox.base.clock import SystemClock
from inbox.base.errors import StoreError, StoreUnavailable
from inbox.flow.outbound.suppression import SuppressionLists
from inbox.flow.outbound.transmission import Held
from inbox.flow.webhooks import events as module
from inbox.flow.webhooks.events import ReportedDelivery, WebhookEvents
from inbox.flow.webhooks.signature import generate
from inbox.store.ports import Suppression, Webhook, WebhookMessage
from inbox.store.ports.queue import AttemptRecord, Finished, Job, JobRecipient, QueuedJob, RecipientState
from inbox.store.ports.webhooks import WEBHOOK_EVENTS, WebhookEvent
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home, home

ATTEMPT = AttemptRecord(1.0, 1.0)
DELIVERED = RecipientState("delivered", 250, "2.0.0", "OK")
FAILED = RecipientState("failed", 550, "5.1.1", "No such user \ud800", category="hard")
LATER = RecipientState("pending", 451, "4.7.1", "Greylisted")


class World:
    def __init__(self, acme: Home, other: Home) -> None:
        self.acme, self.other = acme, other
        self.webhooks = acme.db.webhooks
        self.events = WebhookEvents(self.webhooks, SystemClock(), structlog.get_logger("test"))

    async def add(self, id_: str = "w1", events: Sequence[WebhookEvent] = WEBHOOK_EVENTS) -> None:
        await self.webhooks.add(Webhook(self.acme.tenant, id_, "https://a.test/", tuple(events), generate()))
        await self.events.refresh()

    def queued(self, *states: RecipientState, tenant: str = "") -> QueuedJob:
        states = states or (RecipientState(),)
        recipients = tuple(JobRecipient(f"{number}@example.org") for number in range(len(states)))
        job = Job("j1", "ann@acme.test", recipients, "example.org", 1.0, 9.0, transaction="t1")
        return QueuedJob(job, tenant or self.acme.tenant, "e1", "blob", states, attempts=2)

    async def messages(self, webhook: str = "w1") -> list[tuple[str, Any]]:
        found = await self.webhooks.messages(self.acme.tenant, webhook, 100)
        parsed = [(one, json.loads(one.payload)) for one in found]
        assert all(one.event == payload["type"] for one, payload in parsed)
        return sorted(((one.event, payload["data"]) for one, payload in parsed), key=lambda each: each[0])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await database.open()
    yield World(await home(database), await home(database, "other"))
    await database.close()


async def test_each_recipient_has_an_event(world: World) -> None:
    await world.add()
    pending = RecipientState()
    queued = world.queued(pending, pending, pending, DELIVERED)
    await world.events.finished(Finished(queued, (DELIVERED, FAILED, LATER, DELIVERED), 300.0, attempt=ATTEMPT))
    (bounced, deferred, delivered) = await world.messages()
    assert (delivered[0], delivered[1]["recipient"], delivered[1]["code"]) == ("delivered", "0@example.org", 250)
    assert (bounced[0], bounced[1]["recipient"], bounced[1]["category"]) == ("bounced", "1@example.org", "hard")
    assert bounced[1]["reply"] == "No such user ?"
    assert (deferred[0], deferred[1]["recipient"], deferred[1]["next_attempt_seconds"]) == (
        "deferred", "2@example.org", 300
    )  # fmt: skip
    assert delivered[1]["transaction"] == "t1"


async def test_a_job_that_was_put_off_has_no_event(world: World) -> None:
    await world.add()
    queued = world.queued()
    await world.events.finished(Finished(queued, queued.states, 60.0, counts=False))
    assert await world.messages() == []


async def test_a_repeated_outcome_is_the_same_event(world: World) -> None:
    """After a crash between the event and the outcome, the job is tried again."""
    await world.add()
    queued = world.queued()
    for fence in (1, 2):
        await world.events.finished(Finished(replace(queued, fence=fence), (DELIVERED,), attempt=ATTEMPT))
    assert len(await world.messages()) == 1
    await world.events.finished(Finished(queued, (LATER,), attempt=ATTEMPT))
    await world.events.finished(Finished(replace(queued, attempts=3), (LATER,), attempt=ATTEMPT))
    assert [event for event, _ in await world.messages()] == ["deferred", "deferred", "delivered"]


async def test_a_webhook_gets_its_own_events_only(world: World) -> None:
    await world.add("w1", ["bounced"])
    await world.add("w2", ["delivered", "bounced"])
    await world.events.finished(Finished(world.queued(), (DELIVERED,), attempt=ATTEMPT))
    await world.events.finished(Finished(world.queued(tenant=world.other.tenant), (FAILED,), attempt=ATTEMPT))
    assert await world.messages("w1") == []
    assert [event for event, _ in await world.messages("w2")] == ["delivered"]
    assert await world.webhooks.messages(world.other.tenant, "w1", 10) == []


async def test_a_tenant_without_webhooks_costs_no_await(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.add()
    finished = Finished(world.queued(tenant=world.other.tenant), (DELIVERED,), attempt=ATTEMPT)

    class Delivers:
        async def run(self, held: Held) -> Finished:
            return finished

    async def put(_: object) -> None:
        raise AssertionError("it writes an event")

    monkeypatch.setattr(world.webhooks, "put", put)
    run = ReportedDelivery(Delivers(), world.events).run(Held(finished.job))
    with pytest.raises(StopIteration) as ended:
        run.send(None)
    assert ended.value.value is finished


async def test_a_large_job_is_written_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MESSAGES", 3)
    await world.add()
    queued = world.queued(*[RecipientState()] * 8)
    await world.events.finished(Finished(queued, (DELIVERED,) * 8, attempt=ATTEMPT))
    assert len(await world.messages()) == 8


async def test_events_wait_for_the_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.add()
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)
    put, failures = world.webhooks.put, [StoreUnavailable("away"), StoreUnavailable("away")]

    async def fails(messages: Sequence[WebhookMessage]) -> None:
        if failures:
            raise failures.pop()
        await put(messages)

    monkeypatch.setattr(world.webhooks, "put", fails)
    woken = asyncio.Event()
    world.events.wake = woken.set
    await world.events.finished(Finished(world.queued(), (DELIVERED,), attempt=ATTEMPT))
    assert len(await world.messages()) == 1
    assert woken.is_set()


async def test_a_defect_does_not_keep_the_outcome_from_being_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add()

    async def fails(_: Sequence[WebhookMessage]) -> None:
        raise StoreError("a defect")

    monkeypatch.setattr(world.webhooks, "put", fails)
    await world.events.finished(Finished(world.queued(), (DELIVERED,), attempt=ATTEMPT))


async def test_reports_that_come_in_later(world: World) -> None:
    await world.add()
    queued = world.queued(DELIVERED)
    late = AttemptRecord(1.0, 0.0, "mx.example.org", stage="report")
    complaint = AttemptRecord(1.0, 0.0, "mx.example.org", stage="complaint", text="abuse <0@example.org>")
    for _ in range(2):
        await world.events.reported(queued, {0: FAILED}, late)
        await world.events.reported(queued, {}, complaint)
    ((first, bounced), (second, complained)) = await world.messages()
    assert (first, bounced["recipient"], bounced["code"]) == ("bounced", "0@example.org", 550)
    assert (second, complained["report"], complained["reporter"]) == (
        "complained", "abuse <0@example.org>", "mx.example.org"
    )  # fmt: skip


async def test_an_entry_of_the_suppression_list_is_reported_once(world: World) -> None:
    await world.add()
    lists = SuppressionLists(world.acme.db.suppressions, SystemClock(), events=world.events)
    for _ in range(2):
        await lists.suppress(world.acme.tenant, "address", "bob@example.org", "No such user", 60.0)
    ((event, data),) = await world.messages()
    assert (event, data["target"], data["source"]) == ("suppressed", "bob@example.org", "bounce")
    assert data["expires_at"].endswith("Z")


async def test_an_entry_of_the_operator_is_not_reported(world: World) -> None:
    await world.add()
    lists = SuppressionLists(world.acme.db.suppressions, SystemClock(), events=world.events)
    kept = Suppression(world.acme.tenant, "address", "bob@example.org", "it works", "operator", is_active=False)
    await world.acme.db.suppressions.put([kept])
    await lists.suppress(world.acme.tenant, "address", "bob@example.org", "No such user", None)
    assert await world.messages() == []
