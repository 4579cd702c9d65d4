"""The sweeper over the local store and the real database."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.mail.content import Content, MemoryContent
from inbox.plugin.testing import FakeClock
from inbox.store.blobs.local import LocalBlobs
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.sweeper import GRACE_SECONDS, Sweeper, Swept
from tests.support.store import IDS, Home, email, home


class Dated(LocalBlobs):
    """Blobs are as old as a clock of ours says."""

    def __init__(self, root: Path, clock: FakeClock) -> None:
        super().__init__(root)
        self.root, self.clock = root, clock

    async def put(self, key: str, content: Content) -> None:
        await super().put(key, content)
        os.utime(self.root / key, (self.clock.now(), self.clock.now()))


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


async def keys(blobs: LocalBlobs) -> set[str]:
    return {key async for key, _ in blobs.keys()}  # noqa: SIM118 - not a dict


async def test_orphans_go_and_mails_stay(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    kept = [email(acme.tenant) for _ in range(3)]
    for mail in kept:
        await blobs.put(mail.blob_path, MemoryContent(b"x"))
        await acme.deliver(mail=mail)
    orphans = [f"msg/{acme.tenant}/m/{IDS.new()}.eml" for _ in range(700)]
    for orphan in orphans:
        await blobs.put(orphan, MemoryContent(b"x"))
    sweeper = Sweeper(blobs, acme.db.messages, clock)
    assert await sweeper.sweep() == Swept(seen=703)
    clock.advance(GRACE_SECONDS + 1)
    assert await sweeper.sweep() == Swept(seen=703, removed=700)
    assert await keys(blobs) == {mail.blob_path for mail in kept}
    await acme.db.messages.remove(acme.tenant, acme.inbox, [1])
    assert (await sweeper.sweep()).removed == 1
    assert await keys(blobs) == {mail.blob_path for mail in kept[1:]}


async def test_young_blobs_are_left_for_their_transaction(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    await blobs.put("msg/o/m/old.eml", MemoryContent(b"x"))
    clock.advance(100)
    await blobs.put("msg/o/m/young.eml", MemoryContent(b"x"))
    clock.advance(50)
    assert await Sweeper(blobs, acme.db.messages, clock, grace=120).sweep() == Swept(seen=2, removed=1)
    assert await keys(blobs) == {"msg/o/m/young.eml"}


async def test_unfinished_files_go_after_an_hour(
    blobs: LocalBlobs, acme: Home, clock: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "incoming/.unfinished/torn"
    path.write_bytes(b"torn")
    os.utime(path, (clock.now(), clock.now()))
    sweeper = Sweeper(blobs, acme.db.messages, clock)
    assert (await sweeper.sweep()).unfinished == 0
    clock.advance(3601)
    assert (await sweeper.sweep()).unfinished == 1
    assert not path.exists()


async def test_nothing_is_removed_when_the_database_is_gone(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    clock.advance(GRACE_SECONDS + 1)
    await acme.db.close()
    with pytest.raises(StoreUnavailable):
        await Sweeper(blobs, acme.db.messages, clock).sweep()
    assert await keys(blobs) == {"msg/o/m/1.eml"}


async def test_a_blob_that_cannot_be_removed_is_counted(
    blobs: LocalBlobs, acme: Home, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        await blobs.put(f"msg/o/m/{name}.eml", MemoryContent(b"x"))
    clock.advance(GRACE_SECONDS + 1)
    delete = blobs.delete

    async def failing(key: str) -> None:
        if key.endswith("a.eml"):
            raise StoreUnavailable("read-only")
        await delete(key)

    monkeypatch.setattr(blobs, "delete", failing)
    assert await Sweeper(blobs, acme.db.messages, clock).sweep() == Swept(seen=2, removed=1, failed=1)
    assert await keys(blobs) == {"msg/o/m/a.eml"}


async def test_other_prefixes_are_left_alone(blobs: LocalBlobs, acme: Home, clock: FakeClock) -> None:
    await blobs.put("backup/x", MemoryContent(b"x"))
    clock.advance(GRACE_SECONDS + 1)
    assert await Sweeper(blobs, acme.db.messages, clock).sweep() == Swept()
