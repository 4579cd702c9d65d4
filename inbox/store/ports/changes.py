"""Port of change notifications: wakes the sessions that watch a mailbox, and the workers of the queue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

#: Subscribed to like a mailbox: jobs were queued, or made due, and no worker has leased them.
QUEUE: Final = "outbound_queue"


class Changes(Protocol):
    """Notifies other sessions, processes and instances that a mailbox has changed."""

    def subscribe(self, mailboxes: Iterable[str]) -> Subscription:
        """Watches these mailboxes, or :data:`QUEUE`."""
        ...


class Subscription(Protocol):
    """Wakes its owner when one of its mailboxes may have changed. May wake without a change."""

    async def wait(self) -> None:
        """Returns after the next change, or at once if there was one since the last call."""
        ...

    def close(self) -> None: ...
