"""Change notifications for mailboxes: the part that both databases share.

Within a process every change is published at once. A task of the backend finds the changes of other processes and
instances; it runs only while there are subscriptions.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from inbox.store.ports.changes import QUEUE
from inbox.store.ports.ingest import AcceptedMessage, IndexedMessage
from inbox.store.ports.messages import Placed


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


class Bus(ABC):
    """``Changes`` of ``inbox.store.ports``; a backend adds the detection of other processes' changes."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[BusSubscription]] = {}
        self._known: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _watch(self) -> None:
        """Runs until it is cancelled: polls the modseqs of :meth:`watched` and passes them to :meth:`seen`."""

    def subscribe(self, mailboxes: Iterable[str]) -> BusSubscription:
        subscription = BusSubscription(self, frozenset(mailboxes))
        for mailbox in subscription.mailboxes:
            self._watchers.setdefault(mailbox, set()).add(subscription)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())
        return subscription

    def remove(self, subscription: BusSubscription) -> None:
        """Removes a subscription; the task ends with the last one."""
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
        """Wakes the subscribers of these mailboxes in this process."""
        if self._watchers:
            for mailbox in mailboxes:
                for subscription in self._watchers.get(mailbox, ()):
                    subscription.wake()

    def publish_written(
        self, messages: Iterable[IndexedMessage | AcceptedMessage], placed: Iterable[Iterable[Placed]]
    ) -> None:
        """Wakes the waiters for rows just written: copies in mailboxes, and jobs that no worker has leased."""
        self.publish([place.mailbox for places in placed for place in places])
        if any(message.jobs and message.lease is None for message in messages):
            self.publish((QUEUE,))

    def watched(self) -> list[str]:
        """Returns the mailboxes with subscriptions."""
        return list(self._watchers)

    def seen(self, asked: Iterable[str], modseqs: Mapping[str, int]) -> None:
        """Wakes the subscribers of mailboxes that changed since the last poll; ``modseqs`` is its result for
        ``asked``."""
        for mailbox in asked:
            # The modseq of a removed mailbox is 0: its subscribers must be woken, too.
            modseq = modseqs.get(mailbox, 0)
            if mailbox in self._watchers and self._known.get(mailbox) != modseq:
                self._known[mailbox] = modseq
                self.publish((mailbox,))

    async def close(self) -> None:
        """Stops the task."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
