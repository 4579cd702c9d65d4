"""The port ``Changes``: who waits for a mailbox is woken, also by another instance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from inbox.mail.flags import Flag
from inbox.store.ports import Database
from inbox.store.ports.changes import QUEUE
from inbox.store.ports.ingest import Indexed, IndexedMessage
from inbox.store.ports.queue import Job, JobRecipient
from tests.support.store import IDS, Home, Opener, email

Change = Callable[[Home], Awaitable[object]]

CHANGES: dict[str, Change] = {
    "accept": lambda home: home.deliver(),
    "store": lambda home: home.db.messages.store(home.tenant, home.inbox, [1], "add", Flag.SEEN),
    "remove": lambda home: home.db.messages.remove(home.tenant, home.inbox, [1]),
    "expunge": lambda home: home.db.messages.expunge(home.tenant, home.inbox, [2]),
    "copy to": lambda home: home.db.messages.copy(home.tenant, home.mailboxes["Sent"], [1], home.inbox),
    "move from": lambda home: home.db.messages.copy(home.tenant, home.inbox, [1], home.mailboxes["Sent"], move=True),
    "release": lambda home: home.db.messages.release(home.tenant, home.mailboxes["Sent"], 1, home.inbox),
    "delete": lambda home: home.db.mailboxes.delete(home.tenant, home.inbox),
}


async def prepared(home: Home) -> None:
    await home.fill(2, flags=Flag.DELETED)
    await home.deliver(home.mailboxes["Sent"])


@pytest.mark.parametrize("change", list(CHANGES))
async def test_a_change_wakes_who_waits(acme: Home, change: str) -> None:
    await prepared(acme)
    subscription = acme.db.changes.subscribe([acme.mailboxes["Drafts"], acme.inbox])
    waiting = asyncio.ensure_future(subscription.wait())
    await CHANGES[change](acme)
    await asyncio.wait_for(waiting, 20)
    subscription.close()


@pytest.mark.parametrize("change", list(CHANGES))
async def test_a_change_of_another_instance_wakes_who_waits(acme: Home, opener: Opener, change: str) -> None:
    await prepared(acme)
    instance: Database = await opener()
    subscription = instance.changes.subscribe([acme.inbox])
    await _quiet(subscription)
    waiting = asyncio.ensure_future(subscription.wait())
    await CHANGES[change](acme)
    await asyncio.wait_for(waiting, 20)
    subscription.close()


async def _quiet(subscription: object) -> None:
    """A subscription may wake once without a change, when it first learns how its mailboxes are."""
    wait = subscription.wait  # type: ignore[attr-defined]  # the Subscription protocol
    try:
        while True:
            await asyncio.wait_for(wait(), 0.3)
    except TimeoutError:
        return


async def test_a_change_before_the_wait_is_not_missed(acme: Home) -> None:
    subscription = acme.db.changes.subscribe([acme.inbox])
    await acme.deliver()
    await asyncio.wait_for(subscription.wait(), 20)
    subscription.close()


async def test_everybody_who_waits_is_woken(acme: Home) -> None:
    subscriptions = [acme.db.changes.subscribe([acme.inbox]) for _ in range(5)]
    waiting = [asyncio.ensure_future(subscription.wait()) for subscription in subscriptions]
    await acme.deliver()
    await asyncio.wait_for(asyncio.gather(*waiting), 20)
    subscriptions[0].close()
    waiting = [asyncio.ensure_future(subscription.wait()) for subscription in subscriptions[1:]]
    await acme.deliver()
    await asyncio.wait_for(asyncio.gather(*waiting), 20)
    for subscription in subscriptions[1:]:
        subscription.close()


async def test_a_closed_subscription_may_be_closed_again(acme: Home) -> None:
    subscription = acme.db.changes.subscribe([acme.inbox])
    subscription.close()
    subscription.close()
    await acme.deliver()


async def test_a_database_closes_while_a_caller_waits(acme: Home, opener: Opener) -> None:
    instance = await opener()
    waiting = asyncio.ensure_future(instance.changes.subscribe([acme.inbox]).wait())
    await asyncio.sleep(0)
    await instance.close()
    waiting.cancel()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_new_job_wakes_the_workers(acme: Home, opener: Opener, elsewhere: bool) -> None:
    placed = await acme.deliver()
    instance: Database = await opener() if elsewhere else acme.db
    subscription = instance.changes.subscribe([QUEUE])
    await _quiet(subscription)
    now = time.time()
    to = (JobRecipient("bob@example.org"),)
    waiting = asyncio.ensure_future(subscription.wait())
    made = Job(IDS.new(), "ann@acme.test", to, "example.org", now - 1, now + 86_400)
    await acme.db.queue.enqueue(acme.tenant, placed.email, [made])
    await asyncio.wait_for(waiting, 20)
    # With its message, and after an operator's release.
    queued = replace(made, id=IDS.new())
    for work in (
        acme.db.writer.write(Indexed((IndexedMessage(email(acme.tenant), (), jobs=(queued,)),))),
        _hold_and_release(acme, made.id),
    ):
        await _quiet(subscription)
        waiting = asyncio.ensure_future(subscription.wait())
        await work
        if not elsewhere:
            await asyncio.wait_for(waiting, 20)
        waiting.cancel()
    subscription.close()


async def _hold_and_release(home: Home, job: str) -> None:
    await home.db.queue.hold(home.tenant, [job], "stop")
    await home.db.queue.release(home.tenant, [job])
