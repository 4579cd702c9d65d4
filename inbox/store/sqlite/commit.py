"""Group commit: the only writing connection of a process to a SQLite file runs many jobs in one transaction.

Several processes may write to one file; they take turns (:mod:`inbox.store.sqlite.turn`).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Generic, Literal, TypeVar

from inbox.base.errors import InboxError, StorageFull, StoreError, StoreUnavailable
from inbox.store.room import Room
from inbox.store.sqlite.turn import Turn
from inbox.store.sqlite.wal import LATEST_PAGES, LOG_OCTETS, Checkpointer, lengthen

R = TypeVar("R")
Work = Callable[[sqlite3.Connection], R]
Synchronous = Literal["FULL", "OFF"]
#: The database file and its write-ahead log, as device and inode numbers.
Identity = tuple[int, ...]
#: The free space must hold the full length of the write-ahead log this many times.
LOG_ROOM = 16
#: Seconds that a connection waits for a lock that another program (a backup, a shell) holds.
BUSY_SECONDS = 10.0
#: As long as another program holds a lock, only the first write waits that long, and the next ones at most this long.
#: Otherwise a client would wait for the sum of the waits of all writes before its own.
LOCKED_SECONDS = 1.0
#: Parts of the error that an operator sees after moving the files of a running server.
MOVED = "was moved, removed or replaced while it was open"
REMEDY = "restore it, or restart inbox to use the files that are there now"


class StoreDamaged(StoreUnavailable):
    """The file is not a database, or its content is damaged."""


def translated(error: sqlite3.Error, path: Path) -> InboxError:
    """Translates an error of SQLite about the file ``path``."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(f"{path}: {error}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(f"{path}: {error}")
    if code in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
    ):
        return StoreUnavailable(f"{path}: {error}")
    return StoreError(f"{path}: {type(error).__name__}: {error}")


class _Replaced(StoreUnavailable):
    """The files at the path are not those that were opened."""


def _is_full(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


class _PieceFailed(Exception):
    """A job raised an exception; its transaction is rolled back."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Job(Generic[R]):
    """One function to run in a transaction, and its result or error."""

    __slots__ = ("error", "result", "work")

    def __init__(self, work: Work[R]) -> None:
        self.work = work
        self.result: R | None = None
        self.error: BaseException | None = None


def connect(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Opens a connection for reading or writing. Raises StoreUnavailable, StoreError."""
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS, cached_statements=256
        )
        connection.execute(f"PRAGMA synchronous={synchronous}")
        # Data that may be lost needs no log: it is written in place, and needs no additional room.
        connection.execute(f"PRAGMA journal_mode={'WAL' if synchronous == 'FULL' else 'MEMORY'}")
        connection.execute(f"PRAGMA wal_autocheckpoint={LATEST_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={LOG_OCTETS}")
        connection.execute("PRAGMA cache_size=-16384")
        connection.execute("PRAGMA temp_store=MEMORY")
    except sqlite3.Error as error:
        raise translated(error, path) from error
    return connection


