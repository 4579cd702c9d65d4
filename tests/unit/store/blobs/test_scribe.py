"""What the process that writes small blobs does with a batch."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from inbox.store.blobs.scribe import Blob, Outcome, Scribe
from inbox.store.blobs.writer import error_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".unfinished").mkdir()
    return tmp_path


def written(roots: list[Path], *blobs: Blob) -> list[Outcome]:
    """What is said of blobs, each below the root at the same place of the list."""
    scribe = Scribe()
    questions = [
        (scribe.open(msgspec.msgpack.encode((str(root), b""))), msgspec.msgpack.encode(blob))
        for root, blob in zip(roots, blobs, strict=True)
    ]
    return [msgspec.msgpack.decode(answer, type=Outcome) for answer in scribe.answer(questions)]


def test_each_blob_has_its_outcome(root: Path) -> None:
    (root / "file").write_bytes(b"")
    outcomes = written([root] * 2, (str(root), f"{root}/1", b"x"), (f"{root}/file", f"{root}/file/1", b"y"))
    assert outcomes == [None, (errno.ENOTDIR, "Not a directory")]
    assert (root / "1").read_bytes() == b"x"


def test_directories_do_not_get_mixed_up(root: Path) -> None:
    roots = [root / "a", root / "b", root / "a"]
    for one in roots[:2]:
        (one / ".unfinished").mkdir(parents=True)
    assert written(roots, *((str(one), f"{one}/{n}", b"%d" % n) for n, one in enumerate(roots))) == [None] * 3
    assert [(one / str(n)).read_bytes() for n, one in enumerate(roots)] == [b"0", b"1", b"2"]
    assert sorted(path.name for path in (root / "a").iterdir()) == [".unfinished", "0", "2"]


def test_a_full_disk_is_told_by_its_number(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(f"{root}/.unfinished/"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert written([root], (str(root), f"{root}/1", b"x")) == [(errno.ENOSPC, "No space left on device")]
    assert list((root / ".unfinished").iterdir()) == []


def test_a_folder_that_is_swapped_before_its_first_blob_takes_none(root: Path) -> None:
    scribe = Scribe()
    (root / "installation.json").write_text("one")
    files = scribe.open(msgspec.msgpack.encode((str(root), b"")))
    (root / "installation.json").unlink()
    (answer,) = scribe.answer([(files, msgspec.msgpack.encode((str(root), f"{root}/1", b"x")))])
    told = msgspec.msgpack.decode(answer, type=Outcome)
    assert told is not None
    assert "is the disk mounted?" in str(error_of(told, f"{root}/1"))
    assert not (root / "1").exists()


@pytest.mark.parametrize("there", [None, b"two"])
def test_a_new_process_that_sees_another_store_writes_nothing(root: Path, there: bytes | None) -> None:
    """It may have been started while the disk was not mounted."""
    if there is not None:
        (root / "installation.json").write_bytes(there)
    scribe = Scribe()
    files = scribe.open(msgspec.msgpack.encode((str(root), b"one")))
    question = msgspec.msgpack.encode((str(root), f"{root}/1", b"x"))
    assert msgspec.msgpack.decode(scribe.answer([(files, question)])[0], type=Outcome) is not None
    assert not (root / "1").exists()
    (root / "installation.json").write_bytes(b"one")
    assert msgspec.msgpack.decode(scribe.answer([(files, question)])[0], type=Outcome) is None
    assert (root / "1").read_bytes() == b"x"
