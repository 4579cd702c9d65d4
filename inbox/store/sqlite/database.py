"""The embedded database as a whole."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from inbox.base.clock import Clock
from inbox.base.errors import StoreUnavailable
from inbox.base.ids import Ids
from inbox.store.deposits import Deposits
from inbox.store.helper import Door, Helper
from inbox.store.sqlite.changes import SqliteBus
from inbox.store.sqlite.clerk import Clerk
from inbox.store.sqlite.decisions import SqliteDecisions, SqliteRates
from inbox.store.sqlite.dkim_keys import SqliteDkimKeys
from inbox.store.sqlite.dmarc_reports import SqliteDmarcReports
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.hosting import SqliteHosting
from inbox.store.sqlite.installation import SqliteInstallation
from inbox.store.sqlite.mailboxes import SqliteMailboxes
from inbox.store.sqlite.messages import SqliteMessages
from inbox.store.sqlite.tenants import SqliteAccounts, SqliteTenants

_HERE = Path(__file__).parent


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
        self._main = Gateway(path, _HERE / "migrations")
        # Counters: written for each connection and message, worthless after a power cut.
        self._volatile = Gateway(
            path.with_name(f"{path.stem}-rates{path.suffix}"), _HERE / "volatile", synchronous="OFF", readers=1
        )
        self.changes = SqliteBus(self._main)
        self._clerk = Clerk(self._main, self.changes, door, blobs) if door is not None else None
        self.deposits: Deposits | None = self._clerk if blobs is not None else None
        self.tenants = SqliteTenants(self._main, clock, ids)
        self.accounts = SqliteAccounts(self._main, clock, ids)
        self.hosting = SqliteHosting(self._main, ids, self.changes)
        self.mailboxes = SqliteMailboxes(self._main, clock, ids, self.changes)
        self.messages = SqliteMessages(self._main, clock, self.changes, self._clerk)
        self.decisions = SqliteDecisions(self._main)
        self.rates = SqliteRates(self._volatile)
        self.dkim_keys = SqliteDkimKeys(self._main)
        self.dmarc_reports = SqliteDmarcReports(self._main)
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
        await self._volatile.open()
        if self._clerk is not None:
            await self._clerk.open()

    async def close(self) -> None:
        await self.changes.close()
        if self._clerk is not None:
            await self._clerk.close()
        await self._main.close()
        await self._volatile.close()

    async def ping(self) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("SELECT 1 FROM meta").fetchone()
            # A connection that is open can still read what was moved away.
            self._main.check_file()

        await self._main.read(work)
