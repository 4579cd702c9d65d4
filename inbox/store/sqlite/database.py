"""The embedded database as a whole."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from inbox.base.clock import Clock
from inbox.base.errors import StoreError, StoreUnavailable
from inbox.base.ids import Ids
from inbox.store.rates import LastingCounters
from inbox.store.room import Room
from inbox.store.sqlite import copying
from inbox.store.sqlite.changes import SqliteBus
from inbox.store.sqlite.clerk import Clerk
from inbox.store.sqlite.decisions import SqliteDecisions
from inbox.store.sqlite.dkim_keys import SqliteDkimKeys
from inbox.store.sqlite.dmarc_reports import SqliteDmarcReports
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.hosting import SqliteHosting
from inbox.store.sqlite.installation import SqliteInstallation
from inbox.store.sqlite.mailboxes import SqliteMailboxes
from inbox.store.sqlite.messages import SqliteMessages
from inbox.store.sqlite.plugin_state import SqlitePluginState
from inbox.store.sqlite.queue import SqliteQueue
from inbox.store.sqlite.rates import SqliteRates
from inbox.store.sqlite.tenants import SqliteAccounts, SqliteTenants
from inbox.store.worker.client import Door, Helper
from inbox.store.worker.deposits import Deposits

_HERE = Path(__file__).parent
_END_SECONDS = 3.0


class SqliteDatabase:
    """``Database`` of ``inbox.store.ports`` in one file (and one for counters, beside it).

    Args:
        path: e.g. ``data/inbox.db``. Missing folders are created, for the owner only.
        door: the way to the process that files what arrives, for a server; a command has little to file.
        blobs: the directory of the blobs, if that process is to write them.
    """

    def __init__(
        self, path: Path, clock: Clock, ids: Ids, *, door: Door | None = None, blobs: Path | None = None
    ) -> None:
        self._path = path
        # In a server, which has the process that files, the reserve is made; whoever needs it gives it away.
        self._serving = door is not None
        self._reserving: asyncio.Future[None] | None = None
        self._room = room = Room(path.parent)
        self._main = Gateway(path, _HERE / "migrations", room=room)
        self._counters = SqliteRates(path.with_name(f"{path.stem}-rates{path.suffix}"), room)
        self.changes = SqliteBus(self._main)
        self._clerk = Clerk(self._main, self.changes, door, blobs, room) if door is not None else None
        self.deposits: Deposits | None = self._clerk if blobs is not None else None
        self.tenants = SqliteTenants(self._main, clock, ids)
        self.accounts = SqliteAccounts(self._main, clock, ids)
        self.hosting = SqliteHosting(self._main, ids, self.changes)
        self.mailboxes = SqliteMailboxes(self._main, clock, ids, self.changes)
        self.messages = SqliteMessages(self._main, clock, ids, self.changes, room, self._clerk)
        self.decisions = SqliteDecisions(self._main, room)
        self.rates = LastingCounters(self._counters, self._counters.reopen)
        self.dkim_keys = SqliteDkimKeys(self._main)
        self.dmarc_reports = SqliteDmarcReports(self._main)
        self.queue = SqliteQueue(self._main, clock, room)
        self.plugin_state = SqlitePluginState(self._main, room)
        self.installation = SqliteInstallation(self._main)

    @property
    def helper(self) -> Helper | None:
        """The process that files what arrives, if there is one."""
        return None if self._clerk is None else self._clerk.helper

    async def open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreUnavailable(f"{self._path.parent}: {error}") from error
        await self._main.open()
        try:
            await self._counters.open()
        except StoreError as error:
            self.rates.failed(str(error))
        if self._clerk is not None:
            await self._clerk.open()
        # Nobody waits for some megabytes to be written.
        self._reserving = asyncio.ensure_future(self._keep_reserve())

    async def close(self) -> None:
        if self._reserving is not None:
            # A disk that hangs does not keep the server from ending.
            await asyncio.wait([self._reserving], timeout=_END_SECONDS)
        await self.changes.close()
        await self.rates.close()
        if self._clerk is not None:
            await self._clerk.close()
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
            # A connection that is open can still read what was moved away.
            self._main.check_file()

        await self._main.read(work)
