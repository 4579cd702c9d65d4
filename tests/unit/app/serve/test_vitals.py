"""Whether mail can be taken now: with real stores, and what can happen to them."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from inbox.app.config.loading import load
from inbox.app.serve import vitals
from inbox.app.serve.vitals import check_health, check_room, warnings, worker_view
from inbox.app.wiring.installation import Installation, opened
from inbox.base.errors import StorageFull, StoreUnavailable

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    config = load({"INBOX_DATA_DIR": str(tmp_path / "data")})
    config.spool_dir.mkdir(parents=True)
    async with opened(config, serving=True) as installation:
        yield installation


async def test_a_sound_one(installation: Installation) -> None:
    await check_health(installation)
    assert installation.worker is not None
    view = await worker_view(installation.worker)
    assert view == {
        "name": "the worker process", "pid": installation.worker.pid, "answers": True, "why": "",
    }  # fmt: skip
    assert view["pid"] not in (None, os.getpid())


async def test_a_worker_that_hangs(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "TIMEOUT_SECONDS", 0.05)
    assert installation.worker is not None
    pid = installation.worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        why = f"the worker process (pid {pid}) did not answer within 0 s"
        assert (await worker_view(installation.worker))["why"] == why
        with pytest.raises(StoreUnavailable, match=r"worker process .* did not answer"):
            await check_health(installation)
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_worker_that_was_killed_is_replaced_by_asking_for_it(installation: Installation) -> None:
    assert installation.worker is not None
    pid = installation.worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    first = await worker_view(installation.worker)
    assert first["answers"] or "ended" in first["why"]  # The kernel may not have reported it yet.
    await check_health(installation)
    assert installation.worker.pid != pid


async def test_a_database_that_was_moved_and_put_back(installation: Installation) -> None:
    path = installation.config.sqlite_path
    path.rename(path.with_suffix(".away"))
    # Nobody makes a new one in its place.
    for _ in range(9):
        with pytest.raises(StoreUnavailable, match="restore it"):
            await installation.database.ping()
    assert not path.exists()
    with pytest.raises(StoreUnavailable, match=r"inbox\.db was moved, removed or replaced .*: restore it, or restart"):
        await check_health(installation)
    path.with_suffix(".away").rename(path)
    await check_health(installation)


async def test_a_folder_that_is_gone(installation: Installation) -> None:
    shutil.rmtree(installation.config.spool_dir)
    with pytest.raises(StoreUnavailable, match="spool: No such file"):
        await check_health(installation)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"f_bavail": 3, "f_files": 9, "f_favail": 9}, "12 KiB free, 16384 KiB are reserved"),
        ({"f_bavail": 1 << 20, "f_files": 9, "f_favail": 0}, "no inodes are free"),
    ],
)
def test_no_room(found: dict[str, int], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_room([tmp_path])
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_frsize=4096, f_blocks=1 << 30, **found))
    with pytest.raises(StorageFull, match=f"no room at {tmp_path}: {told}"):
        check_room([tmp_path])


def test_a_file_system_that_does_not_count_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = SimpleNamespace(f_frsize=4096, f_blocks=1 << 30, f_bavail=1 << 20, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: unlimited)
    check_room([tmp_path])


async def test_a_disk_that_hangs(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network file system does whose server is gone: the call never returns."""
    monkeypatch.setattr(vitals, "TIMEOUT_SECONDS", 0.05)
    hanging = threading.Event()
    monkeypatch.setattr(os, "statvfs", lambda _: hanging.wait(60))
    try:
        with pytest.raises(StoreUnavailable, match=r"the disk under .*data did not answer"):
            await check_health(installation)
    finally:
        hanging.set()


def test_counters_in_memory_are_a_warning() -> None:
    assert warnings(None, {}) == []
    assert warnings(None, {}, "gone") == ["rate counters are in memory, so each process counts for itself: gone"]
