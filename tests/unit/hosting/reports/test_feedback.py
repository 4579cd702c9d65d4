from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from inbox.authentication.aggregate.records import decode_details, decode_observation
from inbox.base.errors import NotFound, StoreError, StoreUnavailable
from inbox.hosting.reports.feedback import AHEAD, BATCH, FeedbackLedger
from inbox.identity.directory import AddressDirectory
from inbox.plugin.api.feedback import IncomingReport, Observation, ReportRow
from inbox.plugin.api.testing import FakeClock, MemoryLog, run_in_thread
from inbox.store.ports import ObservationCount
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home, home

DAY = "2026-11-22"
SEEN = Observation(
    DAY, "example.org", (("p", "reject"), ("rua", "mailto:d@example.org")), "192.0.2.1", "example.org", "example.org",
    "none", True, False, (("example.org", "s1", "pass"),), (("example.org", "mfrom", "softfail"),), "", "",
)  # fmt: skip
REPORT = IncomingReport(
    "acme.test", "Reporter", "id-1", 1000.0, 2000.0, "d@reporter.test", (("p", "none"),),
    (
        ReportRow("192.0.2.1", 5, "none", True, False, "acme.test"),
        ReportRow("2001:db8::1", 3, "none", False, True, "acme.test", "acme.test", (("a", "s", "pass"),)),
        ReportRow("192.0.2.9", 2, "reject", False, False, "acme.test"),
    ),
)  # fmt: skip


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def db(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "inbox.db", clock, IDS)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def acme(db: SqliteDatabase) -> Home:
    return await home(db)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def ledger(db: SqliteDatabase, clock: FakeClock, log: MemoryLog) -> FeedbackLedger:
    directory = AddressDirectory(db.tenants, db.accounts, clock)
    return FeedbackLedger(db.dmarc_reports, directory, run_in_thread, clock, log, most=3000)


class Weak:
    """A table of which a test says what its next calls raise."""

    def __init__(self, db: SqliteDatabase) -> None:
        self.real = db.dmarc_reports
        self.raises: list[Exception | None] = []
        self.calls: list[int] = []

    async def count(self, observations: Sequence[ObservationCount]) -> None:
        self.calls.append(len(observations))
        error = self.raises.pop(0) if self.raises else None
        if error is not None:
            raise error
        await self.real.count(observations)


@pytest.fixture
def weak(db: SqliteDatabase, ledger: FeedbackLedger, monkeypatch: pytest.MonkeyPatch) -> Weak:
    made = Weak(db)
    monkeypatch.setattr(ledger, "_reports", made)
    return made


def many(count: int, first: int = 0) -> list[Observation]:
    return [replace(SEEN, source_ip=f"198.51.{n // 256}.{n % 256}") for n in range(first, first + count)]


async def observed(db: SqliteDatabase) -> list[tuple[Observation, int]]:
    return [(decode_observation(one.body), one.count) for one in await db.dmarc_reports.observed(DAY)]


async def test_equal_observations_are_counted_and_written(db: SqliteDatabase, ledger: FeedbackLedger) -> None:
    other = replace(SEEN, source_ip="2001:db8::7")
    for one in (SEEN, other, replace(SEEN), SEEN):
        ledger.observe(one)
    assert await observed(db) == []
    await ledger.flush()
    ledger.observe(SEEN)
    await ledger.close()
    assert sorted(await observed(db), key=lambda one: one[1]) == [(other, 1), (SEEN, 4)]


async def test_several_processes_add_up(db: SqliteDatabase, ledger: FeedbackLedger, clock: FakeClock) -> None:
    directory = AddressDirectory(db.tenants, db.accounts, clock)
    others = [FeedbackLedger(db.dmarc_reports, directory, run_in_thread, clock, MemoryLog()) for _ in range(3)]
    for each in (ledger, *others):
        each.observe(SEEN)
    await asyncio.gather(*(each.close() for each in (ledger, *others)))
    assert await observed(db) == [(SEEN, 4)]


async def test_it_writes_by_itself(db: SqliteDatabase, ledger: FeedbackLedger, weak: Weak) -> None:
    written = asyncio.Event()
    count = weak.count

    async def told(observations: Sequence[ObservationCount]) -> None:
        await count(observations)
        written.set()

    weak.count = told  # type: ignore[method-assign]  # the test wants to know when
    ledger.start(interval=0.001)
    ledger.observe(SEEN)
    await written.wait()
    await ledger.close()
    assert await observed(db) == [(SEEN, 1)]


async def test_counts_wait_while_the_database_does_not_answer(
    db: SqliteDatabase, ledger: FeedbackLedger, weak: Weak, log: MemoryLog
) -> None:
    weak.raises = [None, StoreUnavailable("gone"), StoreUnavailable("gone")]
    for one in many(BATCH * 2 + 1):
        ledger.observe(one)
    await ledger.flush()
    assert weak.calls == [BATCH, BATCH], "after a failure the rest is not tried"
    ledger.observe(many(1, first=BATCH)[0])
    await ledger.flush()
    await ledger.flush()
    found = await observed(db)
    assert sum(count for _, count in found) == BATCH * 2 + 2
    assert len(found) == BATCH * 2 + 1
    assert len(log.named("feedback_waits")) == 1, "an outage is logged once"
    await ledger.close()
    assert log.errors == []


