from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from inbox.app.serve.housekeeping import ABANDONED_SECONDS, DAY, prune, prune_queue, tidy
from inbox.plugin.api.testing import FakeClock
from inbox.policy.model import DecisionSettings, ReportSettings, ServerPolicy
from inbox.store.ports import ObservationCount, StoredReport
from inbox.store.ports.decisions import DecisionFilter
from inbox.store.ports.ingest import Indexed
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.ports.shared import SharedEvent
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.jobs import deliver, fail
from tests.support.store import IDS, decision, email, home, indexed


async def test_each_goes_at_its_age(tmp_path: Path) -> None:
    clock = FakeClock(1_795_348_800.0)  # 2026-11-22T16:00:00Z
    now = clock.now()
    db = SqliteDatabase(tmp_path / "inbox.db", clock, IDS)
    await db.open()
    acme = await home(db)
    inbox = await db.shared_inboxes.add(acme.tenant, "support@acme.test", "Support")
    for age in (1, 3, 5):
        at = now - age * DAY
        event = SharedEvent(inbox.id, acme.account.id, "send_as", at)
        await db.writer.write(Indexed((replace(indexed(email(acme.tenant), acme.inbox), event=event),)))
        await db.decisions.add([decision(acme.tenant, id=f"age{age}", at=at)])
        await db.dmarc_reports.add(
            StoredReport(acme.tenant, acme.domain, "Reporter", f"age{age}", at - DAY, at, now, 1, 1, b"{}")
        )
        await db.dmarc_reports.count([ObservationCount(f"2026-11-{22 - age}", "example.org", "k", b"{}", 1)])
    await db.rates.hit("k", 60, now - 100)
    policy = ServerPolicy(
        decisions=DecisionSettings(keep_days=4), reports=ReportSettings(keep_days=2, observation_days=3)
    )
    await prune(db, policy, now)
    assert [one.id for one in await db.decisions.search(DecisionFilter())] == ["age1", "age3"]
    assert [now - one.created_at for one in await db.shared_inboxes.events(acme.tenant, inbox.id)] == [DAY, 3 * DAY]
    assert [one.report_id for one in await db.dmarc_reports.reports(acme.tenant, acme.domain)] == ["age1"]
    days = [day for day in range(15, 23) if await db.dmarc_reports.observed(f"2026-11-{day}")]
    assert days == [19, 21], "a day is kept or goes as a whole"
    assert await db.rates.prune(now) == 0
    await db.close()


async def test_failed_jobs_and_records_of_deliveries_go_at_their_age(tmp_path: Path) -> None:
    clock = FakeClock()
    db = SqliteDatabase(tmp_path / "inbox.db", clock, IDS)
    await db.open()
    acme = await home(db)
    mail = (await acme.deliver()).email
    for name, end in (("dead", fail), ("done", deliver)):
        at = clock.now()
        await db.queue.enqueue(acme.tenant, mail, [Job(name, "", (JobRecipient("b@c.test"),), "c.test", at, at + DAY)])
        (leased,) = await db.queue.lease("w", 1, 60)
        assert await end(db.queue, leased)
    clock.advance(10)

    assert await prune_queue(db, 10, 20, clock.now()) == 0
    assert await prune_queue(db, 9, 20, clock.now()) == 1
    assert await db.queue.get(acme.tenant, "dead") is None
    assert await db.queue.delivery(acme.tenant, "done") is not None
    assert await prune_queue(db, 9, 9, clock.now()) == 1
    assert await db.queue.delivery(acme.tenant, "done") is None
    await db.close()


async def test_a_copy_without_a_step_for_a_minute_is_undone(tmp_path: Path) -> None:
    clock = FakeClock()
    db = SqliteDatabase(tmp_path / "inbox.db", clock, IDS)
    await db.open()
    acme = await home(db)
    archive = acme.mailboxes["Archive"]
    await acme.fill(3, archive)
    note = ("a copy", archive, 2, 3, clock.now())
    await db._main.write(lambda connection: connection.execute("INSERT INTO copying VALUES (?, ?, ?, ?, ?)", note))
    clock.advance(ABANDONED_SECONDS)
    assert await tidy(db, clock.now()) == 0
    clock.advance(1)
    assert await tidy(db, clock.now()) == 1
    assert await acme.uids(archive) == [1]
    await db.close()
