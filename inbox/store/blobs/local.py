"""Blob store in one local directory.

A put is durable when it returns (:mod:`inbox.store.blobs.files`). The event loop never touches the disk.

Concurrent puts are cheap for three reasons:
- puts that arrive while the disk is busy wait in a queue and are written as one batch, which costs one hop between
  threads or processes and one fsync for each folder, and whose disk waits overlap;
- in a server, a worker process writes the small ones: a thread would compete with the event loop for the interpreter
  lock at each system call. One thread writes the rest; more threads would also compete with each other;
- a folder is created, and fsynced up to the root, once in the life of the process.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from inbox.base.errors import NotFound, StoreUnavailable
from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import Content, FileContent
from inbox.store.blobs.files import Files, Piece, remove, translated
from inbox.store.blobs.keys import UNFINISHED, components
from inbox.store.room import Room
from inbox.store.worker.client import WorkerClient
from inbox.store.worker.protocol import WORKER_OCTETS
from inbox.store.worker.starting import OwnWorker

T = TypeVar("T")

#: The maximum number of puts in a batch, kept small because their latencies add up.
BATCH: Final = 32
#: Threads for blobs above SPOOL_OCTETS, so that no other put waits behind one, and threads for reading, so that no
#: reader waits for an fsync.
LARGE_WRITERS: Final = 2
READERS: Final = 4
#: The maximum number of keys that one step of a listing returns.
PAGE: Final = 1000


class _Put(Piece):
    """One blob that waits to be written, and the future of its caller."""

    __slots__ = ("done",)

    def __init__(self, folder: str, place: str, content: Content, done: asyncio.Future[None]) -> None:
        super().__init__(folder, place, content)
        self.done = done


class LocalBlobs:
    """``Blobs`` of ``inbox.store.ports`` in the directory ``root``, which is created if it is missing.

    Args:
        root: the directory. Several processes may share it.
        process: a worker process writes small blobs; used by a server, because a command writes few.
    """

    def __init__(self, root: Path, *, process: bool = False) -> None:
        self._root = os.path.abspath(root)  # noqa: PTH100 - resolve() would follow a link that an operator may re-point
        self._files = Files(self._root)
        self._room = Room(Path(self._root))
        self._worker = WorkerClient(OwnWorker(), files=self._files) if process else None
        self._pool: ThreadPoolExecutor | None = None
        self._large_pool: ThreadPoolExecutor | None = None
        self._read_pool: ThreadPoolExecutor | None = None
        self._waiting: deque[_Put] = deque()
        self._busy = False
        self._writers: set[asyncio.Future[None]] = set()

    @property
    def worker(self) -> WorkerClient | None:
        """The worker process that writes small blobs, if there is one."""
        return self._worker

    async def open(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="blobs-write")
        self._large_pool = ThreadPoolExecutor(LARGE_WRITERS, thread_name_prefix="blobs-large")
        self._read_pool = ThreadPoolExecutor(READERS, thread_name_prefix="blobs-read")
        try:
            await self._run(self._files.make_folder, self._files.unfinished)
            await self._run(self._files.check_root)
        except NotFound as error:
            raise StoreUnavailable(f"cannot create or open the directory for blobs: {error}") from error
        if self._worker is not None:
            await self._worker.start()

    async def close(self) -> None:
        while self._writers:
            await asyncio.wait(self._writers)
        pools = (self._pool, self._large_pool, self._read_pool)
        self._pool = self._large_pool = self._read_pool = None
        for pool in pools:
            if pool is not None:
                pool.shutdown()
        if self._worker is not None:
            await self._worker.close()

    async def put(self, key: str, content: Content) -> None:
        folder, place = self._place(key)
        if self._pool is None:
            raise StoreUnavailable("the blob store is not open")
        self._room.check(content.size)
        if self._worker is not None and content.size <= WORKER_OCTETS:
            await self._worker.write_blob(folder, place, b"".join(content.chunks()))
            return
        put = _Put(folder, place, content, asyncio.get_running_loop().create_future())
        if content.size > SPOOL_OCTETS:
            self._begin(self._large_pool, [put])
        else:
            self._waiting.append(put)
            self._next()
        await put.done

    async def create(self, key: str, content: Content) -> bool:
        return await self._run(self._files.create, Piece(*self._place(key), content))

    async def move(self, key: str, target: str) -> None:
        await self._run(self._files.move, self._place(key), self._place(target))

    async def get(self, key: str) -> Content:
        return await self._run(_content, self._place(key)[1])

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._run(_read, self._place(key)[1], offset, length)

    async def delete(self, key: str) -> None:
        await self._run(remove, self._place(key)[1])

    async def keys(self, prefix: str = "") -> AsyncIterator[tuple[str, float]]:
        walk = self._walk(prefix)
        while page := await self._run(_page, walk):
            for found in page:
                yield found

    async def remove_unfinished(self, before: float) -> int:
        return await self._run(_remove_older, self._files.unfinished, before)

    def _place(self, key: str) -> tuple[str, str]:
        """Returns the folder and the path of ``key``."""
        parts = components(key)
        return "/".join((self._root, *parts[:-1])), f"{self._root}/{key}"

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        if self._read_pool is None:
            raise StoreUnavailable("the blob store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._read_pool, function, *arguments)
        except OSError as error:
            raise translated(error, self._root) from error

    def _begin(self, pool: ThreadPoolExecutor | None, batch: list[_Put]) -> None:
        work = asyncio.get_running_loop().run_in_executor(pool, self._files.write, batch)
        self._writers.add(work)
        work.add_done_callback(lambda work: self._written(pool, batch, work))

    def _next(self) -> None:
        """Starts the next batch, unless one is being written."""
        if self._pool is None or self._busy or not self._waiting:
            return
        self._busy = True
        self._begin(self._pool, [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])

    def _written(self, pool: ThreadPoolExecutor | None, batch: list[_Put], work: asyncio.Future[None]) -> None:
        self._writers.discard(work)
        if pool is not self._large_pool:
            self._busy = False
            self._next()
        error = work.exception()
        for put in batch:
            failed = put.error or error
            if put.done.done():  # Its caller was cancelled: the sweeper removes the blob.
                continue
            if failed is None:
                put.done.set_result(None)
            else:
                put.done.set_exception(failed)

    def _walk(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yields every key that begins with ``prefix``; blobs removed in the meantime are skipped."""
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
        except FileNotFoundError:  # Its writer has just finished.
            continue
        if written < before:
            remove(entry.path)
            count += 1
    return count
