"""Blobs as files below one directory.

A put is durable when it returns: the bytes go into a file in the folder of unfinished files, the file is fsynced
and renamed to its place, and the folder of its place is fsynced. A reader so sees a whole blob or none, also after
a power cut. All of it happens in a pool of threads of our own; the event loop never touches the disk.

Two things make many puts at once cheap:
- one thread writes all small blobs: puts that come while it is busy wait in a queue, and it takes them as one batch,
  which costs one hop between threads, about one commit of the file system, and one fsync for each folder. (More
  threads are slower: they take the interpreter's lock from one another and from the event loop at each system call.)
- a folder is made, and fsynced up to the root, once in the life of the process.

Folders are never removed: a writer elsewhere may be about to use one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from inbox.base.errors import NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import Content, FileContent
from inbox.store.blobs.keys import UNFINISHED, components

T = TypeVar("T")

#: Puts that one thread takes from the queue at once: their latencies add up, so it is kept short.
BATCH: Final = 32
#: Threads for blobs above SPOOL_OCTETS, which nobody should wait behind, and threads that read: nobody who reads his
#: mail should wait for an fsync.
LARGE_WRITERS: Final = 2
READERS: Final = 4
#: Folders known to be durable that are remembered; the set is emptied when it is full.
FOLDERS_REMEMBERED: Final = 100_000
#: Keys that one step of a listing returns.
PAGE: Final = 1000

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_ABSENT: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class _Put:
    """One blob that waits to be written."""

    __slots__ = ("content", "done", "error", "fd", "folder", "large", "place", "unfinished")

    def __init__(self, folder: str, place: str, content: Content, done: asyncio.Future[None]) -> None:
        self.folder = folder
        self.place = place
        self.content = content
        self.done = done
        self.error: Exception | None = None
        self.fd = -1
        self.unfinished = ""
        self.large = content.size > SPOOL_OCTETS

    def give_up(self) -> None:
        """Leaves nothing behind."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.unfinished:
            _remove(self.unfinished)


