"""Events of accepted mail, on a real database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from inbox.base.clock import SystemClock
from inbox.base.errors import StoreUnavailable
from inbox.flow.webhooks.accepted import ReportedIngest
from inbox.flow.webhooks.events import WebhookEvents
from inbox.flow.webhooks.signature import generate
from inbox.mail.content import MemoryContent
from inbox.store.ports import Webhook
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Copy
from inbox.store.ports.messages import Placed
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.ports.webhooks import WEBHOOK_EVENTS
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home, home


class Stores:
    """An ingest that places copies; ``first`` is the uid of the first one."""

    def __init__(self) -> None:
        self.first = 1
        self.error: Exception | None = None

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        if self.error is not None:
            raise self.error
        return [
            [Placed(copy.mailbox, "e1", self.first + number, 1) for number, copy in enumerate(message.copies)]
            for message in accepted.messages
        ]


class World:
    def __init__(self, acme: Home, other: Home) -> None:
        self.acme, self.other = acme, other
        self.events = WebhookEvents(acme.db.webhooks, SystemClock(), structlog.get_logger("test"))
        self.stores = Stores()
        self.ingest = ReportedIngest(self.stores, self.events)

    async def accept(self, *copies: Copy, door: str = "smtp", tenant: str = "", jobs: int = 0) -> None:
        tenant = tenant or self.acme.tenant
        made = tuple(
            Job(f"j{n}", "ann@acme.test", (JobRecipient("bob@example.org"),), "example.org", 1.0, 9.0)
            for n in range(jobs)
        )
        message = AcceptedMessage(IDS.new(), tenant, MemoryContent(b"Subject: x\r\n\r\n"), copies, 1.0, 1.0, jobs=made)
        record = DecisionRecord(
            IDS.new(), tenant, 1.0, door, "accepted", "ann@example.org", ("bob@acme.test",), "", b""
        )
        await self.ingest.accept(Accepted((message,), (record,)))

    async def messages(self) -> list[tuple[str, Any]]:
        found = await self.acme.db.webhooks.messages(self.acme.tenant, "w1", 100)
        return sorted(((one.event, json.loads(one.payload)["data"]) for one in found), key=lambda each: each[0])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await database.open()
    world = World(await home(database), await home(database, "other"))
    await database.webhooks.add(Webhook(world.acme.tenant, "w1", "https://a.test/", WEBHOOK_EVENTS, generate()))
    await world.events.refresh()
    yield world
    await database.close()


async def test_accepted_mail_is_reported(world: World) -> None:
    await world.accept(Copy("m1"))
    ((event, data),) = await world.messages()
    assert (event, data["door"], data["sender"], data["recipients"]) == (
        "accepted", "smtp", "ann@example.org", ["bob@acme.test"]
    )  # fmt: skip
    assert (data["email"], data["size"]) == ("e1", 14)


async def test_a_recognised_repetition_writes_the_same_event(world: World) -> None:
    """After a crash between mail and event, the client sends the message again."""
    for _ in range(2):
        await world.accept(Copy("m1"), Copy("m2"))
    assert len(await world.messages()) == 1
    world.stores.first = 7
    await world.accept(Copy("m1"), Copy("m2"))
    assert len(await world.messages()) == 2


async def test_repeated_jobs_are_a_message_of_their_own(world: World) -> None:
    for _ in range(2):
        await world.accept(jobs=1)
    assert [event for event, _ in await world.messages()] == ["accepted"] * 2


async def test_a_copy_in_quarantine_is_reported(world: World) -> None:
    await world.accept(Copy("m1"), Copy("q", recipient="bob@acme.test", reason="a virus"))
    (_, (event, data)) = await world.messages()
    assert (event, data["recipient"], data["reason"]) == ("quarantined", "bob@acme.test", "a virus")


async def test_what_is_not_reported(world: World) -> None:
    await world.accept(Copy("m1"), door="imap")
    await world.accept(Copy("m1"), tenant=world.other.tenant)
    world.stores.error = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await world.accept(Copy("m1"))
    assert await world.messages() == []
