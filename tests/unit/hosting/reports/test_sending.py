from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inbox.authentication.aggregate.build import Submitter
from inbox.authentication.aggregate.parse import parse_mail
from inbox.authentication.aggregate.records import encode_observation, observation_key
from inbox.base.errors import StoreUnavailable
from inbox.flow.outbound.internal import deliver_here
from inbox.hosting.reports.building import Reporting
from inbox.hosting.reports.sending import SETTLE_SECONDS, SPREAD_SECONDS, ReportSender
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.mail.reply import Reply
from inbox.plugin.api.feedback import Observation
from inbox.plugin.api.testing import FakeClock, MemoryLog, MemoryResolver, run_in_thread
from inbox.policy.model import ReportSettings
from inbox.store.ports import ObservationCount
from tests.support.aggregate import SEEN
from tests.support.flow import World, world
from tests.support.store import IDS

#: 2026-11-23 00:00 UTC: the day of the observations has just ended.
MIDNIGHT = 1_795_392_000.0
DAY = "2026-11-22"
LIFETIME = 86_400.0


def asking(domain: str, rua: str, day: str = DAY) -> Observation:
    return replace(SEEN, day=day, policy_domain=domain, header_from=domain, published=(("p", "none"), ("rua", rua)))


class Here:
    """A world whose senders of reports share clock and DNS."""

    def __init__(self, made: World) -> None:
        self.world = made
        self.clock = FakeClock(MIDNIGHT + SETTLE_SECONDS + 1)
        self.dns = MemoryResolver()
        self.log = MemoryLog()
        self.settings = ReportSettings(sender="dmarc@acme.test")

    def sender(self, **replaced: Any) -> ReportSender:
        """A new one, as in another instance or after a restart."""
        installation, parts = self.world.installation, self.world.parts
        reports = installation.database.dmarc_reports

        def reporting(settings: ReportSettings, sender: str) -> Reporting:
            us = Submitter("Demo", "mx.test", sender)
            return Reporting(
                reports, self.dns, run_in_thread, self.clock, us, total=settings.per_day, each=settings.per_host
            )

        given = {
            "reports": reports, "reporting": reporting, "settings": lambda: self.settings, "hosted": parts.directory,
            "ingest": installation.ingest, "queue": installation.database.queue,
            "deliver_here": partial(deliver_here, parts.pipeline, IDS, self.clock), "lifetime": LIFETIME,
            "clock": self.clock, "ids": IDS, "log": self.log, **replaced,
        }  # fmt: skip
        return ReportSender(**given)

    async def observe(self, *observations: Observation) -> None:
        await self.world.installation.database.dmarc_reports.count([
            ObservationCount(one.day, one.policy_domain, observation_key(body), body, 1)
            for one in observations
            for body in [encode_observation(one)]
        ])  # fmt: skip

    async def addresses(self) -> list[str]:
        """The recipients of the jobs."""
        return sorted(each.address for queued in await self.world.jobs() for each in queued.job.recipients)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    async with world(tmp_path) as made:
        yield Here(made)


async def test_a_report_leaves_through_the_queue(here: Here) -> None:
    await here.observe(asking("a.example", "mailto:r@a.example"))
    await here.sender().run()
    (queued,) = await here.world.jobs()
    job = queued.job
    assert (job.job_class, job.sender, job.domain) == ("report", "dmarc@acme.test", "a.example")
    assert queued.tenant == await here.world.tenant("acme")
    assert job.recipients[0].notify == ("NEVER",), "nobody reads a notification about a report"
    now = here.clock.now()
    assert now <= job.not_before < now + SPREAD_SECONDS
    assert job.expires_at == job.not_before + LIFETIME
    report = parse_mail(Message(MemoryContent(await here.world.relayed(queued))))
    assert (report.domain, report.organization, len(report.rows)) == ("a.example", "Demo", 1)
    assert [event for _, event, _ in here.log.events] == ["dmarc_reports_sent"]


async def test_each_report_is_sent_once(here: Here) -> None:
    await here.observe(
        asking("a.example", "mailto:r@a.example,mailto:s@a.example"), asking("b.example", "mailto:r@b.example")
    )
    first = here.sender()
    await first.run()
    wanted = ["r@a.example", "r@b.example", "s@a.example"]
    assert await here.addresses() == wanted
    await first.run()
    await here.sender().run()
    assert await here.addresses() == wanted, "neither the next run nor another instance sends it again"
    queue, tenant = here.world.installation.database.queue, await here.world.tenant("acme")
    assert await queue.remove(tenant, [queued.job.id for queued in await here.world.jobs()]) == 3
    await here.sender().run()
    assert await here.addresses() == [], "not even when the jobs and their records are gone"