class Committer:
    """Runs work in transactions, one batch at a time.

    Args:
        path: the file; its folder must exist.
        synchronous: ``FULL`` syncs every commit; ``OFF`` is for what may be lost with the machine.
        room: its reserve is released when the disk is full, for operations that must still work then.

    Attributes:
        watch: called after each transaction with the number of rows that it changed.
    """

    def __init__(self, path: Path, synchronous: Synchronous = "FULL", room: Room | None = None) -> None:
        self._room = room
        self.watch: Callable[[int], None] | None = None
        self._path = path
        self._file, self._log = str(path), f"{path}-wal"
        self._synchronous: Synchronous = synchronous
        self._connection: sqlite3.Connection | None = None
        self._turn: Turn | None = None
        self._checkpointer = Checkpointer(path, self._connect_again)
        self._opened: Identity | None = None
        #: The last transaction found the file locked; and the seconds that the connection waits for a lock.
        self._is_locked = False
        self._busy_seconds = BUSY_SECONDS

    @property
    def opened(self) -> Identity:
        """The identity of the files that were opened."""
        assert self._opened is not None, "asked for after open()"
        return self._opened

    def open(self, prepare: Callable[[sqlite3.Connection], None], identity: Identity | None = None) -> None:
        """Opens the file.

        Args:
            prepare: a function that prepares the database while all other processes are locked out.
            identity: the files that the program's other connections have open; different files are rejected.

        Raises:
            StoreUnavailable: the file cannot be opened.
            InboxError: raised by ``prepare``.
        """
        if identity is not None:
            self._opened = identity
            self.check_file()
        try:
            self._turn = Turn(self._path)
        except PermissionError as error:
            why = "may not be opened by this user: run inbox as the user that owns it"
            raise StoreUnavailable(f"{error.filename} {why}") from error
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error
        try:
            with self._turn:
                self._prepare(prepare, identity)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def _prepare(self, prepare: Callable[[sqlite3.Connection], None], identity: Identity | None) -> None:
        try:
            self._connection = connect(self._path, self._synchronous)
            self._path.chmod(0o600)
            prepare(self._connection)
        except (sqlite3.Error, StoreError):
            # On a full disk not even the log's shared memory file can be created.
            if self._connection is not None:
                self._connection.close()
            if self._room is None or not self._room.is_full() or not self._room.release():
                raise
            self._connection = connect(self._path, self._synchronous)
            prepare(self._connection)
        self._opened = identity or self._identity()

    def close(self) -> None:
        self._checkpointer.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._turn is not None:
            self._turn.close()
            self._turn = None

    def reserve_log(self) -> None:
        """Extends the write-ahead log to its full length.

        Syncing overwritten octets takes half as long as syncing a file that has grown, because then the file system has
        to commit, too. SQLite reads the log up to the first octets that are not a valid frame; zeros are not valid. If
        disk space is scarce the log is not extended, because mail needs the space more.

        Raises:
            StoreUnavailable: the log cannot be written to.
        """
        connection = self._connection
        assert connection is not None, "asked for after open()"
        assert self._turn is not None, "open() made it"
        try:
            with self._turn:
                # This also keeps other programs from writing frames in the meantime, which would be overwritten.
                connection.execute("BEGIN IMMEDIATE")
                try:
                    free = os.statvfs(self._path)
                    if free.f_bavail * free.f_frsize >= LOG_ROOM * LOG_OCTETS:
                        log = f"{self._path}-wal"
                        if not lengthen(log, self.opened[2], LOG_OCTETS):
                            raise _Replaced(f"{log} was replaced while it was open")
                finally:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        except OSError as error:
            raise StoreUnavailable(f"{self._path}-wal: {error}") from error

    def _identity(self) -> Identity:
        """Returns the identity of the file and its write-ahead log, which stays the same file while any process has the
        database open."""
        try:
            found = os.stat(self._file)  # noqa: PTH116 - twice for each commit: a Path costs more than the call
            if self._synchronous == "OFF":
                return found.st_dev, found.st_ino
            log = os.stat(self._log)  # noqa: PTH116
        except OSError as error:
            raise _Replaced(f"{error.filename} {MOVED} ({error.strerror}): {REMEDY}") from error
        return found.st_dev, found.st_ino, log.st_ino

    def _connect_again(self) -> sqlite3.Connection:
        # If the file was moved away, SQLite would create an empty one.
        self.check_file()
        return connect(self._path, self._synchronous)

    def check_file(self) -> None:
        """Raises StoreUnavailable unless the files are still the ones that were opened."""
        # An unlinked or replaced file can still be written to, but the writes are lost, so they must not be
        # acknowledged. A new file is never adopted silently: a restart makes that decision explicit.
        if self._identity() != self._opened:
            raise _Replaced(f"{self._path} or its write-ahead log {MOVED}: {REMEDY}")

    def _rescue(self) -> None:
        """Copies acknowledged transactions from a log that was removed into the database while the log is still
        readable. No other process may have created another log: two logs would corrupt the database.
        """
        if self._connection is not None and not Path(f"{self._path}-wal").exists() and self._path.exists():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def commit(self, batch: Sequence[Job[Any]]) -> None:
        """Runs a batch in one transaction. Afterwards every job has either its durable result or its error.

        A failed job does not affect the others. A job may run twice, so its effects outside the database must be
        idempotent.
        """
        assert self._turn is not None, "work comes after open()"
        asked = monotonic()
        try:
            with self._turn:
                self._wait_at_most(monotonic() - asked)
                self._commit(batch)
            self._is_locked = False
        except Exception as error:  # noqa: BLE001  # every caller gets the error, whatever it is
            failed: Exception = error
            self._is_locked = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if isinstance(error, sqlite3.Error):
                failed = translated(error, self._path)
            elif isinstance(error, OSError):
                failed = StoreUnavailable(f"{self._path}: {error}")
            for job in batch:
                if job.error is None:
                    job.error = failed
        if self._synchronous == "FULL":
            self._checkpointer.look()

    def _wait_at_most(self, waited: float) -> None:
        """Sets how long the transaction waits for another program, after ``waited`` seconds for its turn: a process
        whose turn was long was waiting for that program, too."""
        least = min(LOCKED_SECONDS, BUSY_SECONDS)
        seconds = least if self._is_locked or waited > least else BUSY_SECONDS
        if seconds != self._busy_seconds and self._connection is not None:
            self._connection.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")
            self._busy_seconds = seconds

    def _commit(self, batch: Sequence[Job[Any]]) -> None:
        try:
            self.check_file()
            self._attempt(batch)
        except _Replaced:
            with contextlib.suppress(sqlite3.Error):  # callers get the error about the removed file, the actual cause
                self._rescue()
            raise

    def _attempt(self, batch: Sequence[Job[Any]]) -> None:
        try:
            self._transaction(batch, savepoints=False)
        except _PieceFailed as failure:
            if not (_is_full(failure.error) and self._make_room()) and len(batch) == 1:
                raise failure.error from failure
        except sqlite3.Error as error:
            # SQLite has rolled it back: a transaction that ran out of room has written no commit. After any other error
            # a commit is not retried, because it is unknown how much of it is on disk.
            if not (_is_full(error) and self._make_room()):
                raise
        else:
            return
        # Nothing was written, and the other jobs must not fail. The retry runs each job in its own savepoint, which
        # costs two statements each and is rarely needed.
        self._transaction(batch, savepoints=True)

    def _make_room(self) -> bool:
        """Releases the reserve and empties the log, so that it need not grow; returns False if that cannot help."""
        if self._room is None or self._connection is None or not self._room.release():
            return False
        if self._synchronous == "FULL":
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return True

    def _transaction(self, batch: Sequence[Job[Any]], *, savepoints: bool) -> None:
        connection = self._connection
        assert connection is not None, "work comes while the connection is open"
        before = connection.total_changes
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in batch:
                if savepoints:
                    self._run(connection, job)
                else:
                    self._run_plainly(connection, job)
            self.check_file()
            connection.execute("COMMIT")
            if self.watch is not None:
                self.watch(connection.total_changes - before)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    @staticmethod
    def _run_plainly(connection: sqlite3.Connection, job: Job[Any]) -> None:
        try:
            job.result = job.work(connection)
        except Exception as error:
            raise _PieceFailed(error) from error

    def _run(self, connection: sqlite3.Connection, job: Job[Any]) -> None:
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(connection)
        except Exception as error:
            # A full disk rolls back the whole transaction: the savepoint no longer exists, and the whole batch fails.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            job.error = translated(error, self._path) if isinstance(error, sqlite3.Error) else error
        connection.execute("RELEASE job")
