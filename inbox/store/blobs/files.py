"""Making blobs durable as files: what blocks, for a thread or a process of its own.

A file is written into the folder of unfinished files, fsynced, renamed to its place, and the folder of its place is
fsynced. A reader so sees a whole blob or none, also after a power cut.

Folders are never removed: a writer elsewhere may be about to use one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from inbox.base.errors import NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.store.blobs.keys import IDENTITY, UNFINISHED

#: Blobs that are open at once; many systems start programs with 1024 descriptors, and a batch may be larger.
OPEN: Final = 256
#: Folders known to be durable that are remembered; the set is emptied when it is full.
FOLDERS_REMEMBERED: Final = 100_000

#: Octets of the identity file that are compared; it has about a hundred.
IDENTITY_OCTETS: Final = 4096
_NO_FILE: Final = (-1, -1)
_NOT_SEEN: Final = (-2, -2)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
ABSENT: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Chunks(Protocol):
    """Bytes that come in pieces."""

    def chunks(self) -> Iterator[bytes]: ...


class Piece:
    """One blob that is to be written: its folder, its path, its bytes, and what went wrong."""

    __slots__ = ("content", "error", "fd", "folder", "place", "unfinished")

    def __init__(self, folder: str, place: str, content: Chunks) -> None:
        self.folder = folder
        self.place = place
        self.content = content
        self.error: Exception | None = None
        self.fd = -1
        self.unfinished = ""

    def give_up(self) -> None:
        """Leaves nothing behind, or what the sweeper will find: its error is told, and the others' work goes on."""
        fd, self.fd = self.fd, -1
        with contextlib.suppress(OSError):
            if fd >= 0:
                os.close(fd)
        with contextlib.suppress(OSError):
            if self.unfinished:
                remove(self.unfinished)


