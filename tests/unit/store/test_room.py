"""Room that is not for mail."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from inbox.base.errors import StorageFull
from inbox.store.room import RESERVE, RESERVE_OCTETS, Room

MIB = 1 << 20


class Disk:
    """The result of ``statvfs``."""

    def __init__(self, total: int, free: int) -> None:
        self.total, self.free = total, free

    def __call__(self, _: Path) -> SimpleNamespace:
        return SimpleNamespace(f_frsize=1, f_blocks=self.total, f_bavail=self.free)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(100_000 * MIB, 1000 * MIB)
    monkeypatch.setattr(os, "statvfs", disk)
    return disk


def test_the_reserve_takes_room_and_gives_it_back(tmp_path: Path, disk: Disk) -> None:
    room = Room(tmp_path)
    assert room.keep()
    assert (tmp_path / RESERVE).stat().st_size == RESERVE_OCTETS
    assert (tmp_path / RESERVE).stat().st_blocks * 512 >= RESERVE_OCTETS
    before = (tmp_path / RESERVE).stat().st_mtime_ns
    assert room.keep()
    assert (tmp_path / RESERVE).stat().st_mtime_ns == before
    assert room.release()
    assert list(tmp_path.iterdir()) == []
    assert not room.release()


def test_mail_stops_at_the_floor_and_earlier_while_there_is_no_reserve(tmp_path: Path, disk: Disk) -> None:
    room = Room(tmp_path)
    disk.free = 2 * RESERVE_OCTETS
    room.check()
    with pytest.raises(StorageFull, match=r"no room at .*: 16384 KiB free, 16384 KiB are reserved"):
        room.check(1)
    (tmp_path / RESERVE).touch()
    room.check(RESERVE_OCTETS)
    with pytest.raises(StorageFull):
        room.check(RESERVE_OCTETS + 1)


def test_a_reserve_is_made_only_where_mail_still_fits(tmp_path: Path, disk: Disk) -> None:
    disk.free = 4 * RESERVE_OCTETS - 1
    assert not Room(tmp_path).keep()
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_has_a_small_reserve(tmp_path: Path, disk: Disk) -> None:
    disk.total, disk.free = 32 * MIB, 20 * MIB
    assert Room(tmp_path).keep()
    assert (tmp_path / RESERVE).stat().st_size == 2 * MIB
    disk.free = 2 * MIB
    Room(tmp_path).check()
    assert not Room(tmp_path).is_full()
    disk.free = MIB // 4
    assert Room(tmp_path).is_full()


def test_a_reserve_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not Room(tmp_path).keep()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_created_by_the_first_writer(tmp_path: Path) -> None:
    Room(tmp_path / "nowhere").check()
    assert not Room(tmp_path / "nowhere").keep()


def test_a_reserve_that_cannot_be_removed_is_no_help(tmp_path: Path) -> None:
    (tmp_path / RESERVE).mkdir()
    assert not Room(tmp_path).release()


def test_a_disk_with_plenty_of_room_is_looked_at_now_and_then(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, looks = 100.0, 0

    def look(path: Path) -> SimpleNamespace:
        nonlocal looks
        looks += 1
        return disk(path)

    monkeypatch.setattr(os, "statvfs", look)
    monkeypatch.setattr(time, "monotonic", lambda: seconds)
    room = Room(tmp_path)
    for _ in range(50):
        room.check(4096)
    assert looks == 1
    disk.free = 64 * RESERVE_OCTETS - 1
    seconds += 0.1
    for _ in range(50):
        room.check()
    assert looks == 51
    disk.free = 0
    with pytest.raises(StorageFull):
        room.check()