class LocalBlobs:
    """The port ``Blobs`` over the directory ``root``, which is made when it is not there.

    Args:
        root: the directory. Several processes may share it.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)  # noqa: PTH100 - resolve() would follow a link that an operator may re-point
        self._unfinished = f"{self._root}/{UNFINISHED}"
        self._pool: ThreadPoolExecutor | None = None
        self._large_pool: ThreadPoolExecutor | None = None
        self._read_pool: ThreadPoolExecutor | None = None
        self._waiting: deque[_Put] = deque()
        self._writers: set[asyncio.Future[None]] = set()
        self._busy = False
        self._durable: set[str] = set()
        self._number = 0
        self._name = threading.Lock()
        # Names of two processes differ by this; a name that is taken all the same is an error, never a mix-up.
        self._prefix = f"{self._unfinished}/{os.getpid():x}-{os.urandom(6).hex()}-"

    async def open(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="blobs-write")
        self._large_pool = ThreadPoolExecutor(LARGE_WRITERS, thread_name_prefix="blobs-large")
        self._read_pool = ThreadPoolExecutor(READERS, thread_name_prefix="blobs-read")
        try:
            await self._run(self._make_folder, self._unfinished)
        except NotFound as error:
            raise StoreUnavailable(f"no directory for blobs: {error}") from error

    async def close(self) -> None:
        while self._writers:
            await asyncio.wait(self._writers)
        pools = (self._pool, self._large_pool, self._read_pool)
        self._pool = self._large_pool = self._read_pool = None
        for pool in pools:
            if pool is not None:
                pool.shutdown()

    async def put(self, key: str, content: Content) -> None:
        folder, place = self._place(key)
        if self._pool is None or self._large_pool is None:
            raise StoreUnavailable("the blob store is not open")
        put = _Put(folder, place, content, asyncio.get_running_loop().create_future())
        if put.large:
            self._start([put], self._large_pool)
        else:
            self._waiting.append(put)
            self._start_queued()
        await put.done

    async def get(self, key: str) -> Content:
        return await self._run(_content, self._place(key)[1])

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._run(_read, self._place(key)[1], offset, length)

    async def delete(self, key: str) -> None:
        await self._run(_remove, self._place(key)[1])

    async def keys(self, prefix: str = "") -> AsyncIterator[tuple[str, float]]:
        walk = self._walk(prefix)
        while page := await self._run(_page, walk):
            for found in page:
                yield found

    async def remove_unfinished(self, before: float) -> int:
        return await self._run(_remove_older, self._unfinished, before)

    def _place(self, key: str) -> tuple[str, str]:
        """The folder and the path of ``key``."""
        parts = components(key)
        return "/".join((self._root, *parts[:-1])), f"{self._root}/{key}"

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        if self._read_pool is None:
            raise StoreUnavailable("the blob store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._read_pool, function, *arguments)
        except OSError as error:
            raise translated(error, self._root) from error

    def _start(self, batch: list[_Put], pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(pool, self._write_batch, batch)
        self._writers.add(work)
        work.add_done_callback(lambda future: self._written(batch, future))

    def _start_queued(self) -> None:
        """The next batch of small blobs, unless one is being written."""
        if self._pool is None or self._busy or not self._waiting:
            return
        self._busy = True
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self._start(batch, self._pool)

    def _written(self, batch: list[_Put], work: asyncio.Future[None]) -> None:
        self._writers.discard(work)
        if not batch[0].large:
            self._busy = False
            self._start_queued()
        error = work.exception()
        for put in batch:
            failed = put.error or error
            if put.done.done():  # Its caller gave up: the blob that is there now is the sweeper's.
                continue
            if failed is None:
                put.done.set_result(None)
            else:
                put.done.set_exception(failed)

    def _write_batch(self, batch: list[_Put]) -> None:
        """In a thread: writes all of it, step by step for all at once.

        The first fsync makes the file system commit what is in memory of all of them; the others find little left to
        do. A blob that fails fails alone, a folder that fails takes its blobs with it.
        """
        self._step(batch, self._write)
        self._step(batch, _sync)
        self._step(batch, self._rename)
        folders: dict[str, list[_Put]] = {}
        for put in batch:
            if put.error is None:
                folders.setdefault(put.folder, []).append(put)
        for folder, puts in folders.items():
            try:
                _fsync_folder(folder)
            except OSError as error:
                for put in puts:
                    put.error = translated(error, folder, StoreUnavailable)

    @staticmethod
    def _step(batch: list[_Put], step: Callable[[_Put], None]) -> None:
        for put in batch:
            if put.error is not None:
                continue
            try:
                step(put)
            except OSError as error:
                put.error = translated(error, put.place, StoreUnavailable)
            except Exception as error:  # noqa: BLE001 - a content that cannot be read: its caller gets the error
                put.error = error
            if put.error is not None:
                put.give_up()

    def _write(self, put: _Put) -> None:
        if put.folder not in self._durable:
            self._make_folder(put.folder)
        with self._name:
            self._number += 1
            put.unfinished = f"{self._prefix}{self._number:x}"
        put.fd = os.open(put.unfinished, _WRITE, 0o600)
        for chunk in put.content.chunks():
            _write_all(put.fd, chunk)

    def _rename(self, put: _Put) -> None:
        try:
            os.rename(put.unfinished, put.place)  # noqa: PTH104 - the hot path of every delivery: no Path objects
        except FileNotFoundError:  # Somebody tidied the empty folder away.
            self._durable.clear()
            self._make_folder(put.folder)
            os.rename(put.unfinished, put.place)  # noqa: PTH104

    def _make_folder(self, folder: str) -> None:
        """Makes ``folder`` and the folders above it, and fsyncs them from below to the root.

        They are fsynced even when they are there already: another thread or process may have made them a moment
        ago, and not yet come to its own fsync.
        """
        _make_folders(folder)
        step = folder
        while True:
            _fsync_folder(step)
            if len(step) <= len(self._root):
                break
            step = os.path.dirname(step)  # noqa: PTH120
        if self._root not in self._durable:
            _fsync_folder(os.path.dirname(self._root))  # noqa: PTH120 - the root itself may be new
            self._durable.add(self._root)
        if len(self._durable) >= FOLDERS_REMEMBERED:
            self._durable.clear()
        self._durable.add(folder)

    def _walk(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Every key that begins with ``prefix``; what is removed while we look is left out."""
        base = prefix.rpartition("/")[0]
        if base:
            components(base)
        folders = [base]
        while folders:
            folder = folders.pop()
            for entry in _scan(f"{self._root}/{folder}" if folder else self._root):
                key = f"{folder}/{entry.name}" if folder else entry.name
                if key == UNFINISHED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if key.startswith(prefix) or prefix.startswith(f"{key}/"):
                        folders.append(key)
                elif key.startswith(prefix):
                    try:
                        yield key, entry.stat(follow_symlinks=False).st_mtime
                    except FileNotFoundError:
                        continue


def translated(error: OSError, path: str, absent: type[StoreError] = NotFound) -> StoreError:
    """Our error for the system's, with the system's as its cause; ``absent`` if something on the path is not there."""
    translated: StoreError
    if isinstance(error, _ABSENT):
        translated = absent(f"no blob at {path}: {error}")
    elif error.errno in _FULL:
        translated = StorageFull(f"no room at {path}: {error}")
    else:
        translated = StoreUnavailable(f"blob store at {path}: {error}")
    translated.__cause__ = error
    return translated


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):  # A full disk and a signal may cut a write short.
        data = data[written:]
        written = os.write(fd, data)


def _sync(put: _Put) -> None:
    os.fsync(put.fd)
    # Closed at once: a batch must not hold more descriptors than it has blobs in this step.
    fd, put.fd = put.fd, -1
    os.close(fd)


def _make_folders(folder: str) -> None:
    """Makes ``folder`` and what is missing above it, for the owner only: ``makedirs`` opens the upper ones to all."""
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_folders(os.path.dirname(folder))  # noqa: PTH120
        _make_folders(folder)


def _fsync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _content(path: str) -> FileContent:
    content = FileContent(Path(path))
    if os.path.isdir(path):  # noqa: PTH112
        raise IsADirectoryError(errno.EISDIR, "a folder", path)
    return content


def _read(path: str, offset: int, length: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, length, offset)
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except _ABSENT:
        return


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _page(walk: Iterator[tuple[str, float]]) -> list[tuple[str, float]]:
    return list(islice(walk, PAGE))


def _remove_older(folder: str, before: float) -> int:
    count = 0
    for entry in _scan(folder):
        try:
            written = entry.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:  # Its writer has finished this very moment.
            continue
        if written < before:
            _remove(entry.path)
            count += 1
    return count
