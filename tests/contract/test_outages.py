"""The SurrealDB server dies, hangs and comes back: nothing acknowledged is lost, nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import ConfigError, StoreError, StoreUnavailable
from inbox.store.ports.ingest import Indexed
from inbox.store.ports.messages import Placed
from inbox.store.ports.rates import Counted
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import SurrealDatabase
from tests.support.store import IDS, Home, email, envelope, home, indexed
from tests.support.surreal_server import SurrealServer, server

pytestmark = pytest.mark.real


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SurrealServer]:
    """An engine of this test's own, which it may kill."""
    made = server(tmp_path / "db")
    yield made
    made.kill()


@pytest.fixture
async def database(engine: SurrealServer) -> AsyncIterator[SurrealDatabase]:
    made = SurrealDatabase(SurrealConfig(engine.url, "t", "d", "root", "root", timeout=5), SystemClock(), IDS)
    await made.open()
    yield made
    await made.close()


async def deliver_until_it_fails(acme: Home, told: dict[str, Placed], started: asyncio.Event) -> None:
    """Delivers mails and keeps what was acknowledged, until the database is gone."""
    while True:
        mail = email(acme.tenant)
        try:
            ((placed,),) = await acme.db.writer.write(Indexed((indexed(mail, acme.inbox),)))
        except StoreUnavailable:
            return
        told[mail.id] = placed
        if len(told) > 50:
            started.set()


@pytest.mark.parametrize("round_number", range(3))
async def test_a_killed_server_loses_nothing_that_was_acknowledged(
    engine: SurrealServer, database: SurrealDatabase, round_number: int
) -> None:
    acme = await home(database)
    told: dict[str, Placed] = {}
    started = asyncio.Event()
    sessions = [asyncio.ensure_future(deliver_until_it_fails(acme, told, started)) for _ in range(20)]
    await started.wait()
    engine.kill()
    await asyncio.gather(*sessions)
    with pytest.raises(StoreUnavailable):
        await database.ping()
    engine.start()
    await database.ping()
    uids = await acme.uids()
    there = {message.email.id: message.entry for message in await acme.fetched(acme.inbox, uids, texts=False)}
    assert len(there) == len(uids), "no mail occurs twice"
    for mail_id, placed in told.items():
        assert (there[mail_id].uid, there[mail_id].modseq) == (placed.uid, placed.modseq)
    assert uids == list(range(1, len(uids) + 1)), "a transaction is there as a whole or not at all"
    status = await database.mailboxes.status(acme.tenant, acme.inbox)
    assert (status.messages, status.next_uid) == (len(uids), len(uids) + 1)
    assert (await acme.deliver()).uid == len(uids) + 1


async def test_a_retry_after_a_lost_reply_is_recognised(engine: SurrealServer, database: SurrealDatabase) -> None:
    acme = await home(database)
    mails = [email(acme.tenant) for _ in range(100)]
    batch = [Indexed((indexed(mail, acme.inbox, prepended=envelope("ann@acme.test")),)) for mail in mails]
    work = [asyncio.ensure_future(database.writer.write(accepted)) for accepted in batch]
    await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    engine.kill()
    await asyncio.gather(*work, return_exceptions=True)
    engine.start()
    await asyncio.gather(*map(database.writer.write, batch))
    uids = await acme.uids()
    there = [message.email.id for message in await acme.fetched(acme.inbox, uids, texts=False)]
    assert sorted(there) == sorted(mail.id for mail in mails)


