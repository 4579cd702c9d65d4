"""Blocking part of the local store: batches of blobs as files."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from inbox.base.errors import StorageFull, StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.store.blobs.files import OPEN, Files, Piece
from inbox.store.blobs.syncing import Finish, one_by_one


class Unreadable:
    """A content whose second piece cannot be read."""

    def chunks(self) -> Iterator[bytes]:
        yield b"x"
        raise ValueError("gone")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / ".unfinished").mkdir()
    return Files(str(tmp_path))


def test_a_content_that_cannot_be_read_fails_alone(files: Files, tmp_path: Path) -> None:
    folder = f"{tmp_path}/msg"
    pieces = [Piece(folder, f"{folder}/1", Unreadable()), Piece(folder, f"{folder}/2", MemoryContent(b"y"))]
    files.write(pieces)
    assert [type(piece.error) for piece in pieces] == [ValueError, type(None)]
    assert [path.name for path in Path(folder).iterdir()] == ["2"]
    assert list((tmp_path / ".unfinished").iterdir()) == []


def test_all_are_begun_before_the_first_is_waited_for(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"{tmp_path}/msg"
    files.make_folder(folder)
    calls: list[str] = []
    advise, fsync = os.posix_fadvise, os.fsync

    def advised(*given: int) -> None:
        calls.append("begin")
        advise(*given)

    def synced(fd: int) -> None:
        calls.append("fsync")
        fsync(fd)

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "fsync", synced)
    files.write([Piece(folder, f"{folder}/{n}", MemoryContent(b"x")) for n in range(3)])
    assert calls == ["begin"] * 3 + ["fsync"] * 4


def test_a_blob_that_cannot_be_synced_fails_alone(tmp_path: Path) -> None:
    (tmp_path / ".unfinished").mkdir()
    calls: list[int] = []

    def sync(descriptors: Sequence[int]) -> Finish:
        calls.append(len(descriptors))
        results = one_by_one(descriptors)()
        return lambda: [0, errno.ENOSPC, 0] if len(results) == 3 else results

    folder = f"{tmp_path}/msg"
    pieces = [Piece(folder, f"{folder}/{n}", MemoryContent(b"y")) for n in range(3)]
    Files(str(tmp_path), sync=sync).write(pieces)
    assert [type(piece.error) for piece in pieces] == [type(None), StorageFull, type(None)]
    assert sorted(path.name for path in Path(folder).iterdir()) == ["0", "2"]
    assert list((tmp_path / ".unfinished").iterdir()) == []
    assert calls == [3, 1]  # the blobs, then their folder


def test_folders_are_synced_together(tmp_path: Path) -> None:
    (tmp_path / ".unfinished").mkdir()
    calls: list[int] = []

    def sync(descriptors: Sequence[int]) -> Finish:
        calls.append(len(descriptors))
        results = one_by_one(descriptors)()
        return lambda: [0, errno.EIO] if len(results) == 2 else results

    folders = [f"{tmp_path}/{name}" for name in ("a", "b")]
    pieces = [Piece(folder, f"{folder}/{n}", MemoryContent(b"x")) for n in range(2) for folder in folders]
    Files(str(tmp_path), sync=sync).write(pieces)
    assert calls == [4, 2]
    assert [type(piece.error) for piece in pieces] == [type(None), StoreUnavailable] * 2


def test_a_folder_that_fails_takes_its_blobs_with_it(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [f"{tmp_path}/{name}" for name in ("a", "b")]
    for folder in folders:
        files.make_folder(folder)
    opened = os.open

    def fail(path: str, flags: int, mode: int = 0o777) -> int:
        if path == folders[0]:
            raise OSError(5, "Input/output error")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", fail)
    pieces = [Piece(folder, f"{folder}/1", MemoryContent(b"x")) for folder in folders]
    files.write(pieces)
    assert [type(piece.error) for piece in pieces] == [StoreUnavailable, type(None)]


def test_a_file_system_that_became_read_only_is_reported(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"{tmp_path}/msg"
    files.make_folder(folder)

    def refuse(path: str, *_more: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    pieces = [Piece(folder, f"{folder}/{n}", MemoryContent(b"x")) for n in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr(os, "unlink", refuse)
        files.write(pieces)
    assert all("Read-only file system" in str(piece.error) for piece in pieces)


def test_a_batch_of_any_size_needs_few_descriptors(files: Files, tmp_path: Path) -> None:
    folder = f"{tmp_path}/msg"
    pieces = [Piece(folder, f"{folder}/{n}", MemoryContent(b"x")) for n in range(1100)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        files.write(pieces)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [piece.error for piece in pieces if piece.error is not None] == []
    assert len(list(Path(folder).iterdir())) == len(pieces)


def written(files: Files, folder: str, name: str) -> str:
    """Writes one blob; the error that it got, or nothing."""
    piece = Piece(folder, f"{folder}/{name}", MemoryContent(b"x"))
    files.write([piece])
    return "" if piece.error is None else f"{type(piece.error).__name__} {piece.error}"


def test_an_unmounted_disk_takes_no_blob_until_it_is_back(files: Files, tmp_path: Path) -> None:
    """An empty mount point would take everything."""
    root = Path(files.unfinished).parent
    folder = f"{root}/msg"
    files.make_folder(files.unfinished)
    (root / "installation.json").write_text("one")
    assert written(files, folder, "1") == ""
    away = root.with_name("away")
    root.rename(away)
    (root / ".unfinished").mkdir(parents=True)
    assert "StoreUnavailable" in (told := written(files, folder, "2"))
    assert "installation.json is missing: is the disk mounted?" in told
    assert not (root / "msg").exists()
    # Another installation's folder in its place is no better.
    (root / "installation.json").write_text("two")
    assert "was replaced by another blob store" in written(files, folder, "2")
    shutil.rmtree(root)
    away.rename(root)
    assert written(files, folder, "2") == ""


def test_a_store_is_known_before_its_first_blob(files: Files) -> None:
    root = Path(files.unfinished).parent
    (root / "installation.json").write_text("one")
    files.remember_root()
    (root / "installation.json").unlink()
    assert "is the disk mounted?" in written(files, f"{root}/msg", "1")


def test_the_same_identity_in_another_file_is_the_same_store(files: Files) -> None:
    root = Path(files.unfinished).parent
    files.make_folder(files.unfinished)
    assert written(files, f"{root}/msg", "0") == "", "no installation's yet"
    for number in range(3):
        (root / "new").write_text("one")
        (root / "new").rename(root / "installation.json")
        assert written(files, f"{root}/msg", str(number)) == ""


def test_a_file_system_without_links_still_creates_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    folder = str(Path(files.unfinished).parent)
    assert files.create(Piece(folder, f"{folder}/id", MemoryContent(b"first")))
    assert not files.create(Piece(folder, f"{folder}/id", MemoryContent(b"second")))
    assert Path(f"{folder}/id").read_bytes() == b"first"
    assert list(Path(files.unfinished).iterdir()) == []


@pytest.mark.parametrize("number", [0, 1, 3, OPEN + 1])
def test_other_work_is_done_once_between_the_begin_and_the_first_wait(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = f"{tmp_path}/msg"
    files.make_folder(folder)
    calls: list[str] = []
    advise, fsync = os.posix_fadvise, os.fsync

    def advised(*given: int) -> None:
        calls.append("begin")
        advise(*given)

    def synced(fd: int) -> None:
        calls.append("fsync")
        fsync(fd)

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "fsync", synced)
    pieces = [Piece(folder, f"{folder}/{n}", MemoryContent(b"x")) for n in range(number)]
    files.write(pieces, meanwhile=lambda: calls.append("meanwhile"))
    first = min(number, OPEN)
    assert calls[: first + 2] == ["begin"] * first + ["meanwhile"] + ["fsync"] * (number > 0)
    assert calls.count("meanwhile") == 1
    assert len(list(Path(folder).iterdir())) == number
