"""Pairing and sweeping over every database with every blob store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.blobs.local import LocalBlobs
from inbox.store.blobs.s3 import S3Blobs
from inbox.store.pairing import Places, State, WrongStore, adopt, establish, examine, verify
from inbox.store.ports import Blobs, Database
from inbox.store.sweeper import GRACE_SECONDS, KEEP_SECONDS, NO_TENANTS, Sweeper, Swept, count_aside
from tests.support.store import IDS, Home, Opener, email

PLACES = Places("THE-DATABASE", "THE-BLOBS")

#: Opens one more blob store: of the same place, or of another one that is empty at first.
BlobOpener = Callable[..., Awaitable[Blobs]]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.real)])
async def blob_opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobOpener]:
    opened: list[Blobs] = []
    places: dict[str, Callable[[], Blobs]] = {}

    def place(name: str) -> Callable[[], Blobs]:
        if request.param == "local":
            return lambda: LocalBlobs(tmp_path / "blobs" / name)
        config = request.getfixturevalue("ministack").config(f"{name}-{uuid.uuid4().hex}")
        return lambda: S3Blobs(config)

    async def open_one(name: str = "one") -> Blobs:
        if name not in places:
            places[name] = place(name)
        store = places[name]()
        await store.open()
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def blobs(blob_opener: BlobOpener) -> Blobs:
    return await blob_opener()


async def fill(acme: Home, blobs: Blobs, count: int) -> list[str]:
    keys = []
    for _ in range(count):
        mail = email(acme.tenant)
        await blobs.put(mail.blob_path, MemoryContent(b"x"))
        await acme.deliver(mail=mail)
        keys.append(mail.blob_path)
    return keys


async def listed(blobs: Blobs, prefix: str = "") -> set[str]:
    return {key async for key, _ in blobs.keys(prefix)}


async def test_instances_that_start_at_once_make_one_pair(opener: Opener, blob_opener: BlobOpener) -> None:
    instances = [(await opener(), await blob_opener()) for _ in range(4)]
    made = await asyncio.gather(*(establish(database, blobs, IDS, PLACES) for database, blobs in instances))
    assert len(set(made)) == 1
    assert made[0].installation
    assert made[0].store
    for database, blobs in instances:
        assert await verify(database, blobs, PLACES) == made[0]
    assert await listed(blobs) == {"installation.json"}


async def test_instances_with_a_store_each_that_start_at_once_are_not_both_let_in(
    opener: Opener, blob_opener: BlobOpener
) -> None:
    instances = [(await opener(), await blob_opener(name)) for name in ("one", "two", "three")]
    made = await asyncio.gather(
        *(establish(database, blobs, IDS, PLACES) for database, blobs in instances), return_exceptions=True
    )
    assert [type(one) for one in made].count(WrongStore) == 2, made
    # Nor later: the losers keep being refused.
    again = await asyncio.gather(
        *(establish(database, blobs, IDS, PLACES) for database, blobs in instances), return_exceptions=True
    )
    assert [type(one) for one in again] == [type(one) for one in made]


async def test_an_upgrade_is_recognised_by_its_mail(acme: Home, blob_opener: BlobOpener) -> None:
    blobs, other = await blob_opener(), await blob_opener("other")
    await fill(acme, blobs, 50)
    await other.put("msg/someone/m/1.eml", MemoryContent(b"x"))
    found = await examine(acme.db, blobs)
    assert (found.state, found.messages, found.present) == (State.RECOGNISED, 40, 40)
    found = await examine(acme.db, other)
    assert (found.state, found.messages, found.present) == (State.STORE_UNKNOWN, 40, 0)
    assert (await examine(acme.db, await blob_opener("empty"))).state is State.STORE_EMPTY
    await establish(acme.db, blobs, IDS, PLACES)
    assert (await examine(acme.db, blobs)).state is State.PAIR
    assert (await examine(acme.db, other)).state is State.STORE_LOST_ID
    assert (await examine(acme.db, await blob_opener("empty"))).state is State.STORE_EMPTY


async def test_adopting(acme: Home, blobs: Blobs) -> None:
    await blobs.put("installation.json", MemoryContent(b'{"installation": "x", "store": "y"}'))
    with pytest.raises(WrongStore, match="THE-BLOBS belongs to the installation x, but THE-DATABASE has no id"):
        await establish(acme.db, blobs, IDS, PLACES)
    made = await adopt(acme.db, blobs, IDS, PLACES)
    assert made.installation != "x"
    assert await establish(acme.db, blobs, IDS, PLACES) == await verify(acme.db, blobs, PLACES) == made


async def test_the_life_of_an_orphan(acme: Home, blobs: Blobs) -> None:
    await establish(acme.db, blobs, IDS, PLACES)
    kept = set(await fill(acme, blobs, 3))
    late = email(acme.tenant)
    gone = f"msg/{acme.tenant}/m/{IDS.new()}.eml"
    for key in (late.blob_path, gone):
        await blobs.put(key, MemoryContent(b"x"))
    later = FakeClock(SystemClock().now() + GRACE_SECONDS + 60)
    sweeper = Sweeper(blobs, acme.db, later, lambda: verify(acme.db, blobs, PLACES))
    assert await sweeper.sweep() == Swept(seen=5, orphans=2, unexplained=2, moved=2, waiting=2)
    assert await listed(blobs) == {"installation.json", f"orphan/{late.blob_path}", f"orphan/{gone}"} | kept
    assert (await count_aside(blobs, 10)).count == 2
    await acme.deliver(mail=late)
    later.advance(KEEP_SECONDS)
    assert await sweeper.sweep() == Swept(seen=4, restored=1, removed=1)
    assert await listed(blobs) == {"installation.json", late.blob_path} | kept
    await acme.db.messages.remove(acme.tenant, acme.inbox, [1, 2, 3, 4])
    assert await sweeper.sweep() == Swept(seen=4, orphans=4, unexplained=0, moved=4, waiting=4)


async def test_an_older_database_loses_no_blob(acme: Home, opener: Opener, blobs: Blobs) -> None:
    """Its newer mail is an orphan until the right database is back; the mail of a removed message is there again."""
    await establish(acme.db, blobs, IDS, PLACES)
    mails = [email(acme.tenant) for _ in range(10)]
    for mail in mails:
        await blobs.put(mail.blob_path, MemoryContent(b"x"))
    for mail in mails[:4]:
        await acme.deliver(mail=mail)
    later = FakeClock(SystemClock().now() + GRACE_SECONDS + 60)
    older = Sweeper(blobs, await opener(), later, lambda: verify(acme.db, blobs, PLACES))
    assert (await older.sweep()).moved == 6
    for mail in mails[4:]:
        await acme.deliver(mail=mail)
    later.advance(KEEP_SECONDS + 60)
    assert await older.sweep() == Swept(seen=10, restored=6)


async def test_a_database_without_tenants_sweeps_nothing(db: Database, blobs: Blobs) -> None:
    await establish(db, blobs, IDS, PLACES)
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    later = FakeClock(SystemClock().now() + GRACE_SECONDS + KEEP_SECONDS)
    sweeper = Sweeper(blobs, db, later, lambda: verify(db, blobs, PLACES))
    assert await sweeper.sweep(deliberate=True) == Swept(alarm=NO_TENANTS)
    assert await listed(blobs, "msg/") == {"msg/o/m/1.eml"}


async def test_two_installations_on_one_store(acme: Home, blob_opener: BlobOpener) -> None:
    """The second one neither starts nor sweeps, whatever it has."""
    mine, theirs = await blob_opener(), await blob_opener("theirs")
    await establish(acme.db, mine, IDS, PLACES)
    keys = await fill(acme, mine, 3)
    text = b'{"installation": "theirs", "store": "s"}'
    await theirs.put("installation.json", MemoryContent(text))
    later = FakeClock(SystemClock().now() + GRACE_SECONDS + 60)
    with pytest.raises(WrongStore, match="THE-BLOBS to the installation theirs"):
        await Sweeper(theirs, acme.db, later, lambda: verify(acme.db, theirs, PLACES)).sweep(deliberate=True)
    assert await listed(mine, "msg/") == set(keys)
