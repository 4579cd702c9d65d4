"""Change notifications for mailboxes: at once within this process, within milliseconds between instances.

Between instances a LIVE query on ``mailbox`` is a hint: every change of a mailbox's entries writes its row. Notices may
be lost (a connection breaks, a server restarts), so the modseqs of the watched mailboxes are also polled periodically.
Both run only while there are subscriptions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

import structlog

from inbox.base.errors import StoreError
from inbox.store.bus import Bus, BusSubscription
from inbox.store.ports.changes import QUEUE
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.values import RecordId

#: Seconds between two polls of the modseqs: the maximum delay of a change whose notice was lost.
POLL_SECONDS: Final = 5.0
#: Seconds after which a failed LIVE query is retried.
RETRY_SECONDS: Final = 1.0
#: Mailboxes in one poll.
PAGE: Final = 1000


class SurrealBus(Bus):
    """Change bus of several instances: LIVE notices, backed by a slow poll."""

    def __init__(self) -> None:
        super().__init__()
        self._gateway: Gateway | None = None
        self._live = False
        self._look_now = asyncio.Event()
        self._log = structlog.get_logger("inbox.store")

    def attach(self, gateway: Gateway) -> None:
        """Sets the gateway to query; the gateway in turn reports notices and lost connections here."""
        self._gateway = gateway

    def subscribe(self, mailboxes: Iterable[str]) -> BusSubscription:
        # Changes between the caller's last read and this moment were not watched: the next poll finds them.
        self._look_now.set()
        return super().subscribe(mailboxes)

    def noticed(self, notice: Any) -> None:
        """Handles a live notification: some instance has changed a row of ``mailbox``."""
        record = notice.get("record") if isinstance(notice, dict) else None
        if isinstance(record, RecordId):
            self.publish((QUEUE if record.table == QUEUE else record.key,))

    def lost(self) -> None:
        """Handles a lost connection, which also ends the LIVE query."""
        self._live = False
        self._look_now.set()

    async def _watch(self) -> None:
        failing = False
        while True:
            self._look_now.clear()
            try:
                await self._look()
                failing = False
            except StoreError as error:
                # Subscribers query the database themselves and get the error there; here it is only logged.
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
            # Every change of a job raises its version, so only new jobs are noticed.
            await gateway.live(QUEUE, "version = 0 AND status = 'queued'")
            self._live = True
        names = self.watched()
        for start in range(0, len(names), PAGE):
            page = names[start : start + PAGE]
            (found,) = await gateway.query(
                "SELECT id, modseq FROM $ids WHERE modseq", ids=[rows.mailbox_id(name) for name in page]
            )
            self.seen(page, {row["id"].key: row["modseq"] for row in found})
