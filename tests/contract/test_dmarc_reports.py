"""The port ``DmarcReports``."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from inbox.base.errors import NotFound
from inbox.store.ports import Database, ObservationCount, OutgoingReport, StoredReport
from tests.support.store import Home, Opener

DAY = "2026-11-22"


def seen(key: str, count: int = 1, day: str = DAY, domain: str = "example.org") -> ObservationCount:
    return ObservationCount(day, domain, key, f'{{"key": "{key}"}}'.encode(), count)


def report(home: Home, number: int = 1, **fields: Any) -> StoredReport:
    made = StoredReport(
        home.tenant, home.domain, "Reporter Inc.", f"id-{number}", 1000.0 + number, 2000.0 + number, 3000.5, 12, 9,
        b'{"rows": [1, "\xc3\xbc"]}' * 1000,
    )  # fmt: skip
    return replace(made, **fields)


async def test_counts_are_added_to_those_of_the_day(db: Database) -> None:
    reports = db.dmarc_reports
    await reports.count([seen("b", 2), seen("a"), seen("b", 5)])
    await reports.count([seen("b", 3), seen("a", 10, day="2026-11-23"), seen("a", 7, domain="zebra.test")])
    await reports.count([])
    assert await reports.observed(DAY) == [seen("a"), seen("b", 10), seen("a", 7, domain="zebra.test")]
    assert await reports.observed("2026-11-23") == [seen("a", 10, day="2026-11-23")]
    assert await reports.observed("2026-11-24") == []


async def test_counts_of_several_instances_add_up(db: Database, opener: Opener) -> None:
    instances = [db, await opener(), await opener()]
    work = [
        instances[n % 3].dmarc_reports.count([seen(f"k{(n + offset) % 7}", offset + 1) for offset in range(5)])
        for n in range(42)
    ]
    await asyncio.gather(*work)
    # Each of seven keys is met six times in each of five places.
    assert await db.dmarc_reports.observed(DAY) == [seen(f"k{n}", 6 * (1 + 2 + 3 + 4 + 5)) for n in range(7)]


async def test_a_long_day_is_read_as_a_whole(db: Database) -> None:
    many = [seen(f"{n:05}", n + 1, domain=f"d{n % 3}.test") for n in range(2500)]
    for start in range(0, 2500, 500):
        await db.dmarc_reports.count(many[start : start + 500])
    await db.dmarc_reports.count([seen("x", day="2026-11-21"), seen("x", day="2026-11-23")])
    found = await db.dmarc_reports.observed(DAY)
    assert found == sorted(many, key=lambda one: (one.policy_domain, one.key))


async def test_old_observations_are_forgotten(db: Database) -> None:
    for day in ("2025-12-31", "2026-11-20", "2026-11-21", DAY):
        await db.dmarc_reports.count([seen("a", day=day), seen("b", day=day)])
    assert await db.dmarc_reports.forget_observations("2026-11-21") == 4
    assert await db.dmarc_reports.forget_observations("2026-11-21") == 0
    assert await db.dmarc_reports.observed("2026-11-20") == []
    assert len(await db.dmarc_reports.observed("2026-11-21")) == 2
    assert len(await db.dmarc_reports.observed(DAY)) == 2


def mail(number: int, host: str = "x.test", day: str = DAY) -> OutgoingReport:
    return OutgoingReport(day, host, f"r@{host}", f"id-{number}")


async def test_a_message_is_sent_once(db: Database, opener: Opener) -> None:
    other = await opener()
    wanted = [mail(1), mail(2), mail(1, day="2026-11-23")]
    await db.dmarc_reports.claim(wanted, 10, 10)
    assert await db.dmarc_reports.sent(DAY) == set()
    noted = await asyncio.gather(*(each.dmarc_reports.note_sent(mail(1)) for each in (db, other, db, other)))
    assert sorted(noted) == [False, False, False, True], "one of several instances sends it"
    assert await other.dmarc_reports.sent(DAY) == {("id-1", "r@x.test")}
    assert not await db.dmarc_reports.note_sent(mail(9)), "it was never granted"
    assert await db.dmarc_reports.claim([mail(1), mail(9)], 3, 10) == ["granted", "granted"]
    await db.dmarc_reports.forget_observations("2026-11-23")
    assert await db.dmarc_reports.sent(DAY) == set()


async def test_a_day_has_a_cap_in_all_and_for_each_host(db: Database) -> None:
    claim = db.dmarc_reports.claim
    assert await claim([mail(n) for n in range(3)], 4, 2) == ["granted", "granted", "host"]
    assert await claim([mail(1, "y.test"), mail(1, "z.test"), mail(2, "z.test")], 4, 2) == ["granted", "granted", "day"]
    assert await claim([mail(1), mail(1, "z.test")], 4, 2) == ["granted", "granted"], "they were granted before"
    assert await claim([mail(9, "y.test"), mail(9)], 5, 2) == ["granted", "host"], "another run, with another cap"
    assert await claim([mail(3)], 4, 2) == ["host"]
    assert await claim([mail(3, day="2026-11-23")], 4, 2) == ["granted"]
    assert await claim([], 4, 2) == []


async def test_one_mail_named_twice_counts_once(db: Database) -> None:
    assert await db.dmarc_reports.claim([mail(1), mail(1), mail(2)], 2, 2) == ["granted"] * 3
    assert await db.dmarc_reports.claim([mail(3)], 2, 3) == ["day"]


async def test_another_address_of_a_host_counts_for_itself(db: Database) -> None:
    other = replace(mail(1), address="second@x.test")
    assert await db.dmarc_reports.claim([mail(1), other, mail(2)], 9, 2) == ["granted", "granted", "host"]


async def test_the_cap_holds_for_all_instances(db: Database, opener: Opener) -> None:
    instances = [db, await opener(), await opener()]
    work = [instances[n % 3].dmarc_reports.claim([mail(n), mail(n, f"h{n}.test")], total=20, each=5) for n in range(21)]
    found = [grant for grants in await asyncio.gather(*work) for grant in grants]
    assert found[::2].count("granted") == 5
    assert found.count("granted") == 20


async def test_claims_are_forgotten_with_their_day(db: Database) -> None:
    for day in ("2026-11-20", "2026-11-21"):
        await db.dmarc_reports.count([seen("a", day=day)])
        assert await db.dmarc_reports.claim([mail(1, day=day), mail(2, day=day)], 1, 1) == ["granted", "host"]
    assert await db.dmarc_reports.forget_observations("2026-11-21") == 1
    assert await db.dmarc_reports.claim([mail(2, day="2026-11-20")], 1, 1) == ["granted"]
    assert await db.dmarc_reports.claim([mail(2, day="2026-11-21")], 1, 1) == ["host"]


async def test_a_report_is_kept_as_it_is_and_once(acme: Home) -> None:
    reports, first = acme.db.dmarc_reports, report(acme)
    assert await reports.add(first) is True
    assert await reports.add(replace(first, messages=99)) is False
    assert await reports.reports(acme.tenant, acme.domain) == [first]
    assert await reports.add(replace(first, organization="Another")) is True
    assert await reports.add(report(acme, 2)) is True
    assert len(await reports.reports(acme.tenant, acme.domain)) == 3


async def test_one_report_from_several_instances_at_once_is_there_once(acme: Home, opener: Opener) -> None:
    instances = [acme.db, await opener(), await opener()]
    added = await asyncio.gather(*[instances[n % 3].dmarc_reports.add(report(acme)) for n in range(12)])
    assert sorted(added) == [False] * 11 + [True]


async def test_the_newest_reports_come_first(acme: Home) -> None:
    many = [report(acme, n) for n in range(20)]
    for one in many:
        await acme.db.dmarc_reports.add(one)
    newest = list(reversed(many))
    reports = acme.db.dmarc_reports.reports
    assert await reports(acme.tenant, acme.domain) == newest
    assert await reports(acme.tenant, acme.domain, limit=3) == newest[:3]
    assert await reports(acme.tenant, acme.domain, since=2010.0) == newest[:9]
    assert await reports(acme.tenant, "none.test") == []


async def test_odd_texts_are_kept_without_nul(acme: Home) -> None:
    odd = "ü⟩`'; DELETE dmarc_report \U0001f600"
    await acme.db.dmarc_reports.add(report(acme, organization=f"{odd}\x00", report_id=f"\x00{odd}"))
    (found,) = await acme.db.dmarc_reports.reports(acme.tenant, acme.domain)
    assert (found.organization, found.report_id) == (odd, odd)
    assert await acme.db.dmarc_reports.add(report(acme, organization=odd, report_id=odd)) is False


async def test_a_tenant_has_reports_about_its_own_domains_only(acme: Home, other: Home) -> None:
    mine, theirs = report(acme), report(other)
    for one in (mine, theirs):
        await acme.db.dmarc_reports.add(one)
    for stolen in (replace(mine, tenant=other.tenant), replace(mine, domain="nobody.test")):
        with pytest.raises(NotFound):
            await acme.db.dmarc_reports.add(stolen)
    assert await acme.db.dmarc_reports.reports(acme.tenant, acme.domain) == [mine]
    assert await acme.db.dmarc_reports.reports(other.tenant, other.domain) == [theirs]
    assert await acme.db.dmarc_reports.reports(other.tenant, acme.domain) == []
    assert await acme.db.dmarc_reports.reports(acme.tenant, other.domain) == []


async def test_old_reports_are_forgotten(acme: Home, other: Home) -> None:
    for n in range(5):
        await acme.db.dmarc_reports.add(report(acme, n))
        await acme.db.dmarc_reports.add(report(other, n))
    assert await acme.db.dmarc_reports.forget_reports(2003.0) == 6
    assert await acme.db.dmarc_reports.forget_reports(2003.0) == 0
    for home in (acme, other):
        left = await acme.db.dmarc_reports.reports(home.tenant, home.domain)
        assert [one.report_id for one in left] == ["id-4", "id-3"]
