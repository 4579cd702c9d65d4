"""Durable writes of blobs as files: the blocking part, run in a separate thread or process.

A file is written into the folder of unfinished files, fsynced, renamed to its final path, and the folder of that path
is fsynced. So a reader sees a complete blob or none, even after a power cut.

Folders are never removed: another writer may be about to use one.
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
from inbox.store.blobs.syncing import MOST_FILES, Begin, one_by_one

#: Blobs open at once; many systems limit programs to 1024 descriptors, and a batch may be larger.
OPEN: Final = MOST_FILES
#: The maximum number of folders in the cache of durable folders; a full cache is cleared.
FOLDERS_REMEMBERED: Final = 100_000

#: Octets of the identity file that are compared; the file has about a hundred.
IDENTITY_OCTETS: Final = 4096
_NO_FILE: Final = (-1, -1)
_NOT_SEEN: Final = (-2, -2)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
ABSENT: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Chunks(Protocol):
    """Bytes that are read in chunks."""

    def chunks(self) -> Iterator[bytes]: ...


class Piece:
    """One blob to write: its folder, its path, its bytes, and the error of a failed write."""

    __slots__ = ("content", "error", "fd", "folder", "place", "unfinished")

    def __init__(self, folder: str, place: str, content: Chunks) -> None:
        self.folder = folder
        self.place = place
        self.content = content
        self.error: Exception | None = None
        self.fd = -1
        self.unfinished = ""

    def give_up(self) -> None:
        """Cleans up after a failed write; the sweeper removes what cannot be cleaned up here. Errors are suppressed
        because the write's own error is reported, and the other blobs of the batch go on."""
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
        identity: the expected content of the identity file (:attr:`identity`), if known: any other content is rejected.
        sync: syncs the files of a batch.
    """

    def __init__(self, root: str, identity: bytes = b"", sync: Begin = one_by_one) -> None:
        self.root = root
        self._sync = sync
        self.unfinished = f"{root}/{UNFINISHED}"
        self._durable: set[str] = set()
        self._number = 0
        self._name = threading.Lock()
        # Distinguishes the file names of two processes; if a name exists nevertheless the write fails, so files are
        # never mixed up.
        self._prefix = f"{self.unfinished}/{os.getpid():x}-{os.urandom(6).hex()}-"
        self._identity_file = f"{root}/{IDENTITY}"
        self._identity = _NOT_SEEN if identity else _NO_FILE
        self._identity_text = identity

    def write(self, batch: Sequence[Piece], meanwhile: Callable[[], None] | None = None) -> None:
        """Writes a batch, each step for all blobs at once; a blob that fails gets its ``error``.

        Writeback of all files is started before the first fsync, so that the waits overlap. A failing blob fails alone;
        a failing folder fails all its blobs.

        Args:
            meanwhile: work for the time in which the disk writes the first files; called exactly once.
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
            self._write_some(batch[start : start + OPEN], meanwhile)
            meanwhile = None
        if meanwhile is not None:
            meanwhile()

    def check_root(self) -> None:
        """Returns if the directory is still the one to which earlier blobs were written.

        The file with the installation's identity proves it. While the disk is not mounted its mount point is an empty
        folder, in which writes would succeed. A directory that never had that file does not belong to an installation
        (yet) and is not checked.

        Raises:
            StoreUnavailable: the file is missing, or has other content.
            OSError: the file cannot be read.
        """
        try:
            found = os.stat(self._identity_file)  # noqa: PTH116 - the hot path of every delivery
        except ABSENT:
            if self._identity == _NO_FILE:
                return
            why = f"{self._identity_file} is missing: is the disk mounted? Restore the same folder, or restart inbox"
            raise StoreUnavailable(why) from None
        if (found.st_dev, found.st_ino) == self._identity:
            return
        with open(self._identity_file, "rb") as file:  # noqa: PTH123
            text = file.read(IDENTITY_OCTETS)
        if self._identity != _NO_FILE and text != self._identity_text:
            why = f"{self.root} was replaced by another blob store: restore the same folder, or restart inbox"
            raise StoreUnavailable(why)
        self._identity, self._identity_text = (found.st_dev, found.st_ino), text

    @property
    def identity(self) -> bytes:
        """The content of the identity file; empty until it was read."""
        return self._identity_text

    def remember_root(self) -> None:
        """Records the identity of this blob store before it can be replaced. Errors are ignored: the first batch
        reports them."""
        with contextlib.suppress(OSError, StoreError):
            self.check_root()

    def create(self, piece: Piece) -> bool:
        """Writes one blob durably unless it exists; returns whether it was written.

        Raises:
            StorageFull, StoreUnavailable: it was not written.
        """
        self._step([piece], self._write)
        self._sync_files([piece], None)
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
        """Renames a blob durably and sets its time to now; both arguments are folder and path.

        Raises:
            OSError: the blob does not exist, or the disk failed.
        """
        # The time is set first: a blob whose move was interrupted is young, so the sweeper does not remove it.
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

    def _write_some(self, batch: Sequence[Piece], meanwhile: Callable[[], None] | None) -> None:
        self._step(batch, self._write)
        if len(batch) > 1 or meanwhile is not None:
            self._step(batch, _start)
        self._sync_files(batch, meanwhile)
        self._step(batch, self._rename)
        self._sync_folders([piece for piece in batch if piece.error is None])

    def _sync_folders(self, pieces: Sequence[Piece]) -> None:
        folders: dict[str, list[Piece]] = {}
        for piece in pieces:
            folders.setdefault(piece.folder, []).append(piece)
        opened: dict[str, int] = {}
        try:
            for folder, within in folders.items():
                try:
                    opened[folder] = os.open(folder, _FOLDER)
                except OSError as error:
                    _fail(within, folder, error)
            for folder, number in zip(opened, self._sync(list(opened.values()))(), strict=True):
                if number:
                    _fail(folders[folder], folder, OSError(number, os.strerror(number)))
        finally:
            for descriptor in opened.values():
                os.close(descriptor)

    def _sync_files(self, batch: Sequence[Piece], meanwhile: Callable[[], None] | None) -> None:
        """Syncs and closes the files, all at once: a batch must not hold more descriptors than it has blobs."""
        pieces = [piece for piece in batch if piece.error is None]
        finish = self._sync([piece.fd for piece in pieces])
        try:
            if meanwhile is not None:
                meanwhile()
        finally:
            results = finish()
        for piece, number in zip(pieces, results, strict=True):
            if number and piece.error is None:
                piece.error = translated(OSError(number, os.strerror(number)), piece.place, StoreUnavailable)
                piece.give_up()
        self._step(batch, _close)

    @staticmethod
    def _step(batch: Sequence[Piece], step: Callable[[Piece], None]) -> None:
        for piece in batch:
            if piece.error is not None:
                continue
            try:
                step(piece)
            except OSError as error:
                piece.error = translated(error, piece.place, StoreUnavailable)
            except Exception as error:  # noqa: BLE001 - for unreadable content the caller gets the error
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
        except FileNotFoundError:  # Another program removed the empty folder.
            self._durable.clear()
            self.make_folder(piece.folder)
            os.rename(piece.unfinished, piece.place)  # noqa: PTH104

    def make_folder(self, folder: str) -> None:
        """Creates ``folder`` and the folders above it, and fsyncs them upwards to the root.

        They are fsynced even if they exist already: another thread or process may have just created them without having
        fsynced them yet.
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
    """Translates an error of the system, which becomes the cause; ``absent`` is the class if a part of the path does
    not exist."""
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
    """Gives a complete file its name, unless that exists. Raises FileExistsError, OSError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: a crash at this point leaves an incomplete file, which is detected when it
        # is read.
        fd = os.open(target, _WRITE, 0o600)
        try:
            with open(source, "rb") as file:  # noqa: PTH123
                _write_all(fd, file.read())
            os.fsync(fd)
        finally:
            os.close(fd)


def _start(piece: Piece) -> None:
    """Starts writeback in the kernel without waiting: advising that the pages are not needed does that."""
    os.posix_fadvise(piece.fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _close(piece: Piece) -> None:
    fd, piece.fd = piece.fd, -1
    os.close(fd)


def _make_folders(folder: str) -> None:
    """Creates ``folder`` and missing folders above it, accessible only to the owner: ``makedirs`` would create the
    upper ones accessible to all."""
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_folders(os.path.dirname(folder))  # noqa: PTH120
        _make_folders(folder)


def _fail(pieces: Sequence[Piece], folder: str, error: OSError) -> None:
    for piece in pieces:
        piece.error = translated(error, folder, StoreUnavailable)


def _fsync_folder(folder: str) -> None:
    fd = os.open(folder, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except ABSENT:
        return
