"""Waking those who watch a mailbox: at once within this process, within 50 ms between processes.

Other processes' commits show in SQLite's ``data_version``; it is looked at only while somebody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterable

import structlog

from inbox.base.errors import StoreError
from inbox.store.sqlite.entries import CHUNK
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import words_to_text

#: Seconds between two looks at the database for other processes' changes.
POLL_SECONDS = 0.05


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

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._watchers: dict[str, set[BusSubscription]] = {}
        self._known: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("inbox.store")

    def subscribe(self, mailboxes: Iterable[str]) -> BusSubscription:
        subscription = BusSubscription(self, frozenset(mailboxes))
        for mailbox in subscription.mailboxes:
            self._watchers.setdefault(mailbox, set()).add(subscription)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._poll())
        return subscription

    def remove(self, subscription: BusSubscription) -> None:
        """Forgets a subscription; the poll ends with the last one."""
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

    async def close(self) -> None:
        """Ends the poll."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _poll(self) -> None:
        version = -1
        failing = False
        while True:
            try:
                seen = await self._gateway.data_version()
                if seen != version:
                    await self._look()
                version = seen
                failing = False
            except StoreError as error:
                # Those who watch ask the database themselves and hear of the trouble there; here it is only logged.
                if not failing:
                    self._log.warning("changes_poll_failed", error=str(error))
                failing = True
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self) -> None:
        names = list(self._watchers)

        def work(db: sqlite3.Connection) -> dict[str, int]:
            found: dict[str, int] = {}
            for start in range(0, len(names), CHUNK):
                sql = "SELECT id, modseq FROM mailbox WHERE id IN (SELECT value FROM json_each(?))"
                found.update(db.execute(sql, (words_to_text(names[start : start + CHUNK]),)).fetchall())
            return found

        modseqs = await self._gateway.read(work)
        for mailbox in names:
            # A mailbox that is gone reads as 0: its watchers must find out, too.
            modseq = modseqs.get(mailbox, 0)
            if self._known.get(mailbox) != modseq and mailbox in self._watchers:
                self._known[mailbox] = modseq
                self.publish((mailbox,))