async def test_a_run_that_was_interrupted_is_continued(here: Here) -> None:
    await here.observe(asking("a.example", "mailto:r@a.example"), asking("b.example", "mailto:r@b.example"))
    reports = here.world.installation.database.dmarc_reports

    class Interrupted:
        """The database is away when the first mail has been queued."""

        def __getattr__(self, name: str) -> Any:
            return getattr(reports, name)

        async def note_sent(self, mail: object) -> bool:
            raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await here.sender(reports=Interrupted()).run()
    assert len(await here.addresses()) == 1
    await here.sender().run()
    assert await here.addresses() == ["r@a.example", "r@b.example"]


async def test_a_day_is_reported_when_its_last_observations_are_written(here: Here) -> None:
    await here.observe(asking("a.example", "mailto:r@a.example"))
    here.clock = FakeClock(MIDNIGHT + SETTLE_SECONDS - 1)
    await here.sender().run()
    assert await here.addresses() == []


async def test_a_server_that_was_off_sends_the_missed_day(here: Here) -> None:
    await here.observe(
        asking("a.example", "mailto:r@a.example"),
        asking("b.example", "mailto:r@b.example", "2026-11-21"),
        asking("c.example", "mailto:r@c.example", "2026-11-20"),
    )
    await here.sender().run()
    assert await here.addresses() == ["r@a.example", "r@b.example"], "older days stay unreported"


async def test_a_failed_look_up_is_repeated_by_the_next_run(here: Here) -> None:
    await here.observe(asking("a.example", "mailto:r@a.example,mailto:r@collector.invalid"))
    name = "a.example._report._dmarc.collector.invalid"
    here.dns.fails.add(name)
    sender = here.sender()
    await sender.run()
    assert await here.addresses() == ["r@a.example"]
    here.dns.fails.clear()
    here.dns.txt_records[name] = [b"v=DMARC1"]
    await sender.run()
    assert await here.addresses() == ["r@a.example", "r@collector.invalid"]
    assert [event for _, event, _ in here.log.events].count("dmarc_report_omitted") == 1


async def test_without_a_sender_nothing_is_sent(here: Here) -> None:
    await here.observe(asking("a.example", "mailto:r@a.example"))
    here.settings = ReportSettings()
    await here.sender().run()
    here.settings = ReportSettings(sender="dmarc@elsewhere.test")
    await here.sender().run()
    assert await here.addresses() == []
    assert [event for _, event, _ in here.log.events] == ["dmarc_reports_not_sent"], "no tenant hosts the domain"


async def test_the_caps_hold(here: Here) -> None:
    await here.observe(*(asking(f"d{n}.example", f"mailto:r@d{n}.example") for n in range(4)))
    here.settings = ReportSettings(sender="dmarc@acme.test", per_day=3)
    await here.sender().run()
    assert len(await here.addresses()) == 3
    await here.sender().run()
    assert len(await here.addresses()) == 3


async def test_a_report_to_a_hosted_domain_is_delivered_here(here: Here) -> None:
    await here.observe(asking("umbra.test", "mailto:eve@umbra.test,mailto:gone@umbra.test"))
    await here.sender().run()
    await here.sender().run()
    (copy,) = await here.world.mailbox("eve@umbra.test")
    report = parse_mail(Message(MemoryContent(await here.world.bytes_of(copy))))
    assert report.domain == "umbra.test"
    assert await here.addresses() == []
    assert [event for _, event, _ in here.log.events].count("dmarc_report_refused") == 1, (
        "gone@umbra.test does not exist"
    )


async def test_a_mailbox_gets_one_report_from_two_instances(here: Here) -> None:
    await here.observe(asking("umbra.test", "mailto:eve@umbra.test"))
    delivered: list[str] = []
    second = here.sender()

    async def slow(to: Address, octets: bytes) -> Reply:
        if not delivered:
            delivered.append(str(to))
            await second.run()  # another instance is at the same report now
        return Reply(250, "2.0.0", "Accepted")

    await here.sender(deliver_here=slow).run()
    assert delivered == ["eve@umbra.test"]
    assert await here.world.mailbox("eve@umbra.test") == []
