from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox.authentication.aggregate.build import Submitter
from inbox.authentication.aggregate.parse import parse_mail
from inbox.authentication.aggregate.records import encode_observation, observation_key
from inbox.base.clock import SystemClock
from inbox.dns.resolver import CachingResolver
from inbox.hosting.reports.building import AT_ONCE, Prepared, Reporting
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.feedback import Observation
from inbox.plugin.api.testing import MemoryResolver, run_in_thread
from inbox.store.ports import ObservationCount
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.aggregate import SEEN
from tests.support.dns_world import DnsWorld
from tests.support.store import IDS

US = Submitter("Demo", "mx.demo.test", "noreply-dmarc@mx.demo.test")
DAY = SEEN.day


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await made.open()
    yield made
    await made.close()


def asking(domain: str, rua: str, **fields: object) -> Observation:
    published = (("p", "reject"), *((("rua", rua),) if rua else ()))
    return replace(SEEN, policy_domain=domain, header_from=domain, published=published, **fields)  # type: ignore[arg-type]


async def observe(db: SqliteDatabase, *observations: tuple[Observation, int]) -> None:
    await db.dmarc_reports.count([
        ObservationCount(one.day, one.policy_domain, observation_key(body), body, count)
        for one, count in observations
        for body in [encode_observation(one)]
    ])  # fmt: skip


def reporting(db: SqliteDatabase, dns: object, total: int = 100, each: int = 100) -> Reporting:
    return Reporting(db.dmarc_reports, dns, run_in_thread, SystemClock(), US, total=total, each=each)  # type: ignore[arg-type]


async def prepared(made: Reporting, domain: str | None = None) -> list[Prepared]:
    return [one async for one in made.prepare(await made.subjects(DAY, domain))]


def to(one: Prepared) -> list[str]:
    return [str(mail.destination.address) for mail in one.mails]


async def test_each_domain_that_asks_gets_its_report(db: SqliteDatabase) -> None:
    first = asking("a.test", "mailto:r@a.test,mailto:second@sub.a.test")
    await observe(
        db, (first, 2), (replace(first, source_ip="192.0.2.77"), 5), (asking("b.test", "mailto:r@b.test"), 9),
        (asking("c.test", ""), 1), (asking("a.test", "mailto:r@a.test", day="2026-11-20"), 50),
    )  # fmt: skip
    b, a, c = await prepared(reporting(db, MemoryResolver()))
    assert [one.subject.domain for one in (b, a, c)] == ["b.test", "a.test", "c.test"]
    assert (to(b), to(a), to(c)) == (["r@b.test"], ["r@a.test", "second@sub.a.test"], [])
    report = parse_mail(Message(MemoryContent(a.mails[1].content)))
    assert (report.domain, report.organization) == ("a.test", "Demo")
    assert sorted((row.source_ip, row.count) for row in report.rows) == [("192.0.2.1", 2), ("192.0.2.77", 5)]
    assert report.report_id == a.mails[0].report_id == a.mails[1].report_id
    (alone,) = await prepared(reporting(db, MemoryResolver()), "c.test")
    assert alone == c


@pytest.mark.real
async def test_an_external_destination_gets_a_report_only_with_its_consent(
    db: SqliteDatabase, dns_world: DnsWorld
) -> None:
    named = "mailto:in@mail.signed.test,mailto:out@plain.test,mailto:yes@collector.plain.test,mailto:who@bogus.test"
    await observe(db, (asking("signed.test", named), 3))
    dns = CachingResolver(SystemClock(), dns_world.resolver)
    await dns_world.publish("plain.test", 'signed.test._report._dmarc.collector TXT "v=DMARC1"')
    (one,) = await prepared(reporting(db, dns))
    assert to(one) == ["in@mail.signed.test", "yes@collector.plain.test"]
    assert [(left.uri, left.later) for left in one.left_out] == [
        ("mailto:out@plain.test", False),
        ("mailto:who@bogus.test", True),
    ]


async def test_one_address_gets_one_mail(db: SqliteDatabase) -> None:
    dns = MemoryResolver()
    for host in ("x.invalid",):
        dns.txt_records[f"a.test._report._dmarc.{host}"] = [b"v=DMARC1; rua=mailto:all@x.invalid"]
    await observe(db, (asking("a.test", "mailto:one@x.invalid,mailto:two@x.invalid"), 1))
    (one,) = await prepared(reporting(db, dns))
    assert to(one) == ["all@x.invalid"]


async def test_a_size_limit_is_kept(db: SqliteDatabase) -> None:
    await observe(db, (asking("a.test", "mailto:small@a.test!1k,mailto:large@a.test!1m"), 1))
    (one,) = await prepared(reporting(db, MemoryResolver()))
    assert to(one) == ["large@a.test"]
    assert "the destination accepts 1024" in one.left_out[0].why


async def test_a_day_has_a_cap_and_the_busiest_come_first(db: SqliteDatabase) -> None:
    count = AT_ONCE * 2
    await observe(db, *[(asking(f"d{n}.test", f"mailto:r@d{n}.test"), n + 1) for n in range(count)])
    capped = await prepared(reporting(db, MemoryResolver(), total=5))
    assert [one.subject.domain for one in capped if one.mails] == [
        f"d{n}.test" for n in range(count - 1, count - 6, -1)
    ]
    assert {left.why for one in capped[5:] for left in one.left_out} == {"more than 5 reports in a day"}
    again = await prepared(reporting(db, MemoryResolver(), total=5))
    assert [to(one) for one in again] == [to(one) for one in capped], "a second build is the same"


async def test_a_destination_has_a_cap(db: SqliteDatabase) -> None:
    dns = MemoryResolver()
    for n in range(5):
        dns.txt_records[f"d{n}.test._report._dmarc.collector.invalid"] = [b"v=DMARC1"]
    await observe(db, *[(asking(f"d{n}.test", f"mailto:c{n}@collector.invalid"), n + 1) for n in range(5)])
    found = await prepared(reporting(db, dns, each=2))
    assert [len(one.mails) for one in found] == [1, 1, 0, 0, 0]


async def test_the_cap_holds_for_the_day_in_however_many_runs(db: SqliteDatabase) -> None:
    await observe(db, *[(asking(f"d{n}.test", f"mailto:r@d{n}.test"), 1) for n in range(4)])
    await observe(db, *[(asking(f"d{n}.test", f"mailto:r@d{n}.test", day="2026-11-20"), 1) for n in range(4)])
    for domain, mails in (("d3.test", 1), ("d1.test", 1), ("d2.test", 0), ("d3.test", 1)):
        (one,) = await prepared(reporting(db, MemoryResolver(), total=2), domain)
        assert len(one.mails) == mails, domain
    whole = await prepared(reporting(db, MemoryResolver(), total=3))
    assert [one.subject.domain for one in whole if one.mails] == ["d0.test", "d1.test", "d3.test"]
    assert whole[2].left_out[0].why == "more than 3 reports in a day"
    made = reporting(db, MemoryResolver(), total=2)
    other = [one async for one in made.prepare(await made.subjects("2026-11-20"))]
    assert [len(one.mails) for one in other] == [1, 1, 0, 0], "another day has its own"


async def test_a_report_that_is_too_large_does_not_count(db: SqliteDatabase) -> None:
    await observe(db, (asking("a.test", "mailto:small@a.test!1k,mailto:large@a.test!1m"), 1))
    (one,) = await prepared(reporting(db, MemoryResolver(), total=1))
    assert to(one) == ["large@a.test"]
