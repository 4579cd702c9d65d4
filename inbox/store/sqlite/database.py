"""SQLite implementation of the database port."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.base.folders import make_folder
from inbox.base.ids import Ids
from inbox.store.blobs.files import Files
from inbox.store.ingest import BlobsFirst, ThroughWorker
from inbox.store.ports import Blobs
from inbox.store.ports.ingest import Ingest, RunBlocking
from inbox.store.rates import LastingCounters
from inbox.store.room import Room
from inbox.store.sqlite import copying
from inbox.store.sqlite.accounts import SqliteAccounts
from inbox.store.sqlite.api_keys import SqliteApiKeys
from inbox.store.sqlite.changes import SqliteBus
from inbox.store.sqlite.credentials import SqliteCredentials
from inbox.store.sqlite.decisions import SqliteDecisions
from inbox.store.sqlite.dkim_keys import SqliteDkimKeys
from inbox.store.sqlite.dmarc_reports import SqliteDmarcReports
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.hosting import SqliteHosting
from inbox.store.sqlite.idempotency import SqliteIdempotencyKeys
from inbox.store.sqlite.ingest import SqliteMessageWriter
from inbox.store.sqlite.installation import SqliteInstallation
from inbox.store.sqlite.mailboxes import SqliteMailboxes
from inbox.store.sqlite.messages import SqliteMessages
from inbox.store.sqlite.plugin_state import SqlitePluginState
from inbox.store.sqlite.queue import SqliteQueue
from inbox.store.sqlite.rates import SqliteRates
from inbox.store.sqlite.shared import SqliteSharedInboxes
from inbox.store.sqlite.suppression import SqliteSuppressions
from inbox.store.sqlite.tenants import SqliteTenants
from inbox.store.sqlite.webhooks import SqliteWebhooks
from inbox.store.worker.client import WorkerClient
from inbox.store.worker.starting import Handover

_HERE = Path(__file__).parent
_END_SECONDS = 3.0


class SqliteDatabase:
    """``Database`` of ``inbox.store.ports`` in one file, with a second file for counters beside it.

    Args:
        path: for example ``data/inbox.db``. Missing folders are created, accessible only to their owner.
        worker: the worker process that writes accepted messages; used by a server, because a command writes few
            messages.
        blobs: the directory of the blobs, if the worker writes them.
    """

    def __init__(
        self, path: Path, clock: Clock, ids: Ids, *, worker: Handover | None = None, blobs: Path | None = None
    ) -> None:
        self._path = path
        # A server, which has a worker, creates the reserve; any process that needs it releases it.
        self._serving = worker is not None
        self._reserving: asyncio.Future[None] | None = None
        self._room = room = Room(path.parent)
        self._main = Gateway(path, _HERE / "migrations", room=room)
        self._counters = SqliteRates(path.with_name(f"{path.stem}-rates{path.suffix}"), room)
        self.changes = SqliteBus(self._main)
        self._blobs = blobs
        self._worker = None if worker is None else self._make_client(worker)
        self.writer = SqliteMessageWriter(self._main, self.changes, room, self._worker)
        self.tenants = SqliteTenants(self._main, clock, ids)
        self.accounts = SqliteAccounts(self._main, clock, ids)
        self.credentials = SqliteCredentials(self._main)
        self.api_keys = SqliteApiKeys(self._main)
        self.shared_inboxes = SqliteSharedInboxes(self._main, clock, ids)
        self.hosting = SqliteHosting(self._main, ids, self.changes)
        self.mailboxes = SqliteMailboxes(self._main, clock, ids, self.changes)
        self.messages = SqliteMessages(self._main, clock, ids, self.changes, room)
        self.decisions = SqliteDecisions(self._main, room)
        self.rates = LastingCounters(self._counters, self._counters.reopen)
        self.dkim_keys = SqliteDkimKeys(self._main)
        self.dmarc_reports = SqliteDmarcReports(self._main)
        self.queue = SqliteQueue(self._main, clock, room, self.changes, self._worker)
        self.suppressions = SqliteSuppressions(self._main)
        self.webhooks = SqliteWebhooks(self._main)
        self.idempotency_keys = SqliteIdempotencyKeys(self._main)
        self.plugin_state = SqlitePluginState(self._main, room)
        self.installation = SqliteInstallation(self._main)

    @property
    def worker(self) -> WorkerClient | None:
        """The worker process that writes accepted messages, if there is one."""
        return self._worker

    def ingest(self, blobs: Blobs, run_blocking: RunBlocking) -> Ingest:
        direct = BlobsFirst(blobs, self.writer, run_blocking)
        if self._worker is None or self._blobs is None:
            return direct
        return ThroughWorker(self._worker, direct, self.changes, (self._room, Room(self._blobs)))

    def _make_client(self, worker: Handover) -> WorkerClient:
        main, blobs = self._main, self._blobs
        files = None if blobs is None else Files(str(blobs.absolute()))
        return WorkerClient(worker, files=files, database=lambda: (str(main.path.absolute()), main.identity))

    async def open(self) -> None:
        make_folder(self._path.parent, 0o700)
        await self._main.open()
        try:
            await self._counters.open()
        except StoreError as error:
            self.rates.failed(str(error))
        if self._worker is not None:
            await self._worker.remember_store()
            await self._worker.start()
        # No request waits for these megabytes to be written.
        self._reserving = asyncio.ensure_future(self._keep_reserve())

    async def close(self) -> None:
        if self._reserving is not None:
            # A hanging disk must not keep the server from stopping.
            await asyncio.wait([self._reserving], timeout=_END_SECONDS)
        await self.changes.close()
        await self.rates.close()
        if self._worker is not None:
            await self._worker.close()
        await self._main.close()
        await self._counters.close()

    async def tidy(self, before: float) -> int:
        await self._keep_reserve()
        return await copying.undo_abandoned(self._main, before) + await self.mailboxes.tidy()

    async def _keep_reserve(self) -> None:
        if self._serving:
            await asyncio.get_running_loop().run_in_executor(None, self._room.keep)

    async def ping(self) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("SELECT 1 FROM meta").fetchone()
            # An open connection can still read a file that was moved away.
            self._main.check_file()

        await self._main.read(work)
