"""The sweeper over the local store and the real database; the contract suite has the other kinds of stores."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.mail.content import Content, MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.blobs.local import LocalBlobs
from inbox.store.pairing import WrongStore
from inbox.store.ports.messages import EmailRecord
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.sweeper import (
    FEW,
    GRACE_SECONDS,
    KEEP_SECONDS,
    NO_TENANTS,
    MovedOrphans,
    Sweeper,
    Swept,
    count_aside,
)
from tests.support.store import IDS, Home, email, home


class Dated(LocalBlobs):
    """Blobs are as old as a clock of ours says."""

    def __init__(self, root: Path, clock: FakeClock) -> None:
        super().__init__(root)
        self.root, self.clock = root, clock

    async def put(self, key: str, content: Content) -> None:
        await super().put(key, content)
        os.utime(self.root / key, (self.clock.now(), self.clock.now()))

    async def move(self, key: str, target: str) -> None:
        await super().move(key, target)
        os.utime(self.root / target, (self.clock.now(), self.clock.now()))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def blobs(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LocalBlobs]:
    store = Dated(tmp_path / "incoming", clock)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def acme(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Home]:
    database = SqliteDatabase(tmp_path / "inbox.db", clock, IDS)
    await database.open()
    yield await home(database)
    await database.close()


async def paired() -> None:
    """Database and blob store are a pair."""


def sweeper_of(blobs: LocalBlobs, acme: Home, clock: FakeClock, **options: Any) -> Sweeper:
    return Sweeper(blobs, acme.db, clock, paired, **options)


async def mails(blobs: LocalBlobs, acme: Home, count: int) -> list[EmailRecord]:
    """Messages with their blobs."""
    made = [email(acme.tenant) for _ in range(count)]
    for mail in made:
        await blobs.put(mail.blob_path, MemoryContent(b"x"))
        await acme.deliver(mail=mail)
    return made


async def orphans(blobs: LocalBlobs, acme: Home, count: int) -> set[str]:
    """Blobs whose transaction never came."""
    made = {f"msg/{acme.tenant}/m/{IDS.new()}.eml" for _ in range(count)}
    for key in made:
        await blobs.put(key, MemoryContent(b"x"))
    return made


def aside(keys: set[str]) -> set[str]:
    return {f"orphan/{key}" for key in keys}


async def keys(blobs: LocalBlobs) -> set[str]:
    return {key async for key, _ in blobs.keys()}  # noqa: SIM118 - not a dict


async def test_orphans_are_put_aside_and_deleted_a_week_later(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    kept = {mail.blob_path for mail in await mails(blobs, acme, 3)}
    gone = await orphans(blobs, acme, 40)
    sweeper = sweeper_of(blobs, acme, clock)
    assert await sweeper.sweep() == Swept(seen=43)
    clock.advance(GRACE_SECONDS + 1)
    assert await sweeper.sweep() == Swept(seen=43, orphans=40, unexplained=40, moved=40, waiting=40)
    assert await keys(blobs) == kept | aside(gone)
    assert await count_aside(blobs, 100) == MovedOrphans(40, clock.now())
    assert await count_aside(blobs, 7) == MovedOrphans(7, clock.now())
    clock.advance(KEEP_SECONDS - 1)
    assert await sweeper.sweep() == Swept(seen=3, waiting=40)
    clock.advance(2)
    assert await sweeper.sweep() == Swept(seen=3, removed=40)
    assert await keys(blobs) == kept
    assert await count_aside(blobs, 100) == MovedOrphans()


async def test_an_orphan_that_a_message_refers_to_again_is_put_back_and_not_deleted(
    blobs: LocalBlobs, acme: Home, clock: FakeClock
) -> None:
    mail = email(acme.tenant)
    await blobs.put(mail.blob_path, MemoryContent(b"x"))
    clock.advance(GRACE_SECONDS + 1)
    sweeper = sweeper_of(blobs, acme, clock)
    assert (await sweeper.sweep()).moved == 1
    await acme.deliver(mail=mail)
    clock.advance(KEEP_SECONDS + 1)
    assert await sweeper.sweep(dry_run=True) == Swept(restored=1)
    assert await keys(blobs) == aside({mail.blob_path})
    assert await sweeper.sweep() == Swept(seen=1, restored=1)
    assert await keys(blobs) == {mail.blob_path}


async def test_more_orphans_than_a_small_share_stop_the_run_before_anything_is_moved(
    blobs: LocalBlobs, acme: Home, clock: FakeClock
) -> None:
    await mails(blobs, acme, 10)
    gone = await orphans(blobs, acme, FEW + 1)
    clock.advance(GRACE_SECONDS + 1)
    before = await keys(blobs)
    sweeper = sweeper_of(blobs, acme, clock)
    swept = await sweeper.sweep()
    assert (swept.seen, swept.orphans, swept.unexplained, swept.moved) == (61, 51, 51, 0)
    assert swept.alarm.startswith("51 of 61 blobs belong to no message")
    assert await keys(blobs) == before
    # The operator looks first, and then wants it.
    assert (await sweeper.sweep(deliberate=True, dry_run=True)).orphans == 51
    assert await keys(blobs) == before
    assert (await sweeper.sweep(deliberate=True)).moved == 51
    assert await count_aside(blobs, 100) == MovedOrphans(len(gone), clock.now())


@pytest.mark.slow
async def test_the_share_grows_with_the_store(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    await mails(blobs, acme, 1400)
    await orphans(blobs, acme, 73)
    clock.advance(GRACE_SECONDS + 1)
    assert (await sweeper_of(blobs, acme, clock).sweep()).moved == 73
    await orphans(blobs, acme, 74)
    clock.advance(GRACE_SECONDS + 1)
    assert (await sweeper_of(blobs, acme, clock).sweep()).alarm.startswith("74 of 1474 blobs")


async def test_messages_that_were_removed_explain_their_orphans(
    blobs: LocalBlobs, acme: Home, clock: FakeClock
) -> None:
    """A user who empties a mailbox, or a tenant that is removed, is no reason for an alarm."""
    await mails(blobs, acme, 200)
    await acme.db.messages.remove(acme.tenant, acme.inbox, list(range(1, 151)))
    clock.advance(GRACE_SECONDS + 1)
    sweeper = sweeper_of(blobs, acme, clock)
    assert await sweeper.sweep() == Swept(seen=200, orphans=150, unexplained=0, moved=150, waiting=150)
    assert await sweeper.sweep() == Swept(seen=50, waiting=150)
    paths = [key async for key, _ in blobs.keys("orphan/")]
    assert await acme.db.installation.released([path.removeprefix("orphan/") for path in paths]) == set()


async def test_a_database_without_tenants_sweeps_nothing(blobs: LocalBlobs, tmp_path: Path, clock: FakeClock) -> None:
    empty = SqliteDatabase(tmp_path / "empty.db", clock, IDS)
    await empty.open()
    assert await Sweeper(blobs, empty, clock, paired).sweep() == Swept(), "a new installation is no reason for an alarm"
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    await blobs.put("orphan/msg/o/m/2.eml", MemoryContent(b"x"))
    clock.advance(GRACE_SECONDS + KEEP_SECONDS + 2)
    assert await Sweeper(blobs, empty, clock, paired).sweep(deliberate=True) == Swept(alarm=NO_TENANTS)
    await empty.close()
    assert await keys(blobs) == {"msg/o/m/1.eml", "orphan/msg/o/m/2.eml"}


async def test_a_foreign_database_sweeps_nothing(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    await orphans(blobs, acme, 3)
    clock.advance(GRACE_SECONDS + 1)

    async def foreign() -> None:
        raise WrongStore("not a pair")

    before = await keys(blobs)
    with pytest.raises(WrongStore):
        await Sweeper(blobs, acme.db, clock, foreign).sweep(deliberate=True)
    assert await keys(blobs) == before


@pytest.mark.parametrize("looks", range(1, 4))
async def test_stores_that_come_apart_meanwhile_end_the_run(
    blobs: LocalBlobs, acme: Home, clock: FakeClock, looks: int
) -> None:
    """Before each step the two are compared again: at the start, before deleting, before putting aside."""
    await blobs.put(f"orphan/msg/{acme.tenant}/m/old.eml", MemoryContent(b"x"))
    clock.advance(KEEP_SECONDS + 1)
    await orphans(blobs, acme, 3)
    clock.advance(GRACE_SECONDS + 1)
    left = looks

    async def apart() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise WrongStore("not a pair any more")

    with pytest.raises(WrongStore):
        await Sweeper(blobs, acme.db, clock, apart).sweep()
    found = await keys(blobs)
    assert len([key for key in found if key.startswith("msg/")]) == 3
    assert len(found) == (4 if looks < 3 else 3)


async def test_young_blobs_are_left_for_their_transaction(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    await blobs.put("msg/o/m/old.eml", MemoryContent(b"x"))
    clock.advance(100)
    await blobs.put("msg/o/m/young.eml", MemoryContent(b"x"))
    clock.advance(50)
    assert (await sweeper_of(blobs, acme, clock, grace=120).sweep()).moved == 1
    assert await keys(blobs) == {"msg/o/m/young.eml", "orphan/msg/o/m/old.eml"}


async def test_a_clock_that_jumped_ahead_deletes_nothing_that_is_in_use(
    blobs: LocalBlobs, acme: Home, clock: FakeClock
) -> None:
    kept = {mail.blob_path for mail in await mails(blobs, acme, 3)}
    clock.advance(3650 * 86_400)
    assert await sweeper_of(blobs, acme, clock).sweep() == Swept(seen=3)
    assert await keys(blobs) == kept


async def test_unfinished_files_go_after_an_hour(
    blobs: LocalBlobs, acme: Home, clock: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "incoming/.unfinished/torn"
    path.write_bytes(b"torn")
    os.utime(path, (clock.now(), clock.now()))
    sweeper = sweeper_of(blobs, acme, clock)
    assert (await sweeper.sweep()).unfinished == 0
    clock.advance(3601)
    assert (await sweeper.sweep(dry_run=True)).unfinished == 0
    assert (await sweeper.sweep()).unfinished == 1
    assert not path.exists()


async def test_nothing_is_removed_when_the_database_is_gone(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    clock.advance(GRACE_SECONDS + 1)
    await acme.db.close()
    with pytest.raises(StoreUnavailable):
        await sweeper_of(blobs, acme, clock).sweep()
    assert await keys(blobs) == {"msg/o/m/1.eml"}


async def test_a_blob_that_cannot_be_moved_or_removed_is_counted(
    blobs: LocalBlobs, acme: Home, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("msg/o/m/a.eml", "msg/o/m/b.eml", "orphan/msg/o/m/c.eml"):
        await blobs.put(key, MemoryContent(b"x"))
    clock.advance(GRACE_SECONDS + KEEP_SECONDS + 2)
    move = blobs.move

    async def failing(key: str, *_more: str) -> None:
        if key.endswith("b.eml"):
            return await move(key, *_more)
        raise StoreUnavailable("read-only")

    monkeypatch.setattr(blobs, "move", failing)
    monkeypatch.setattr(blobs, "delete", failing)
    swept = await sweeper_of(blobs, acme, clock).sweep()
    assert (swept.seen, swept.moved, swept.removed, swept.failed, swept.waiting) == (2, 1, 0, 2, 2)
    assert await keys(blobs) == {"msg/o/m/a.eml", "orphan/msg/o/m/b.eml", "orphan/msg/o/m/c.eml"}


async def test_a_blob_that_another_sweeper_moved_is_not_a_failure(
    blobs: LocalBlobs, acme: Home, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await orphans(blobs, acme, 3)
    clock.advance(GRACE_SECONDS + 1)
    move = blobs.move

    async def late(key: str, target: str) -> None:
        await move(key, target)
        await move(key, target)

    monkeypatch.setattr(blobs, "move", late)
    assert (await sweeper_of(blobs, acme, clock).sweep()).failed == 0
    assert await count_aside(blobs, 9) == MovedOrphans(3, clock.now())


async def test_other_prefixes_are_left_alone(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    for key in ("backup/x", "installation.json"):
        await blobs.put(key, MemoryContent(b"x"))
    clock.advance(GRACE_SECONDS + KEEP_SECONDS + 2)
    assert await sweeper_of(blobs, acme, clock).sweep() == Swept()
    assert await keys(blobs) == {"backup/x", "installation.json"}


async def test_progress_is_reported_for_each_blob(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    await orphans(blobs, acme, 3)
    clock.advance(GRACE_SECONDS + 1)
    steps: list[int] = []
    await sweeper_of(blobs, acme, clock).sweep(progress=steps.append)
    assert sum(steps) == 6
