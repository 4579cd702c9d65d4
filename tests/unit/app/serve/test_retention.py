"""Age is measured by a time that never leaps: a wrong clock removes nothing at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inbox.app.serve.housekeeping import newest_record, prune
from inbox.app.serve.retention import DAY, RATE, FrozenClock, RetentionTime
from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import MemoryLog
from inbox.policy.model import ServerPolicy
from inbox.store.blobs.local import LocalBlobs
from inbox.store.ports.decisions import DecisionFilter
from inbox.store.sqlite import SqliteDatabase
from inbox.store.sweeper import GRACE_SECONDS, Sweeper
from tests.support.store import decision, home

START = 1_800_000_000.0
TEN_YEARS = 3652 * DAY


class TwoClocks:
    """A clock whose date can be set while time goes on."""

    def __init__(self, wall: float = START) -> None:
        self.wall = wall
        self.steady = 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def retention(folder: Path, clock: TwoClocks, log: MemoryLog | None = None) -> RetentionTime:
    return RetentionTime(folder / "retention-time", clock, log or MemoryLog())


def test_it_follows_the_clock(tmp_path: Path) -> None:
    clock, log = TwoClocks(), MemoryLog()
    time = retention(tmp_path, clock, log)
    assert not time.is_known
    assert time.now() == START
    assert time.is_known
    for _ in range(100):
        clock.run(600)
        assert time.now() == clock.now()
    assert log.events == []


def test_a_leap_forward_is_followed_slowly_and_logged(tmp_path: Path) -> None:
    clock, log = TwoClocks(), MemoryLog()
    time = retention(tmp_path, clock, log)
    time.now()
    clock.wall += TEN_YEARS
    assert time.now() == START
    assert [event for _, event, _ in log.events] == ["clock_leaped"]
    clock.run(DAY)
    assert time.now() == START + RATE * DAY
    # Corrected: it does not advance until the clock has caught up, and is never later than that.
    clock.wall -= TEN_YEARS
    assert time.now() == clock.now()
    clock.run(4 * DAY)
    assert time.now() == clock.now()


def test_a_leap_is_not_believed_after_a_restart_either(tmp_path: Path) -> None:
    clock = TwoClocks()
    retention(tmp_path, clock).now()
    clock.wall += TEN_YEARS
    for _ in range(20):
        assert retention(tmp_path, clock).now(clock.now()) == START


def test_a_leap_back_costs_nothing_once_it_is_put_right(tmp_path: Path) -> None:
    clock = TwoClocks()
    time = retention(tmp_path, clock)
    time.now()
    clock.wall = 0.0
    assert time.now() == 0.0
    assert retention(tmp_path, clock).now() == 0.0
    clock.wall = START + 60
    clock.steady += 60
    assert time.now() == START + 60


def test_time_that_the_server_was_off_is_made_up_for(tmp_path: Path) -> None:
    clock = TwoClocks()
    retention(tmp_path, clock).now()
    clock.wall += 60 * DAY
    later = retention(tmp_path, clock)
    later.now()
    clock.run(20 * DAY)
    assert later.now() == clock.now()


@pytest.mark.parametrize("kept", ["", "nonsense", "\xff"])
def test_without_what_was_kept_the_newest_record_is_what_counts(tmp_path: Path, kept: str) -> None:
    clock, log = TwoClocks(), MemoryLog()
    (tmp_path / "retention-time").write_bytes(kept.encode("latin-1"))
    assert retention(tmp_path, clock, log).now(START - 100 * DAY) == START - 99 * DAY
    assert log.events[0][1] == "retention_time_unreadable"
    assert float((tmp_path / "retention-time").read_text()) == START - 99 * DAY


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    clock, log = TwoClocks(), MemoryLog()
    (tmp_path / "retention-time").mkdir()
    assert retention(tmp_path, clock, log).now() == START
    assert {event for _, event, _ in log.events} == {"retention_time_unreadable", "retention_time_not_kept"}


async def test_a_clock_that_leaps_by_years_removes_no_record(tmp_path: Path) -> None:
    clock = TwoClocks()
    db = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), RandomIds(SystemClock().now))
    await db.open()
    try:
        await db.decisions.add([decision("t", at=START - day * DAY) for day in range(40)])
        time = retention(tmp_path, clock)
        policy = ServerPolicy()
        await prune(db, policy, clock.now(), time.now(await newest_record(db)))
        assert len(await db.decisions.search(DecisionFilter(), 100)) == 31
        clock.wall += TEN_YEARS
        # Mail goes on, with the wrong date.
        await db.decisions.add([decision("t", at=clock.now())])
        for _ in range(3):
            clock.run(600)
            await prune(db, policy, clock.now(), time.now(await newest_record(db)))
        assert len(await db.decisions.search(DecisionFilter(), 100)) >= 31
        # By the clock alone all of them would have been too old.
        await prune(db, policy, clock.now())
        assert len(await db.decisions.search(DecisionFilter(), 100)) == 1
    finally:
        await db.close()


async def test_a_clock_that_leaps_makes_no_blob_an_orphan_whose_mail_is_being_filed(tmp_path: Path) -> None:
    clock = TwoClocks(START + 1)
    time = retention(tmp_path, clock)
    time.now()
    clock.wall += TEN_YEARS
    db = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), RandomIds(SystemClock().now))
    blobs = LocalBlobs(tmp_path / "incoming")
    await db.open()
    await blobs.open()

    async def verify() -> None: ...

    async def sweep() -> int:
        return (await Sweeper(blobs, db, FrozenClock(time.now()), verify).sweep()).moved

    try:
        await home(db)
        await blobs.put("msg/t/m/x.eml", MemoryContent(b"mail"))
        os.utime(tmp_path / "incoming" / "msg" / "t" / "m" / "x.eml", (START, START))
        for _ in range(10):
            assert await sweep() == 0
            clock.run(600)
        assert FrozenClock(1.0).monotonic() == 1.0
        clock.run(GRACE_SECONDS)
        assert await sweep() == 1
    finally:
        await blobs.close()
        await db.close()
