"""The stores of a running server refuse mail when they are no pair any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from inbox.base.errors import NotFound, StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.blobs.local import LocalBlobs
from inbox.store.guarded import GuardedBlobs, GuardedIngest, Pairing
from inbox.store.pairing import Places, WrongStore, establish
from inbox.store.ports.ingest import Accepted
from inbox.store.ports.messages import Placed
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS

PLACES = Places("inbox.db", "incoming/")
MAIL = MemoryContent(b"Subject: x\r\n\r\n")


@pytest.fixture
async def raw(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    blobs = LocalBlobs(tmp_path / "incoming")
    await blobs.open()
    yield blobs
    await blobs.close()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def pairing(database: SqliteDatabase, raw: LocalBlobs) -> Pairing:
    return Pairing(database, raw, await establish(database, raw, IDS, PLACES), PLACES)


@pytest.fixture
def blobs(raw: LocalBlobs, pairing: Pairing) -> GuardedBlobs:
    return GuardedBlobs(raw, pairing)


async def test_a_wrong_store_takes_nothing_until_the_right_one_is_back(
    blobs: GuardedBlobs, pairing: Pairing, tmp_path: Path
) -> None:
    await blobs.put("msg/o/m/1.eml", MAIL)
    file = tmp_path / "incoming/installation.json"
    text = file.read_text()
    file.write_text('{"installation": "other", "store": "other"}')
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(WrongStore, match="to the installation other"):
                await pairing.look()
    assert [log["event"] for log in logs] == ["stores_do_not_match"], "logged once"
    assert "to the installation other" in pairing.why
    for refused in (
        blobs.put("msg/o/m/2.eml", MAIL),
        blobs.create("msg/o/m/2.eml", MAIL),
        blobs.move("msg/o/m/1.eml", "orphan/msg/o/m/1.eml"),
        blobs.delete("msg/o/m/1.eml"),
        blobs.remove_unfinished(4e9),
    ):
        with pytest.raises(WrongStore):
            await refused
    assert (await blobs.get("msg/o/m/1.eml")).size == MAIL.size, "what is there can be read"
    assert {key async for key, _ in blobs.keys("")} == {"installation.json", "msg/o/m/1.eml"}
    file.write_text(text)
    await pairing.look()
    assert pairing.why == ""
    await blobs.put("msg/o/m/2.eml", MAIL)


async def test_a_store_that_does_not_answer_is_not_a_wrong_one(
    blobs: GuardedBlobs, pairing: Pairing, database: SqliteDatabase
) -> None:
    await database.close()
    with pytest.raises(StoreUnavailable):
        await pairing.look()
    assert "is not open" in pairing.why
    await blobs.put("msg/o/m/1.eml", MAIL)


async def test_mail_is_refused_too(pairing: Pairing, tmp_path: Path) -> None:
    class Taken:
        async def accept(self, accepted: Accepted) -> list[list[Placed]]:
            return [[Placed("m", "e", 1, len(accepted.messages) + 1)]]

    ingest = GuardedIngest(Taken(), pairing)
    assert await ingest.accept(Accepted(())) == [[Placed("m", "e", 1, 1)]]
    (tmp_path / "incoming/installation.json").unlink()
    with pytest.raises(WrongStore, match=r"is empty, but|has no installation\.json"):
        await pairing.look()
    with pytest.raises(WrongStore):
        await ingest.accept(Accepted(()))


async def test_an_orphan_is_read_where_it_is(blobs: GuardedBlobs, raw: LocalBlobs) -> None:
    await raw.put("orphan/msg/o/m/1.eml", MAIL)
    with structlog.testing.capture_logs() as logs:
        assert await blobs.read("msg/o/m/1.eml", 0, 7) == b"Subject"
        assert (await blobs.get("msg/o/m/1.eml")).size == MAIL.size
    assert [(log["event"], log["key"]) for log in logs] == [("orphan_read", "msg/o/m/1.eml")]
    with pytest.raises(NotFound, match=r"incoming/msg/o/m/2\.eml|msg/o/m/2"):
        await blobs.read("msg/o/m/2.eml", 0, 7)


async def test_an_orphan_that_is_put_back_at_this_moment_is_read(
    blobs: GuardedBlobs, raw: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await raw.put("orphan/msg/o/m/1.eml", MAIL)
    read = raw.read

    async def overtaken(key: str, offset: int, length: int) -> bytes:
        if key.startswith("orphan/"):
            await raw.move(key, "msg/o/m/1.eml")
        return await read(key, offset, length)

    monkeypatch.setattr(raw, "read", overtaken)
    assert await blobs.read("msg/o/m/1.eml", 0, 7) == b"Subject"