async def test_waiting_counts_are_bounded(
    db: SqliteDatabase, ledger: FeedbackLedger, weak: Weak, log: MemoryLog
) -> None:
    weak.raises = [StoreUnavailable("gone")]
    for one in many(2999):
        ledger.observe(one)
    await ledger.flush()
    for one in many(3, first=5000):
        ledger.observe(one)
    ledger.observe(many(1)[0])
    await ledger.flush()
    assert log.named("feedback_dropped") == [{"observations": 2, "distinct": 3000}]
    assert sum(count for _, count in await observed(db)) == 3001


async def test_newer_counts_have_the_room(ledger: FeedbackLedger, weak: Weak, log: MemoryLog) -> None:
    class Gone(Weak):
        async def count(self, observations: Sequence[ObservationCount]) -> None:
            for one in many(2000, first=10_000):
                ledger.observe(one)
            raise StoreUnavailable("gone")

    weak.count = Gone.count.__get__(weak)  # type: ignore[method-assign]  # messages come while the database hangs
    for one in many(2000):
        ledger.observe(one)
    await ledger.flush()
    await ledger.close()
    assert log.named("feedback_dropped") == [{"observations": 1000, "distinct": 3000}]
    assert len(log.named("feedback_lost")) == 1


async def test_counts_that_are_lost_at_the_end_are_reported(ledger: FeedbackLedger, weak: Weak, log: MemoryLog) -> None:
    weak.raises = [StoreUnavailable("gone")]
    for _ in range(7):
        ledger.observe(SEEN)
    await ledger.close()
    assert log.named("feedback_lost") == [{"observations": 7}]


async def test_a_refused_count_does_not_block_the_others(
    db: SqliteDatabase, ledger: FeedbackLedger, weak: Weak, log: MemoryLog
) -> None:
    weak.raises = [StoreError("no such table")]
    ledger.observe(SEEN)
    await ledger.flush()
    ledger.observe(many(1)[0])
    await ledger.close()
    assert log.errors == ["feedback_refused"]
    assert await observed(db) == [(many(1)[0], 1)]


async def test_an_endless_record_is_not_kept(db: SqliteDatabase, ledger: FeedbackLedger, log: MemoryLog) -> None:
    ledger.observe(replace(SEEN, published=(("rua", "x" * 10_000),)))
    await ledger.close()
    assert await observed(db) == []
    assert len(log.named("feedback_dropped")) == 1


async def test_counts_that_cannot_be_written_are_dropped(
    db: SqliteDatabase, ledger: FeedbackLedger, log: MemoryLog
) -> None:
    ledger.observe(replace(SEEN, dkim=(("\udc80.test", "s", "fail"),)))
    ledger.observe(SEEN)
    await ledger.close()
    assert await observed(db) == [(SEEN, 1)]
    assert len(log.named("feedback_dropped")) == 1


async def test_a_report_is_filed_once_for_its_tenant(
    db: SqliteDatabase, acme: Home, ledger: FeedbackLedger, clock: FakeClock
) -> None:
    other = await home(db, "other", "oscar")
    assert await ledger.keep(other.tenant, REPORT) is False
    assert await ledger.keep(acme.tenant, replace(REPORT, domain="elsewhere.test")) is False
    assert await ledger.keep(acme.tenant, REPORT) is True
    assert await ledger.keep(acme.tenant, REPORT) is False
    (stored,) = await db.dmarc_reports.reports(acme.tenant, "acme.test")
    assert (stored.organization, stored.report_id, stored.begin, stored.end) == ("Reporter", "id-1", 1000.0, 2000.0)
    assert (stored.messages, stored.passed, stored.received_at) == (10, 8, clock.now())
    details = decode_details(stored.body)
    assert (details.email, details.published, details.rows) == (REPORT.email, REPORT.published, REPORT.rows)
    assert await db.dmarc_reports.reports(other.tenant, "acme.test") == []


async def test_a_large_report_is_stored_small(db: SqliteDatabase, acme: Home, ledger: FeedbackLedger) -> None:
    rows = tuple(replace(REPORT.rows[1], source_ip=f"2001:db8::{n:x}") for n in range(5000))
    assert await ledger.keep(acme.tenant, replace(REPORT, rows=rows)) is True
    (stored,) = await db.dmarc_reports.reports(acme.tenant, "acme.test")
    assert decode_details(stored.body).rows == rows
    assert stored.messages == 15_000
    assert len(stored.body) < 100_000


async def test_a_report_from_the_future_is_not_filed(
    acme: Home, ledger: FeedbackLedger, clock: FakeClock, log: MemoryLog
) -> None:
    assert await ledger.keep(acme.tenant, replace(REPORT, end=clock.now() + AHEAD + 1)) is False
    assert len(log.named("report_refused")) == 1
    assert await ledger.keep(acme.tenant, replace(REPORT, end=clock.now() + AHEAD)) is True


async def test_a_domain_that_has_just_gone_is_not_ours(
    acme: Home, ledger: FeedbackLedger, weak: Weak, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(report: object) -> bool:
        raise NotFound("gone")

    monkeypatch.setattr(weak, "add", gone, raising=False)
    assert await ledger.keep(acme.tenant, REPORT) is False
