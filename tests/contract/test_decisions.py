"""The ports ``Decisions`` and ``RateCounters``."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from inbox.store.ports import Database
from inbox.store.ports.decisions import DecisionFilter, DecisionRecord
from inbox.store.ports.rates import Counted
from tests.support.store import decision


async def test_a_record_is_kept_as_it_is(db: Database) -> None:
    record = decision("t1", body=b'{"a": "\xc3\xbc"}' * 10_000)
    bare = decision("", sender="", recipients=(), peer="", body=b"")
    await db.decisions.add([record, bare])
    assert await db.decisions.get(record.id) == [record]
    assert await db.decisions.get(bare.id) == [bare]
    assert await db.decisions.get("no-such-record") == []
    await db.decisions.add([])


async def test_one_id_may_have_a_record_for_each_tenant(db: Database) -> None:
    mine = decision("t1")
    theirs = replace(mine, tenant="t2", outcome="reject")
    nobodys = replace(mine, tenant="")
    await db.decisions.add([theirs, mine, nobodys])
    assert await db.decisions.get(mine.id) == [nobodys, mine, theirs]
    assert await db.decisions.get(mine.id, "t1") == [mine]
    assert await db.decisions.get(mine.id, "t2") == [theirs]
    assert await db.decisions.get(mine.id, "") == [nobodys]
    assert await db.decisions.get(mine.id, "t3") == []


async def test_the_latest_come_first(db: Database) -> None:
    records = [decision(f"t{n % 2}", at=1000.0 + n) for n in range(120)]
    for start in range(0, 120, 40):
        await db.decisions.add(records[start : start + 40])
    newest = list(reversed(records))
    assert await db.decisions.search(DecisionFilter()) == newest[:50]
    assert await db.decisions.search(DecisionFilter(), 3) == newest[:3]
    assert await db.decisions.search(DecisionFilter("t1"), 200) == [
        record for record in newest if record.tenant == "t1"
    ]
    assert await db.decisions.search(DecisionFilter("t9")) == []


async def test_records_are_searched_for(db: Database) -> None:
    def made(n: int, tenant: str, outcome: str, sender: str, *recipients: str) -> DecisionRecord:
        return decision(tenant, at=1000.0 + n, outcome=outcome, sender=sender, recipients=recipients)

    a = made(1, "t1", "accept", "Bob@Example.org", "ann@demo.test", "eve@demo.test")
    b = made(2, "t1", "defer", "bob@example.org", "Ann@demo.test")
    c = made(3, "t2", "defer", "x_y@other.test", "zoe@other.test")
    d = made(4, "", "reject", "", "100%@other.test")
    await db.decisions.add([a, b, c, d])

    async def found(**wanted: Any) -> list[DecisionRecord]:
        return await db.decisions.search(DecisionFilter(**wanted))

    assert await found() == [d, c, b, a]
    assert await found(tenant="t1") == [b, a]
    assert await found(outcome="defer") == [c, b]
    assert await found(sender="bob@EXAMPLE.org") == [b, a]
    assert await found(recipient="ann@demo") == [b, a]
    assert await found(recipient="eve") == [a]
    # Neither % nor _ is a wildcard.
    assert await found(recipient="%@") == [d]
    assert await found(sender="_") == [c]
    assert await found(since=1002.0) == [d, c, b]
    assert await found(tenant="t1", outcome="defer", sender="bob", recipient="ann", since=1001.5) == [b]
    assert await found(tenant="t2", sender="bob") == []
    assert await db.decisions.search(DecisionFilter(outcome="defer"), limit=1) == [c]


async def test_old_records_are_pruned(db: Database) -> None:
    records = [decision("t1", at=1000.0 + n) for n in range(10)]
    await db.decisions.add(records)
    assert await db.decisions.prune(1004.0) == 4
    assert await db.decisions.prune(1004.0) == 0
    assert await db.decisions.search(DecisionFilter()) == list(reversed(records[4:]))


async def test_nul_is_dropped_from_a_record(db: Database) -> None:
    await db.decisions.add([decision("t1", id="d1", sender="a\x00b", recipients=("\x00c",), body=b"\x00")])
    (record,) = await db.decisions.get("d1")
    assert (record.sender, record.recipients, record.body) == ("ab", ("c",), b"\x00")


async def test_a_counter_counts_in_its_window(db: Database) -> None:
    hit = db.rates.hit
    assert await hit("conn:192.0.2.1", 60, 120.0) == Counted(1, 180.0)
    assert await hit("conn:192.0.2.1", 60, 179.9) == Counted(2, 180.0)
    assert await hit("conn:192.0.2.1", 60, 179.9, amount=5) == Counted(7, 180.0)
    assert await hit("conn:192.0.2.1", 60, 179.9, amount=0) == Counted(7, 180.0), "0 reads it"
    assert await hit("conn:192.0.2.9", 60, 130.0, amount=0) == Counted(0, 180.0)
    assert await hit("conn:192.0.2.2", 60, 130.0) == Counted(1, 180.0)
    assert await hit("conn:192.0.2.1", 60, 180.0) == Counted(1, 240.0)
    assert await hit("conn:192.0.2.1", 60, 500.0) == Counted(1, 540.0)


async def test_a_count_can_be_given_back(db: Database) -> None:
    hit = db.rates.hit
    await asyncio.gather(hit("k", 60, 0.0, 5), hit("k", 60, 0.0, -2), hit("k", 60, 0.0, 4))
    assert (await hit("k", 60, 1.0, -3)).count == 4


async def test_counters_with_odd_keys(db: Database) -> None:
    for key in ("", "a:b c", "ü⟩`", "'; DELETE smtp_rate_limit", "x" * 2000):
        assert (await db.rates.hit(key, 60, 0.0)).count == 1
        assert (await db.rates.hit(key, 60, 1.0)).count == 2


async def test_no_hit_is_lost(db: Database) -> None:
    counted = await asyncio.gather(*[db.rates.hit("k", 60, 0.0) for _ in range(50)])
    assert sorted(count.count for count in counted) == list(range(1, 51))


async def test_ended_windows_are_pruned(db: Database) -> None:
    for key, now in (("a", 0.0), ("b", 30.0), ("c", 60.0)):
        await db.rates.hit(key, 60, now)
    assert await db.rates.prune(60.0) == 2
    assert await db.rates.prune(60.0) == 0
    assert (await db.rates.hit("c", 60, 70.0)).count == 2
    assert (await db.rates.hit("a", 60, 70.0)).count == 1


async def test_a_counter_that_a_wrong_clock_began_does_not_count_for_years(db: Database) -> None:
    future = 4_000_000_000.0
    assert (await db.rates.hit("login:peer:192.0.2.1", 600.0, future, 20)).count == 20
    # The clock is put right: the window that ends in decades is not the one that we are in.
    counted = await db.rates.hit("login:peer:192.0.2.1", 600.0, 1_800_000_000.0)
    assert counted.count == 1
    assert counted.expires_at <= 1_800_000_600.0
    assert (await db.rates.hit("login:peer:192.0.2.1", 600.0, 1_800_000_001.0)).count == 2
