"""What the process that writes small blobs does with a batch."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from inbox.store.blobs.files import Files
from inbox.store.blobs.scribe import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".unfinished").mkdir()
    return tmp_path


def test_each_blob_has_its_outcome(root: Path) -> None:
    (root / "file").write_bytes(b"")
    batch = [(str(root), f"{root}/1", b"x"), (f"{root}/file", f"{root}/file/1", b"y")]
    assert write(Files(str(root)), batch) == [None, (errno.ENOTDIR, "Not a directory")]
    assert (root / "1").read_bytes() == b"x"


def test_a_full_disk_is_told_by_its_number(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = Files(str(root))
    files.make_folder(str(root))
    monkeypatch.setattr(os, "fsync", full)
    assert write(files, [(str(root), f"{root}/1", b"x")]) == [(errno.ENOSPC, "No space left on device")]
    assert list((root / ".unfinished").iterdir()) == []
