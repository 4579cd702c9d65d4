"""What the process that writes small blobs does with what it reads."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from inbox.store.blobs.files import Files
from inbox.store.blobs.scribe import HEAD, framed, write

ROOT = Path(__file__).parents[4]


def served(root: Path, given: bytes) -> subprocess.CompletedProcess[bytes]:
    """One life of the process with this input."""
    program = (
        f"import sys; sys.path.append({str(ROOT)!r}); from inbox.store.blobs.scribe import main; main(sys.argv[1])"
    )
    command = [sys.executable, "-c", program, str(root)]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".unfinished").mkdir()
    return tmp_path


def test_each_batch_gets_its_answer(root: Path) -> None:
    batches = [framed([(str(root), f"{root}/{n}", b"x" * n)]) for n in (1, 300_000)]
    ended = served(root, b"".join(batches))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, framed([None]) * 2, b"")
    assert (root / "300000").stat().st_size == 300_000


@pytest.mark.parametrize("cut", [0, 2, 10])
def test_an_input_that_ends_within_a_frame(root: Path, cut: int) -> None:
    ended = served(root, framed([(str(root), f"{root}/1", b"x")])[:cut])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert not (root / "1").exists()


def test_a_full_disk_is_told_by_its_number(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = Files(str(root))
    monkeypatch.setattr(os, "fsync", full)
    files._durable.add(str(root))
    assert write(files, [(str(root), f"{root}/1", b"x")]) == [(errno.ENOSPC, "No space left on device")]
    assert list((root / ".unfinished").iterdir()) == []


def test_a_frame_is_a_length_and_a_message() -> None:
    frame = framed([None, (5, "x")])
    assert HEAD.unpack(frame[: HEAD.size]) == (len(frame) - HEAD.size,)
    assert msgspec.msgpack.decode(frame[HEAD.size :]) == [None, [5, "x"]]