async def test_a_server_that_hangs(engine: SurrealServer) -> None:
    config = SurrealConfig(engine.url, "t", "d", "root", "root", timeout=2)
    database = SurrealDatabase(config, SystemClock(), IDS)
    await database.open()
    acme = await home(database)
    engine.pause()
    async with asyncio.timeout(20):
        # The first of them finds the link dead, later ones cannot open another: both end in time.
        for count in (1, 2):
            done = await asyncio.gather(
                database.ping(), acme.uids(), acme.deliver(), database.rates.hit("k", 60, 0.0), return_exceptions=True
            )
            assert [type(error) for error in done[:3]] == [StoreUnavailable] * 3
            assert done[3] == Counted(count, 60.0, local=True), "counters continue in memory"
    engine.resume()
    await database.ping()
    # Whether the mail in transit has arrived is unknown; the next one arrives.
    before = await acme.uids()
    assert (await acme.deliver()).uid == len(before) + 1
    await database.close()


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    database = SurrealDatabase(SurrealConfig("ws://127.0.0.1:9", timeout=5), SystemClock(), IDS)
    with pytest.raises(StoreUnavailable):
        await database.open()
    with pytest.raises(StoreUnavailable):
        await database.ping()
    await database.close()


async def test_a_closed_database_is_reported(database: SurrealDatabase) -> None:
    acme = await home(database)
    await database.close()
    for call in (database.ping(), acme.uids(), acme.deliver()):
        with pytest.raises(StoreUnavailable):
            await call


async def test_changes_during_an_outage_wake_a_waiting_session(
    engine: SurrealServer, database: SurrealDatabase
) -> None:
    acme = await home(database)
    other = SurrealDatabase(SurrealConfig(engine.url, "t", "d", "root", "root", timeout=5), SystemClock(), IDS)
    await other.open()
    subscription = other.changes.subscribe([acme.inbox])
    await asyncio.wait_for(subscription.wait(), 20)
    engine.kill()
    engine.start()
    with contextlib.suppress(StoreUnavailable):
        await database.ping()  # This connection may not have noticed yet that it is dead.
    await acme.deliver()
    await asyncio.wait_for(subscription.wait(), 20)
    subscription.close()
    await other.close()


async def test_a_newer_schema_is_refused(engine: SurrealServer, database: SurrealDatabase) -> None:
    await database._gateway.query("UPDATE meta:schema SET value = 99 RETURN NONE")
    late = SurrealDatabase(SurrealConfig(engine.url, "t", "d", "root", "root"), SystemClock(), IDS)
    with pytest.raises(StoreError, match="99"):
        await late.open()


async def test_four_instances_may_start_at_once(engine: SurrealServer) -> None:
    config = SurrealConfig(engine.url, "t", "fresh", "root", "root", timeout=20)
    instances = [SurrealDatabase(config, SystemClock(), IDS) for _ in range(4)]
    await asyncio.gather(*[instance.open() for instance in instances])
    acme = await home(instances[0])
    assert await instances[3].accounts.by_address("ann@acme.test") == acme.account
    await asyncio.gather(*[instance.close() for instance in instances])


async def test_the_password_is_wrong_nowhere_in_a_text(engine: SurrealServer) -> None:
    config = SurrealConfig(engine.url, "t", "d", "root", "not-the-password", timeout=5)
    assert "not-the-password" not in repr(config)
    with pytest.raises(StoreError) as failed:
        await SurrealDatabase(config, SystemClock(), IDS).open()
    assert "not-the-password" not in str(failed.value)


@pytest.mark.parametrize(
    "url", ["mem://", "memory", "surrealkv://data/db", "file://data/db", "rocksdb:///data", "tikv://host:2379"]
)
def test_embedded_engines_are_refused_with_the_reason(url: str) -> None:
    with pytest.raises(ConfigError, match="lose acknowledged updates"):
        SurrealConfig(url)


@pytest.mark.parametrize("bad", ["", "a b", "x`; REMOVE DATABASE y", "ü", "a" * 65])
def test_names_that_would_need_quotes_are_refused(bad: str) -> None:
    with pytest.raises(ConfigError):
        SurrealConfig("ws://127.0.0.1:8000", namespace=bad)
    with pytest.raises(ConfigError):
        SurrealConfig("ws://127.0.0.1:8000", database=bad)


def test_other_schemes_are_refused() -> None:
    with pytest.raises(ConfigError):
        SurrealConfig("http://127.0.0.1:8000")
