"""rate_limit: the limits, windows and doors; several instances; a database that fails or hangs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from inbox_plugins.rate_limit import RateFact, RateLimit, Settings
from pydantic import ValidationError

from inbox.base.errors import StoreUnavailable
from inbox.base.ids import RandomIds
from inbox.plugin import Accept, Counted, Defer, Door
from inbox.plugin.testing import FakeClock, MemoryLog, PluginTest
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.plugin_services import WatchedRates, services, session, transaction


class Bench:
    """One or more instances over one set of counters."""

    def __init__(self, instances: int = 1, **settings: object) -> None:
        self.clock = FakeClock()
        self.rates = WatchedRates(self.clock)
        self.log = MemoryLog()
        self.plugins = [
            RateLimit(Settings.model_validate(settings), services(clock=self.clock, rates=self.rates, log=self.log))
            for _ in range(instances)
        ]

    async def passes(self, peer: str = "192.0.2.7", door: Door = Door.SMTP, instance: int = 0) -> bool:
        return await self.plugins[instance].connect(session(door, peer)) is None


@pytest.mark.parametrize("limit", [1, 2, 3, 15, 16, 17, 64, 240, 1000])
async def test_exactly_the_limit_passes_in_a_window_and_the_next_window_starts_again(limit: int) -> None:
    bench = Bench(transfer_connections=limit)
    assert [await bench.passes() for _ in range(limit + 3)] == [True] * limit + [False] * 3
    bench.clock.advance(60)
    assert await bench.passes()


async def test_connections_are_refused_with_421_and_the_record_says_why() -> None:
    bench = Bench(transfer_connections=1)
    assert await bench.passes()
    late = session()
    assert await bench.plugins[0].connect(late) == Defer(
        421, "4.7.0", "Too many connections from your network, try again later"
    )
    assert late.facts.get(RateFact) == RateFact("over", "transfer:connections:192.0.2.7", 1)


async def test_messages_are_refused_with_450_and_have_a_counter_of_their_own() -> None:
    bench = Bench(transfer_messages=1, transfer_connections=1)
    assert await bench.passes()
    assert await bench.plugins[0].mail(transaction()) is None
    late = transaction()
    answer = await bench.plugins[0].mail(late)
    assert isinstance(answer, Defer)
    assert (answer.code, answer.enhanced) == (450, "4.7.1")
    assert late.facts.get(RateFact) == RateFact("over", "transfer:messages:192.0.2.7", 1)


async def test_submission_has_limits_of_its_own_and_other_doors_none() -> None:
    bench = Bench(transfer_connections=1, submission_connections=2)
    assert [await bench.passes(door=Door.SUBMISSION) for _ in range(3)] == [True, True, False]
    assert await bench.passes()
    for door in (Door.LMTP, Door.IMAP, Door.API, Door.LOCAL):
        assert [await bench.passes(door=door) for _ in range(3)] == [True] * 3
    assert {key for key, _ in bench.rates.hits} == {
        "submission:connections:192.0.2.7",
        "transfer:connections:192.0.2.7",
    }


async def test_sources_are_addresses_and_ipv6_networks() -> None:
    bench = Bench(transfer_connections=1)
    assert await bench.passes("192.0.2.7")
    assert await bench.passes("192.0.2.8")
    assert await bench.passes("2001:db8:0:1::1")
    assert not await bench.passes("2001:db8:0:1:ffff::2")
    assert await bench.passes("2001:db8:0:2::1")


async def test_prefixes_can_be_set() -> None:
    bench = Bench(transfer_connections=1, ipv4_prefix=24, ipv6_prefix=48)
    assert await bench.passes("192.0.2.7")
    assert not await bench.passes("192.0.2.200")
    assert await bench.passes("2001:db8:0:1::1")
    assert not await bench.passes("2001:db8:0:2::1")


async def test_exempt_networks_are_not_counted() -> None:
    bench = Bench(transfer_connections=1, exempt=["192.0.2.0/24", "2001:db8::/32"])
    assert [await bench.passes() for _ in range(3)] == [True] * 3
    assert [await bench.passes("2001:db8::1") for _ in range(3)] == [True] * 3
    assert bench.rates.hits == []
    assert await bench.passes("198.51.100.1")
    assert not await bench.passes("198.51.100.1")


async def test_switched_off_it_counts_nothing() -> None:
    bench = Bench(active=False, transfer_connections=1)
    assert [await bench.passes() for _ in range(3)] == [True] * 3
    assert bench.rates.hits == []


async def test_a_busy_source_far_below_its_limit_rarely_costs_a_write() -> None:
    bench = Bench(transfer_connections=100_000)
    assert all([await bench.passes() for _ in range(1000)])
    assert len(bench.rates.hits) < 30


async def test_a_refused_source_costs_no_write_until_its_window_ends() -> None:
    bench = Bench(transfer_connections=1)
    assert [await bench.passes() for _ in range(50)] == [True] + [False] * 49
    assert len(bench.rates.hits) == 1


async def test_those_who_wait_for_a_booking_share_the_next_one() -> None:
    bench = Bench(transfer_connections=100)
    answers = await asyncio.gather(*(bench.passes() for _ in range(40)))
    assert answers == [True] * 40
    assert len(bench.rates.hits) <= 3


async def test_concurrent_hits_never_exceed_the_limit() -> None:
    bench = Bench(transfer_connections=25)
    answers = await asyncio.gather(*(bench.passes() for _ in range(40)))
    assert sum(answers) == 25


async def test_several_instances_never_exceed_the_limit_together() -> None:
    bench = Bench(instances=4, transfer_connections=240)
    answers = [await bench.passes(instance=number % 4) for number in range(400)]
    assert 180 <= sum(answers) <= 240


async def test_one_connection_here_and_there_books_nothing_in_advance() -> None:
    bench = Bench(instances=4, transfer_connections=240)
    for instance in range(4):
        assert await bench.passes(instance=instance)
    assert [amount for _, amount in bench.rates.hits] == [1, 1, 1, 1]


async def test_a_database_that_fails_lets_pass_and_reports_it() -> None:
    bench = Bench()
    bench.rates.fails = StoreUnavailable("no database")
    late = session()
    assert await bench.plugins[0].connect(late) is None
    fact = late.facts.get(RateFact)
    assert fact is not None
    assert fact.status == "unknown"
    assert [fields["counter"] for fields in bench.log.named("rate_limit_not_counted")] == [fact.counter]


async def test_after_a_failure_the_database_is_left_alone_for_a_second_and_then_asked_again() -> None:
    bench = Bench(transfer_connections=1)
    bench.rates.fails = StoreUnavailable("no database")
    assert [await bench.passes() for _ in range(5)] == [True] * 5
    assert len(bench.rates.hits) == 1
    bench.rates.fails = None
    bench.clock.advance(1)
    assert [await bench.passes() for _ in range(2)] == [True, False]


async def test_fail_closed_leaves_it_to_the_engine() -> None:
    bench = Bench(fail_open=False)
    bench.rates.fails = StoreUnavailable("no database")
    with pytest.raises(StoreUnavailable):
        await bench.passes()
    with pytest.raises(StoreUnavailable):
        await bench.plugins[0].mail(transaction())
    assert RateLimit.on_error == "defer"


@pytest.mark.parametrize("fail_open", [True, False])
async def test_counts_of_this_process_alone_are_limited_or_refused(fail_open: bool) -> None:
    bench = Bench(fail_open=fail_open, transfer_connections=2)
    hit = bench.rates.hit

    async def local(key: str, window: float, amount: int = 1) -> Counted:
        return replace(await hit(key, window, amount), local=True)

    bench.rates.hit = local  # type: ignore[method-assign]
    if fail_open:
        assert [await bench.passes() for _ in range(3)] == [True, True, False]
    else:
        with pytest.raises(StoreUnavailable, match="only this process counts"):
            await bench.passes()


async def test_a_database_that_hangs_is_given_up_and_those_who_waited_do_not_wait_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inbox_plugins.rate_limit._PATIENCE", 0.01)
    bench = Bench()
    asked = 0

    async def hang(key: str, window: float, amount: int = 1) -> Counted:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    bench.rates.hit = hang  # type: ignore[method-assign]  # the stand-in is ours
    assert await asyncio.gather(*(bench.passes() for _ in range(10))) == [True] * 10
    assert asked == 1


async def test_memory_is_bounded_whatever_addresses_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox_plugins.rate_limit._MAX_SOURCES", 10)
    bench = Bench(transfer_connections=1)
    for number in range(100):
        assert await bench.passes(f"192.0.2.{number}")
    assert len(bench.plugins[0]._windows) == 10
    assert not await bench.passes("192.0.2.0")  # forgotten here, counted in the database


@pytest.mark.parametrize(
    "settings",
    [{"window_secs": 0}, {"transfer_connections": 0}, {"exempt": ["nonsense"]}, {"ipv6_prefix": 129}, {"typo": 1}],
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(settings)
    assert caught.value.errors()[0]["loc"][0] == next(iter(settings))


def test_defaults_may_come_from_the_environment() -> None:
    variables = {
        name: extra["env"]
        for name, info in Settings.model_fields.items()
        if isinstance(extra := info.json_schema_extra, dict)
    }
    assert variables == {
        "active": "SMTP_RATE_LIMIT_ENABLED",
        "window_secs": "SMTP_RATE_LIMIT_WINDOW_SECS",
        "transfer_connections": "SMTP_RATE_LIMIT_TRANSFER_CONNECTIONS_PER_WINDOW",
        "submission_connections": "SMTP_RATE_LIMIT_SUBMISSION_CONNECTIONS_PER_WINDOW",
        "transfer_messages": "SMTP_RATE_LIMIT_TRANSFER_MESSAGES_PER_WINDOW",
        "submission_messages": "SMTP_RATE_LIMIT_SUBMISSION_MESSAGES_PER_WINDOW",
        "fail_open": "SMTP_RATE_LIMIT_FAIL_OPEN_ON_DB_ERROR",
    }
    assert Settings().model_dump(include=set(variables)) == {
        "active": True,
        "window_secs": 60,
        "transfer_connections": 240,
        "submission_connections": 120,
        "transfer_messages": 240,
        "submission_messages": 120,
        "fail_open": True,
    }


async def test_in_the_engine_limits_and_failures_stand_in_the_record() -> None:
    test = PluginTest("rate_limit", {"transfer_connections": 1, "transfer_messages": 1}, errors="outcome")
    assert isinstance((await test.connect()).verdict, Accept)
    over = await test.connect()
    assert isinstance(over.verdict, Defer)
    assert over.trace.facts == (RateFact("over", "transfer:connections:192.0.2.1", 1),)
    test.rates.fails = StoreUnavailable("no database")
    unknown = await test.mail()
    assert isinstance(unknown.verdict, Accept)
    (fact,) = unknown.trace.facts
    assert isinstance(fact, RateFact)
    assert fact.status == "unknown"
    closed = PluginTest("rate_limit", {"fail_open": False}, errors="outcome")
    closed.rates.fails = StoreUnavailable("no database")
    assert isinstance((await closed.mail()).verdict, Defer)


class StoredRates:
    """The counters of a real database, as the program hands them to plugins."""

    def __init__(self, database: SqliteDatabase, clock: FakeClock) -> None:
        self._database, self._clock = database, clock

    async def hit(self, key: str, window: float, amount: int = 1) -> Counted:
        counted = await self._database.rates.hit(key, window, self._clock.now(), amount)
        return Counted(counted.count, counted.expires_at)


async def test_instances_with_one_database_share_one_limit(tmp_path: Path) -> None:
    clock = FakeClock()
    databases = [SqliteDatabase(tmp_path / "x.db", clock, RandomIds(clock.now)) for _ in range(3)]
    for database in databases:
        await database.open()
    try:
        settings = Settings(transfer_messages=200)
        plugins = [
            RateLimit(settings, services(clock=clock, rates=StoredRates(database, clock))) for database in databases
        ]
        answers = await asyncio.gather(*(plugins[number % 3].mail(transaction()) for number in range(600)))
        accepted = sum(answer is None for answer in answers)
        assert 150 <= accepted <= 200
        clock.advance(60)
        assert await plugins[0].mail(transaction()) is None
    finally:
        for database in databases:
            await database.close()