class Files:
    """Writes batches of blobs below the directory ``root``. Several threads and processes may do so at once.

    Args:
        root: an absolute path.
        identity: what the identity file says (:attr:`identity`), if that is known: nothing else is taken then.
    """

    def __init__(self, root: str, identity: bytes = b"") -> None:
        self.root = root
        self.unfinished = f"{root}/{UNFINISHED}"
        self._durable: set[str] = set()
        self._number = 0
        self._name = threading.Lock()
        # Names of two processes differ by this; a name that is taken all the same is an error, never a mix-up.
        self._prefix = f"{self.unfinished}/{os.getpid():x}-{os.urandom(6).hex()}-"
        self._identity_file = f"{root}/{IDENTITY}"
        self._identity = _NOT_SEEN if identity else _NO_FILE
        self._identity_text = identity

    def write(self, batch: Sequence[Piece]) -> None:
        """Writes all of it, step by step for all at once; what fails gets its ``error``.

        The disk is told of all files before the first is waited for, so that the waits overlap. A blob that fails
        fails alone, a folder that fails takes its blobs with it.
        """
        try:
            self.check_root()
        except OSError as error:
            for piece in batch:
                piece.error = translated(error, self.root, StoreUnavailable)
        except StoreError as error:
            for piece in batch:
                piece.error = error
        for start in range(0, len(batch), OPEN):
            self._write_some(batch[start : start + OPEN])

    def check_root(self) -> None:
        """Returns if the directory is still the one that blobs were written to before.

        The file with the installation's identity shows it. While the disk is not mounted its mount point is an empty
        folder, in which everything else would work. A directory that never had that file belongs to no installation
        (yet) and is not checked.

        Raises:
            StoreUnavailable: the file is gone, or says something else.
            OSError: it cannot be read.
        """
        try:
            found = os.stat(self._identity_file)  # noqa: PTH116 - the hot path of every delivery
        except ABSENT:
            if self._identity == _NO_FILE:
                return
            why = f"{self._identity_file} is gone: is the disk mounted? Put the same folder back, or restart"
            raise StoreUnavailable(why) from None
        if (found.st_dev, found.st_ino) == self._identity:
            return
        with open(self._identity_file, "rb") as file:  # noqa: PTH123
            text = file.read(IDENTITY_OCTETS)
        if self._identity != _NO_FILE and text != self._identity_text:
            why = f"{self.root} was replaced by another blob store: put the same folder back, or restart"
            raise StoreUnavailable(why)
        self._identity, self._identity_text = (found.st_dev, found.st_ino), text

    @property
    def identity(self) -> bytes:
        """What the identity file says; empty until one was seen."""
        return self._identity_text

    def remember_root(self) -> None:
        """Learns which blob store this is before anything can happen to it. The first batch tells of an error."""
        with contextlib.suppress(OSError, StoreError):
            self.check_root()

    def create(self, piece: Piece) -> bool:
        """Writes one blob, durable, unless there is one; returns whether it did.

        Raises:
            StorageFull, StoreUnavailable: it did not.
        """
        self._step([piece], self._write)
        self._step([piece], _sync)
        if piece.error is not None:
            raise piece.error
        try:
            _link(piece.unfinished, piece.place)
            _fsync_folder(piece.folder)
        except FileExistsError:
            return False
        except OSError as error:
            raise translated(error, piece.place, StoreUnavailable) from error
        finally:
            remove(piece.unfinished)
            self.remember_root()
        return True

    def move(self, source: tuple[str, str], target: tuple[str, str]) -> None:
        """Renames a blob, durable, and gives it the current time; both are folder and path.

        Raises:
            OSError: the blob is not there, or the disk failed.
        """
        # The time comes first: a blob that was only half-way moved is young, and nobody removes it.
        os.utime(source[1])
        if target[0] not in self._durable:
            self.make_folder(target[0])
        try:
            os.rename(source[1], target[1])  # noqa: PTH104
        except FileNotFoundError:
            self.make_folder(target[0])
            os.rename(source[1], target[1])  # noqa: PTH104
        _fsync_folder(target[0])
        _fsync_folder(source[0])

    def _write_some(self, batch: Sequence[Piece]) -> None:
        self._step(batch, self._write)
        if len(batch) > 1:
            self._step(batch, _start)
        self._step(batch, _sync)
        self._step(batch, self._rename)
        folders: dict[str, list[Piece]] = {}
        for piece in batch:
            if piece.error is None:
                folders.setdefault(piece.folder, []).append(piece)
        for folder, pieces in folders.items():
            try:
                _fsync_folder(folder)
            except OSError as error:
                for piece in pieces:
                    piece.error = translated(error, folder, StoreUnavailable)

    @staticmethod
    def _step(batch: Sequence[Piece], step: Callable[[Piece], None]) -> None:
        for piece in batch:
            if piece.error is not None:
                continue
            try:
                step(piece)
            except OSError as error:
                piece.error = translated(error, piece.place, StoreUnavailable)
            except Exception as error:  # noqa: BLE001 - a content that cannot be read: its caller gets the error
                piece.error = error
            if piece.error is not None:
                piece.give_up()

    def _write(self, piece: Piece) -> None:
        if piece.folder not in self._durable:
            self.make_folder(piece.folder)
        with self._name:
            self._number += 1
            piece.unfinished = f"{self._prefix}{self._number:x}"
        piece.fd = os.open(piece.unfinished, _WRITE, 0o600)
        for chunk in piece.content.chunks():
            _write_all(piece.fd, chunk)

    def _rename(self, piece: Piece) -> None:
        try:
            os.rename(piece.unfinished, piece.place)  # noqa: PTH104 - the hot path of every delivery: no Path objects
        except FileNotFoundError:  # Somebody tidied the empty folder away.
            self._durable.clear()
            self.make_folder(piece.folder)
            os.rename(piece.unfinished, piece.place)  # noqa: PTH104

    def make_folder(self, folder: str) -> None:
        """Makes ``folder`` and the folders above it, and fsyncs them from below to the root.

        They are fsynced even when they are there already: another thread or process may have made them a moment
        ago, and not yet come to its own fsync.
        """
        _make_folders(folder)
        step = folder
        while True:
            _fsync_folder(step)
            if len(step) <= len(self.root):
                break
            step = os.path.dirname(step)  # noqa: PTH120
        if self.root not in self._durable:
            _fsync_folder(os.path.dirname(self.root))  # noqa: PTH120 - the root itself may be new
            self._durable.add(self.root)
        if len(self._durable) >= FOLDERS_REMEMBERED:
            self._durable.clear()
        self._durable.add(folder)


def translated(error: OSError, path: str, absent: type[StoreError] = NotFound) -> StoreError:
    """Our error for the system's, with the system's as its cause; ``absent`` if something on the path is not there."""
    translated: StoreError
    if isinstance(error, ABSENT):
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


def _link(source: str, target: str) -> None:
    """Gives a whole file its name, unless that is taken. Raises FileExistsError, OSError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: a crash at this point leaves a file that is not whole, and says so.
        fd = os.open(target, _WRITE, 0o600)
        try:
            with open(source, "rb") as file:  # noqa: PTH123
                _write_all(fd, file.read())
            os.fsync(fd)
        finally:
            os.close(fd)


def _start(piece: Piece) -> None:
    """Tells the kernel to begin writing: its advice that the pages are not needed does that, and waits for nothing."""
    os.posix_fadvise(piece.fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync(piece: Piece) -> None:
    os.fsync(piece.fd)
    # Closed at once: a batch must not hold more descriptors than it has blobs in this step.
    fd, piece.fd = piece.fd, -1
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


def remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except ABSENT:
        return
