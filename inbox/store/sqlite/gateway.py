"""Access to SQLite: a writer thread with group commit and a pool of readers.

Work is a function that takes a connection. All short work that is queued while the last commit is synced to disk goes
into the next transaction; a failed function does not affect the others. Work that may touch many rows runs in steps
(:mod:`inbox.store.sqlite.steps`), each in its own transaction. A caller's future is resolved after the commit, never
before.

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
    """A function to run, and the future of its caller."""

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
            self.future.set_result(self.result)  # type: ignore[arg-type]  # R may be None


class Gateway:
    """One database file.

    Args:
        path: the file; its folder must exist.
        migrations: folder of ``0001.sql``, ``0002.sql`` …, applied in order, each once.
        synchronous: ``FULL`` syncs every commit; ``OFF`` is for data that a crash of the machine may lose.
        readers: threads and connections for reading.
        room: its reserve is released when the disk is full.
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
        """Finishes queued work, then closes all connections."""
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
        """The identity of the open files; available after :meth:`open`."""
        return self._committer.opened

    def check_file(self) -> None:
        """Raises StoreUnavailable if the files are not those that were opened; in that case nothing can be written."""
        self._committer.check_file()

    def submit(self, work: Work[R], *, tenant: str = "", step: bool = False) -> asyncio.Future[R]:
        """Queues a write; the future is done when it is durable, or has failed and left nothing behind.

        ``work`` may run twice, so its effects outside the database must be idempotent.

        Args:
            tenant: the tenant whose share of the writer the work uses; empty for work of the installation itself.
            step: True for one step of a long job: it has its own transaction, and short work comes first.
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
            InboxError: raised by ``work``; nothing was written.
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
        """Returns a number that changes with every commit of any process. Only one caller at a time may use it.

        Raises:
            StoreUnavailable
        """
        if self._thread is None or self._loop is None:
            raise StoreUnavailable(f"{self._path} is not open")
        return await self._loop.run_in_executor(self._pool, self._data_version)

    # -- threads ------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        # If the file was moved away, SQLite would create an empty one.
        self.check_file()
        connection = connect(self._path, self._synchronous)
        self._connections.append(connection)
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        # A file's number is the schema version after it; numbers may be missing.
        scripts = {int(path.stem): path for path in self._migrations.glob("[0-9]*.sql")}
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > max(scripts):
            raise StoreError(f"{self._path} has schema version {version}, newer than this program's {max(scripts)}")
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
        # The number is only meaningful within one connection, so it has its own.
        self._watcher = self._watcher or self._connect()
        try:
            (version,) = self._watcher.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        return int(version)

    def _write_loop(self) -> None:
        while taken := self._line.take():
            # Work whose caller gave up before it began is skipped.
            batch = [job for job in taken if not job.future.cancelled()]
            if batch:
                self._committer.commit(batch)
                self._resolve(batch)

    def _resolve(self, batch: list[_Job[Any]]) -> None:
        def settle() -> None:
            for job in batch:
                job.settle()

        assert self._loop is not None, "work is only queued after open()"
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)
