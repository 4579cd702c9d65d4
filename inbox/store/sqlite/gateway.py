"""The one place that talks to SQLite: a writer thread with group commit and a pool of readers.

Work is a function that takes a connection. All short work that has queued up while the last commit was being
synced to disk goes into the next transaction; a piece that fails does not harm the others. What may touch many rows
comes in steps (:mod:`inbox.store.sqlite.steps`), each a transaction of its own. A caller's future is resolved after
the commit, never before.

Several processes may open one file, see :mod:`inbox.store.sqlite.commit`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.store.room import Room
from inbox.store.sqlite.commit import Committer, Identity, Job, Synchronous, Work, connect, translated
from inbox.store.sqlite.line import Line

R = TypeVar("R")


class _Job(Job[R]):
    """One piece of work and whom to tell."""

    __slots__ = ("future",)

    def __init__(self, work: Work[R], future: asyncio.Future[R]) -> None:
        super().__init__(work)
        self.future = future

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # R may well be None


class Gateway:
    """One database file.

    Args:
        path: the file; its folder must exist.
        migrations: folder of ``0001.sql``, ``0002.sql`` …, applied in order, each once.
        synchronous: ``FULL`` syncs every commit; ``OFF`` is for what may be lost with the machine.
        readers: threads and connections for reading.
        room: whose reserve is given away when the disk is full.
    """

    def __init__(
        self,
        path: Path,
        migrations: Path,
        *,
        synchronous: Synchronous = "FULL",
        readers: int = 4,
        room: Room | None = None,
    ) -> None:
        self._path = path
        self._migrations = migrations
        self._synchronous: Synchronous = synchronous
        self._committer = Committer(path, synchronous, room)
        self._line: Line[_Job[Any]] = Line()
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="sqlite-read")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watcher: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Opens the file, creates or migrates its schema, starts the writer.

        Raises:
            StoreUnavailable: the file cannot be opened.
            StoreError: its schema is newer than this program.
        """
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._pool, self._committer.open, self._migrate)
        self._thread = threading.Thread(target=self._write_loop, name="sqlite-write", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finishes what was queued, then closes all connections."""
        if self._thread is not None:
            self._line.close()
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
            self._thread = None
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._committer.close()

    @property
    def path(self) -> Path:
        return self._path

    @property
    def identity(self) -> Identity:
        """The files that are open; not before :meth:`open`."""
        return self._committer.opened

    def check_file(self) -> None:
        """Raises StoreUnavailable unless the files are still the ones that were opened; then nothing can be written."""
        self._committer.check_file()

    def submit(self, work: Work[R], *, tenant: str = "", step: bool = False) -> asyncio.Future[R]:
        """Queues a write; the future is done when it is durable, or has failed and left nothing behind.

        ``work`` may be run twice: what it does outside the database must bear that.

        Args:
            tenant: whose it is, for a fair share of the writer; empty for the installation's own.
            step: one step of a long job: it has a transaction of its own, and what is short comes first.
        """
        if self._thread is None or self._loop is None:
            raise StoreUnavailable(f"{self._path} is not open")
        job: _Job[R] = _Job(work, self._loop.create_future())
        self._line.put(job, tenant=tenant, step=step)
        return job.future

    async def write(self, work: Work[R], *, tenant: str = "") -> R:
        """Runs ``work``, which changes few rows, in a transaction.

        Raises:
            StorageFull, StoreUnavailable, StoreError: nothing was written.
            InboxError: what ``work`` raised; nothing of it was written.
        """
        return await self.submit(work, tenant=tenant)

    async def step(self, work: Work[R], *, tenant: str = "") -> R:
        """Runs one step of a long job in a transaction.

        Raises:
            as :meth:`write`
        """
        return await self.submit(work, tenant=tenant, step=True)

    async def read(self, work: Work[R]) -> R:
        """Runs ``work`` on a reading connection, in a consistent snapshot.

        Raises:
            StoreUnavailable, StoreError
        """
        if self._thread is None or self._loop is None:
            raise StoreUnavailable(f"{self._path} is not open")
        return await self._loop.run_in_executor(self._pool, self._read, work)

    async def data_version(self) -> int:
        """A number that changes with every commit of any process. To be asked by one caller at a time.

        Raises:
            StoreUnavailable
        """
        if self._thread is None or self._loop is None:
            raise StoreUnavailable(f"{self._path} is not open")
        return await self._loop.run_in_executor(self._pool, self._data_version)

    # -- threads ------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        # Where the file was moved away, SQLite would make an empty one.
        self.check_file()
        connection = connect(self._path, self._synchronous)
        self._connections.append(connection)
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        # A file's number is the version that it leads to; numbers may be missing.
        scripts = {int(path.stem): path for path in self._migrations.glob("[0-9]*.sql")}
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > max(scripts):
            raise StoreError(f"{self._path} has schema version {version}, this program knows {max(scripts)}")
        for number in sorted(number for number in scripts if number > version):
            sql = scripts[number].read_text(encoding="utf-8")
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version={number};\nCOMMIT;")

    def _read(self, work: Work[R]) -> R:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
            self._local.connection = connection
        try:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    def _data_version(self) -> int:
        # The number only means something within one connection, so it has its own.
        self._watcher = self._watcher or self._connect()
        try:
            (version,) = self._watcher.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        return int(version)

    def _write_loop(self) -> None:
        while taken := self._line.take():
            # A caller that has given up before its work began does not need it done.
            batch = [job for job in taken if not job.future.cancelled()]
            if batch:
                self._committer.commit(batch)
                self._tell(batch)

    def _tell(self, batch: list[_Job[Any]]) -> None:
        def settle() -> None:
            for job in batch:
                job.settle()

        assert self._loop is not None, "work is only queued after open()"
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)
