"""Behaviour of the local blob store alone: files, fsync, full disks."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from inbox.base.errors import StorageFull, StoreUnavailable
from inbox.mail.content import FileContent, MemoryContent
from inbox.store.blobs.local import LocalBlobs


async def opened(root: Path) -> LocalBlobs:
    blobs = LocalBlobs(root)
    await blobs.open()
    return blobs


async def test_a_key_is_the_path_below_the_root(tmp_path: Path) -> None:
    blobs = await opened(tmp_path / "incoming")
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    assert (tmp_path / "incoming/msg/o/m/1.eml").read_bytes() == b"x"
    assert isinstance(await blobs.get("msg/o/m/1.eml"), FileContent)
    await blobs.close()


async def test_only_the_owner_may_look(tmp_path: Path) -> None:
    blobs = await opened(tmp_path / "incoming")
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    await blobs.close()
    assert (tmp_path / "incoming").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "incoming/msg/o/m").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "incoming/msg/o/m/1.eml").stat().st_mode & 0o777 == 0o600


def _target(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


class Syscalls:
    """Records what is fsynced and renamed, and can make a call fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fail: dict[str, int] = {}
        self._fsync, self._rename, self._write = os.fsync, os.rename, os.write
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "rename", self.rename)
        monkeypatch.setattr(os, "write", self.write)

    def _check(self, name: str) -> None:
        if name in self.fail:
            raise OSError(self.fail[name], os.strerror(self.fail[name]))

    def fsync(self, fd: int) -> None:
        path = _target(fd)
        self.calls.append(("fsync", path))
        self._check("fsync folder" if Path(path).is_dir() else "fsync")
        self._fsync(fd)

    def rename(self, source: str, target: str) -> None:
        self.calls.append(("rename", target))
        self._check("rename")
        self._rename(source, target)

    def write(self, fd: int, data: bytes) -> int:
        if not _target(fd).startswith("/"):
            return self._write(fd, data)  # The event loop's own pipe.
        self._check("write")
        return self._write(fd, data[:100])  # A short write, as a signal may cause.


async def test_file_then_place_then_folder_are_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = await opened(tmp_path / "incoming")
    calls = Syscalls(monkeypatch)
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x" * 1000))
    root = str(tmp_path / "incoming")
    folders = [("fsync", f"{root}/msg/o/m"), ("fsync", f"{root}/msg/o"), ("fsync", f"{root}/msg"), ("fsync", root)]
    assert calls.calls[:4] == folders
    assert calls.calls[4][0] == "fsync"
    assert calls.calls[4][1].startswith(f"{root}/.unfinished/")
    assert calls.calls[5:] == [("rename", f"{root}/msg/o/m/1.eml"), ("fsync", f"{root}/msg/o/m")]
    calls.calls.clear()
    await blobs.put("msg/o/m/2.eml", MemoryContent(b"x"))
    assert [name for name, _ in calls.calls] == ["fsync", "rename", "fsync"]
    assert (tmp_path / "incoming/msg/o/m/1.eml").read_bytes() == b"x" * 1000
    await blobs.close()


async def test_puts_at_once_share_the_fsync_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = await opened(tmp_path)
    await blobs.put("msg/o/m/0.eml", MemoryContent(b"x"))
    calls = Syscalls(monkeypatch)
    await asyncio.gather(*[blobs.put(f"msg/o/m/{n}.eml", MemoryContent(b"x")) for n in range(1, 18)])
    folder_syncs = [call for call in calls.calls if call == ("fsync", str(tmp_path / "msg/o/m"))]
    # The first goes alone, the sixteen that came meanwhile in one batch.
    assert len(folder_syncs) == 2
    assert calls.calls[-1] == folder_syncs[0]
    await blobs.close()


@pytest.mark.parametrize("where", ["write", "fsync", "rename", "fsync folder"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StoreUnavailable),
        (errno.EROFS, StoreUnavailable),
        (errno.EACCES, StoreUnavailable),
    ],
)
async def test_a_disk_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int, error: type[Exception]
) -> None:
    blobs = await opened(tmp_path)
    await blobs.put("msg/o/m/0.eml", MemoryContent(b"x"))
    with monkeypatch.context() as patch:
        Syscalls(patch).fail[where] = number
        with pytest.raises(error):
            await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    assert list((tmp_path / ".unfinished").iterdir()) == []
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"y"))
    assert (tmp_path / "msg/o/m/1.eml").read_bytes() == b"y"
    await blobs.close()


async def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    blobs = LocalBlobs(tmp_path / "file" / "incoming")
    with pytest.raises(StoreUnavailable):
        await blobs.open()
    await blobs.close()


async def test_a_removed_folder_is_created_again(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    (tmp_path / "msg/o/m/1.eml").unlink()
    (tmp_path / "msg/o/m").rmdir()
    await blobs.put("msg/o/m/2.eml", MemoryContent(b"y"))
    assert (tmp_path / "msg/o/m/2.eml").read_bytes() == b"y"
    await blobs.close()


async def test_unfinished_files_are_removed_when_they_are_old(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    for name, written in (("old", 1000.0), ("young", 3000.0)):
        path = tmp_path / ".unfinished" / name
        path.write_bytes(b"torn")
        os.utime(path, (written, written))
    assert await blobs.remove_unfinished(2000.0) == 1
    assert [path.name for path in (tmp_path / ".unfinished").iterdir()] == ["young"]
    assert [key async for key, _ in blobs.keys()] == []  # noqa: SIM118 - not a dict
    await blobs.close()


async def test_the_time_of_a_blob_is_the_file_s(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.put("a", MemoryContent(b"x"))
    os.utime(tmp_path / "a", (1_234_567.0, 1_234_567.0))
    assert [found async for found in blobs.keys()] == [("a", 1_234_567.0)]  # noqa: SIM118 - not a dict
    await blobs.close()


async def test_two_processes_stores_share_one_directory(tmp_path: Path) -> None:
    one, two = await opened(tmp_path), await opened(tmp_path)
    await asyncio.gather(*[store.put(f"m/{n}", MemoryContent(b"x")) for n in range(20) for store in (one, two)])
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted(map(str, range(20)))
    await one.close()
    await two.close()


async def test_close_waits_for_what_is_on_its_way(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    puts = [asyncio.ensure_future(blobs.put(f"m/{n}", MemoryContent(b"x"))) for n in range(30)]
    await asyncio.sleep(0)
    await blobs.close()
    assert await asyncio.gather(*puts) == [None] * 30
    assert len(list((tmp_path / "m").iterdir())) == 30
