"""Waking those who watch a mailbox: at once within this process, within milliseconds between instances.

Between instances a LIVE query on ``mailbox`` is a hint: every change of a mailbox's entries writes its row. Notices may
be lost (a connection breaks, a server restarts), so the modseqs of the watched mailboxes are also looked at now and
then. Both run only while somebody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

import structlog

from inbox.base.errors import StoreError
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import RecordId

#: Seconds between two looks at the modseqs: how late a change is seen whose notice was lost.
POLL_SECONDS: Final = 5.0
#: Seconds after which a LIVE query that could not be made is tried again.
RETRY_SECONDS: Final = 1.0
#: Mailboxes in one look.
PAGE: Final = 1000


class BusSubscription:
    """``Subscription`` of ``inbox.store.ports``."""

    def __init__(self, bus: Bus, mailboxes: frozenset[str]) -> None:
        self._bus = bus
        self.mailboxes = mailboxes
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()

    def close(self) -> None:
        self._bus.remove(self)


class Bus:
    """``Changes`` of ``inbox.store.ports``."""

    def __init__(self) -> None:
        self._gateway: Gateway | None = None
        self._watchers: dict[str, set[BusSubscription]] = {}
        self._known: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._live = False
        self._look_now = asyncio.Event()
        self._log = structlog.get_logger("inbox.store")

    def attach(self, gateway: Gateway) -> None:
        """Tells whom to ask; the gateway in turn reports notices and lost connections here."""
        self._gateway = gateway

    def subscribe(self, mailboxes: Iterable[str]) -> BusSubscription:
        subscription = BusSubscription(self, frozenset(mailboxes))
        for mailbox in subscription.mailboxes:
            self._watchers.setdefault(mailbox, set()).add(subscription)
        # What changed between the caller's last look and this moment was not watched: the next look tells.
        self._look_now.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())
        return subscription

    def remove(self, subscription: BusSubscription) -> None:
        """Forgets a subscription; the watching ends with the last one."""
        for mailbox in subscription.mailboxes:
            watchers = self._watchers.get(mailbox, set())
            watchers.discard(subscription)
            if not watchers:
                self._watchers.pop(mailbox, None)
                self._known.pop(mailbox, None)
        if not self._watchers and self._task is not None:
            self._task.cancel()
            self._task = None

    def publish(self, mailboxes: Iterable[str]) -> None:
        """Wakes the watchers of these mailboxes in this process."""
        if self._watchers:
            for mailbox in mailboxes:
                for subscription in self._watchers.get(mailbox, ()):
                    subscription.wake()

    def noticed(self, notice: Any) -> None:
        """A live notification: a row of ``mailbox`` has changed, somewhere."""
        record = notice.get("record") if isinstance(notice, dict) else None
        if isinstance(record, RecordId):
            self.publish((record.key,))

    def lost(self) -> None:
        """The connection is gone, and the LIVE query with it."""
        self._live = False
        self._look_now.set()

    async def close(self) -> None:
        """Ends the watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _watch(self) -> None:
        failing = False
        while True:
            self._look_now.clear()
            try:
                await self._look()
                failing = False
            except StoreError as error:
                # Those who watch ask the database themselves and hear of the trouble there; here it is only logged.
                if not failing:
                    self._log.warning("changes_watch_failed", error=str(error))
                failing = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if failing else POLL_SECONDS):
                    await self._look_now.wait()
            if failing:
                await asyncio.sleep(RETRY_SECONDS)

    async def _look(self) -> None:
        gateway = self._gateway
        assert gateway is not None, "attached when the database object is made"
        if not self._live:
            await gateway.live("mailbox")
            self._live = True
        names = list(self._watchers)
        for start in range(0, len(names), PAGE):
            page = names[start : start + PAGE]
            (found,) = await gateway.query(
                "SELECT id, modseq FROM $ids WHERE modseq", ids=[rows.mailbox_id(name) for name in page]
            )
            modseqs = {row["id"].key: row["modseq"] for row in found}
            for mailbox in page:
                # A mailbox that is gone reads as 0: its watchers must find out, too.
                modseq = modseqs.get(mailbox, 0)
                if mailbox in self._watchers and self._known.get(mailbox) != modseq:
                    self._known[mailbox] = modseq
                    self.publish((mailbox,))
