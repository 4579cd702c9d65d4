"""The one place that talks to SQLite: a writer thread with group commit and a pool of readers.

Work is a function that takes a connection. All work that has queued up while the last commit was being
synced to disk goes into the next transaction; a piece that fails does not harm the others. A caller's future is
resolved after the commit, never before.

Several processes may open one file. A lock file makes their writers queue up in the kernel: SQLite's own
waiting polls with growing pauses and starves a process under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from inbox.base.errors import InboxError, StorageFull, StoreError, StoreUnavailable

R = TypeVar("R")
Work = Callable[[sqlite3.Connection], R]
#: Pieces of work in one transaction; bounds the time that a first caller waits for the last.
BATCH = 256
#: Pages of WAL before a commit also copies them into the main file: rarer than the default of 1,000, because the
#: copy is synced and every waiting caller waits for it.
CHECKPOINT_PAGES = 4000
#: Seconds that a connection waits for a lock that another program (a backup, a shell) holds.
BUSY_SECONDS = 10.0


def translated(error: sqlite3.Error, path: Path) -> InboxError:
    """Our error for one of SQLite's about the file ``path``."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(f"{path}: {error}")
    if code in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    ):
        return StoreUnavailable(f"{path}: {error}")
    return StoreError(f"{path}: {type(error).__name__}: {error}")


class _Replaced(StoreUnavailable):
    """The files are not the ones that were opened."""


class _PieceFailed(Exception):
    """A piece of work raised; the transaction it was in is rolled back."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Job(Generic[R]):
    """One piece of work and whom to tell."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Work[R], future: asyncio.Future[R]) -> None:
        self.work = work
        self.future = future
        self.result: R | None = None
        self.error: BaseException | None = None

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
    """

    def __init__(
        self, path: Path, migrations: Path, *, synchronous: Literal["FULL", "OFF"] = "FULL", readers: int = 4
    ) -> None:
        self._path = path
        self._migrations = migrations
        self._synchronous = synchronous
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="sqlite-read")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: sqlite3.Connection | None = None
        self._lock_fd = -1
        self._inode: tuple[int, ...] | None = None
        self._watcher: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Opens the file, creates or migrates its schema, starts the writer.

        Raises:
            StoreUnavailable: the file cannot be opened.
            StoreError: its schema is newer than this program.
        """
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._pool, self._open)
        self._thread = threading.Thread(target=self._write_loop, name="sqlite-write", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finishes what was queued, then closes all connections."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
            self._thread = None
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def submit(self, work: Work[R]) -> asyncio.Future[R]:
        """Queues a write; the future is done when it is durable, or has failed and left nothing behind.

        ``work`` may be run twice: what it does outside the database must bear that.
        """
        if self._thread is None or self._loop is None:
            raise StoreUnavailable(f"{self._path} is not open")
        job: _Job[R] = _Job(work, self._loop.create_future())
        self._jobs.put(job)
        return job.future

    async def write(self, work: Work[R]) -> R:
        """Runs ``work`` in a transaction.

        Raises:
            StorageFull, StoreUnavailable, StoreError: nothing was written.
            InboxError: what ``work`` raised; nothing of it was written.
        """
        return await self.submit(work)

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
        try:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS, cached_statements=256
            )
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            connection.execute("PRAGMA cache_size=-16384")
            connection.execute("PRAGMA temp_store=MEMORY")
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        self._connections.append(connection)
        return connection

    def _open(self) -> None:
        try:
            self._lock_fd = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self._writer = self._connect()
            self._path.chmod(0o600)
            self._migrate(self._writer)
            self._inode = self._identity()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        scripts = sorted(self._migrations.glob("[0-9]*.sql"))
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(scripts):
            raise StoreError(f"{self._path} has schema version {version}, this program knows {len(scripts)}")
        for number, script in enumerate(scripts[version:], start=version + 1):
            sql = script.read_text(encoding="utf-8")
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version={number};\nCOMMIT;")

    def _identity(self) -> tuple[int, ...]:
        """The file and its write-ahead log, which stays one file for as long as anybody has the database open."""
        try:
            found, log = self._path.stat(), Path(f"{self._path}-wal").stat()
        except OSError as error:
            raise _Replaced(f"{self._path}: {error}") from error
        return found.st_dev, found.st_ino, log.st_ino

    def _check_file(self) -> None:
        # An unlinked or replaced file can still be written to, and what is written is lost: that must not be
        # acknowledged. A new file is never taken over silently: a restart makes that decision visible.
        if self._identity() != self._inode:
            raise _Replaced(f"{self._path} or its write-ahead log was replaced while it was open")

    def _rescue(self) -> None:
        """What was acknowledged and stands in a log that somebody removed is copied into the database while we can
        still read it. Nobody else may have begun another log: two of them would spoil the database.
        """
        if self._writer is not None and not Path(f"{self._path}-wal").exists() and self._path.exists():
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

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
        running = True
        while running:
            job = self._jobs.get()
            batch: list[_Job[Any]] = []
            while job is not None:
                # A caller that has given up before its work began does not need it done.
                if not job.future.cancelled():
                    batch.append(job)
                if len(batch) >= BATCH:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            else:
                running = False
            if batch:
                self._commit(batch)

    def _commit(self, batch: list[_Job[Any]]) -> None:
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self._check_file()
            try:
                self._transaction(batch, savepoints=False)
            except _PieceFailed as failure:
                if len(batch) == 1:
                    raise failure.error from failure
                # Nothing was written, and the others must not suffer. This time each is behind a savepoint of its
                # own, which costs two statements apiece and is rarely needed. A commit that failed is not tried
                # again: what the disk has of it nobody knows.
                self._transaction(batch, savepoints=True)
        except Exception as error:  # noqa: BLE001  # every caller must hear of it, whatever it was
            failed = translated(error, self._path) if isinstance(error, sqlite3.Error) else error
            if isinstance(error, _Replaced):
                with contextlib.suppress(sqlite3.Error):  # the callers hear of the removal, which is what is wrong
                    self._rescue()
            for job in batch:
                if job.error is None:
                    job.error = failed
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        self._tell(batch)

    def _transaction(self, batch: list[_Job[Any]], *, savepoints: bool) -> None:
        connection = self._writer
        assert connection is not None, "the writer thread runs while the connection is open"
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in batch:
                if savepoints:
                    self._run(connection, job)
                else:
                    self._run_plainly(connection, job)
            self._check_file()
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    @staticmethod
    def _run_plainly(connection: sqlite3.Connection, job: _Job[Any]) -> None:
        try:
            job.result = job.work(connection)
        except Exception as error:
            raise _PieceFailed(error) from error

    def _run(self, connection: sqlite3.Connection, job: _Job[Any]) -> None:
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(connection)
        except Exception as error:
            # A full disk rolls the whole transaction back by itself: then there is no savepoint any more, and the
            # batch fails as one.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            job.error = translated(error, self._path) if isinstance(error, sqlite3.Error) else error
        connection.execute("RELEASE job")

    def _tell(self, batch: list[_Job[Any]]) -> None:
        def settle() -> None:
            for job in batch:
                job.settle()

        assert self._loop is not None, "work is only queued after open()"
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)
