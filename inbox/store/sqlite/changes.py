"""Change notifications for mailboxes: at once within this process, within 50 ms between processes; new jobs in 200 ms.

Commits of other processes change SQLite's ``data_version``; it is polled only while there are subscriptions.
"""

from __future__ import annotations

import asyncio
import sqlite3

import structlog

from inbox.base.errors import StoreError
from inbox.store.bus import Bus
from inbox.store.ports.changes import QUEUE
from inbox.store.sqlite.entries import CHUNK
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import words_to_text

#: Seconds between two polls for other processes' changes.
POLL_SECONDS = 0.05
#: The same while nothing but the queue is watched: an idle worker must not use the CPU. New jobs of its own process
#: wake a worker at once.
QUEUE_POLL_SECONDS = 0.2


class SqliteBus(Bus):
    """Change bus of one machine: it detects other processes' commits by ``data_version``."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway
        self._log = structlog.get_logger("inbox.store")

    async def _watch(self) -> None:
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
                # Subscribers query the database themselves and get the error there; here it is only logged.
                if not failing:
                    self._log.warning("changes_poll_failed", error=str(error))
                failing = True
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(QUEUE_POLL_SECONDS if self.watched() == [QUEUE] else POLL_SECONDS)

    async def _look(self) -> None:
        names = self.watched()

        def work(db: sqlite3.Connection) -> dict[str, int]:
            found: dict[str, int] = {}
            for start in range(0, len(names), CHUNK):
                sql = "SELECT id, modseq FROM mailbox WHERE id IN (SELECT value FROM json_each(?))"
                found.update(db.execute(sql, (words_to_text(names[start : start + CHUNK]),)).fetchall())
            return found

        if QUEUE in names:
            names.remove(QUEUE)
            sql = "SELECT EXISTS (SELECT 1 FROM outbound_queue WHERE ready = 1)"
            if await self._gateway.read(lambda db: db.execute(sql).fetchone()[0]):
                self.publish((QUEUE,))
        if names:
            self.seen(names, await self._gateway.read(work))
