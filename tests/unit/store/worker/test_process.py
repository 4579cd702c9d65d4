"""The worker process: connections about several stores, and blobs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.store.blobs.keys import IDENTITY
from inbox.store.worker.process import Worker
from inbox.store.worker.protocol import (
    BlobRequest,
    BlobResponse,
    Connect,
    ErrorResponse,
    Response,
    decode_response,
    encode,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".unfinished").mkdir()
    return tmp_path


def written(roots: list[Path], *blobs: BlobRequest) -> list[Response]:
    """The responses to requests for blobs, each below the root at the same place of the list."""
    worker = Worker()
    requests = [
        (worker.connect(encode(Connect(blobs=str(root)))), encode(blob))
        for root, blob in zip(roots, blobs, strict=True)
    ]
    return [decode_response(response) for response in worker.respond(requests)]


def test_each_blob_has_its_response(root: Path) -> None:
    (root / "file").write_bytes(b"")
    good, bad = BlobRequest(str(root), f"{root}/1", b"x"), BlobRequest(f"{root}/file", f"{root}/file/1", b"y")
    fine, failed = written([root] * 2, good, bad)
    assert fine == BlobResponse()
    assert isinstance(failed, ErrorResponse)
    assert (failed.kind, f"{root}/file/1" in failed.text) == ("StoreUnavailable", True)
    assert (root / "1").read_bytes() == b"x"


def test_the_blobs_of_a_batch_are_synced_with_one_wait(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait for each blob would take longer than everything else: this process calls fsync for folders only."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    blobs = [BlobRequest(str(root), f"{root}/{n}", b"x") for n in range(5)]
    assert written([root] * 5, *blobs) == [BlobResponse()] * 5
    assert [path for path in synced if ".unfinished" in path] == []
    assert synced[-1] == str(root)


def test_directories_do_not_get_mixed_up(root: Path) -> None:
    roots = [root / "a", root / "b", root / "a"]
    for one in roots[:2]:
        (one / ".unfinished").mkdir(parents=True)
    blobs = (BlobRequest(str(one), f"{one}/{n}", b"%d" % n) for n, one in enumerate(roots))
    assert written(roots, *blobs) == [BlobResponse()] * 3
    assert [(one / str(n)).read_bytes() for n, one in enumerate(roots)] == [b"0", b"1", b"2"]
    assert sorted(path.name for path in (root / "a").iterdir()) == [".unfinished", "0", "2"]


def test_a_full_disk_has_its_own_kind_of_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(f"{root}/.unfinished/"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    (failed,) = written([root], BlobRequest(str(root), f"{root}/1", b"x"))
    assert isinstance(failed, ErrorResponse)
    assert (failed.kind, "No space left on device" in failed.text) == ("StorageFull", True)
    assert list((root / ".unfinished").iterdir()) == []


def test_a_folder_that_is_swapped_before_its_first_blob_takes_none(root: Path) -> None:
    worker = Worker()
    (root / "installation.json").write_text("one")
    writer = worker.connect(encode(Connect(blobs=str(root))))
    (root / "installation.json").unlink()
    (response,) = worker.respond([(writer, encode(BlobRequest(str(root), f"{root}/1", b"x")))])
    failed = decode_response(response)
    assert isinstance(failed, ErrorResponse)
    assert "is the disk mounted?" in failed.text
    assert not (root / "1").exists()


@pytest.mark.parametrize("there", [None, b"two"])
def test_a_new_process_that_sees_another_store_writes_nothing(root: Path, there: bytes | None) -> None:
    """It may have been started while the disk was not mounted."""
    if there is not None:
        (root / "installation.json").write_bytes(there)
    worker = Worker()
    writer = worker.connect(encode(Connect(blobs=str(root), store=b"one")))
    request = encode(BlobRequest(str(root), f"{root}/1", b"x"))
    assert isinstance(decode_response(worker.respond([(writer, request)])[0]), ErrorResponse)
    assert not (root / "1").exists()
    (root / "installation.json").write_bytes(b"one")
    assert decode_response(worker.respond([(writer, request)])[0]) == BlobResponse()
    assert (root / "1").read_bytes() == b"x"


def test_servers_that_connect_before_and_after_the_store_has_its_identity_share_a_writer(root: Path) -> None:
    """Two writers would commit the mail of a new installation in two halves."""
    worker = Worker()
    first = worker.connect(encode(Connect(blobs=str(root))))
    (root / IDENTITY).write_bytes(b"this store")
    assert worker.connect(encode(Connect(blobs=str(root), store=b"this store"))) is first
    assert worker.connect(encode(Connect(blobs=str(root), store=b"this store"))) is first
    assert worker.connect(encode(Connect(blobs=str(root), store=b"another store"))) is not first
    assert worker.connect(encode(Connect(database=str(root / "x"), blobs=str(root), store=b"this store"))) is not first
    worker.close()


def test_a_connection_of_another_version_is_refused() -> None:
    with pytest.raises(StoreUnavailable, match="has another version of inbox"):
        Worker().connect(b"\xc1")
