"""The writer, its group commit, and what it does when the file is in trouble."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inbox.base.errors import NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.store.room import Room
from inbox.store.sqlite.gateway import Gateway


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001.sql").write_text("CREATE TABLE word (text TEXT PRIMARY KEY);")
    return folder


@pytest.fixture
async def gateway(tmp_path: Path, migrations: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path / "words.db", migrations)
    await gateway.open()
    yield gateway
    await gateway.close()


def adding(word: str) -> Callable[[sqlite3.Connection], str]:
    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO word VALUES (?)", (word,))
        return word

    return work


def words(db: sqlite3.Connection) -> set[str]:
    return {word for (word,) in db.execute("SELECT text FROM word")}


async def test_concurrent_writes_share_commits_and_all_arrive(gateway: Gateway) -> None:
    wanted = {f"w{number}" for number in range(600)}
    assert set(await asyncio.gather(*(gateway.write(adding(word)) for word in wanted))) == wanted
    assert await gateway.read(words) == wanted


async def test_one_failed_item_does_not_affect_the_others(gateway: Gateway) -> None:
    def failing(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO word VALUES ('half')")
        raise NotFound("no such thing")

    results = await asyncio.gather(
        gateway.write(adding("a")), gateway.write(failing), gateway.write(adding("b")), return_exceptions=True
    )
    assert results[0] == "a"
    assert results[2] == "b"
    assert isinstance(results[1], NotFound)
    assert await gateway.read(words) == {"a", "b"}


async def test_a_violated_constraint_is_an_error_of_its_own_caller(gateway: Gateway) -> None:
    results = await asyncio.gather(
        gateway.write(adding("a")), gateway.write(adding("a")), gateway.write(adding("b")), return_exceptions=True
    )
    assert isinstance(results[1], StoreError)
    assert await gateway.read(words) == {"a", "b"}


async def test_a_full_disk_is_reported_to_every_caller_and_writes_nothing(gateway: Gateway) -> None:
    def bound(db: sqlite3.Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count={pages + 2}")

    await gateway.write(bound)
    results = await asyncio.gather(
        *(gateway.write(adding(str(number) * 20000)) for number in range(4)), return_exceptions=True
    )
    full = [result for result in results if isinstance(result, StorageFull)]
    kept = {result for result in results if isinstance(result, str)}
    assert full
    assert await gateway.read(words) == kept


async def test_nothing_is_acknowledged_once_the_file_is_gone(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.write(adding("before"))
    (tmp_path / "words.db").unlink()
    with pytest.raises(StoreUnavailable):
        await gateway.write(adding("after"))


async def test_a_replaced_file_is_not_taken_over(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    path.rename(tmp_path / "old.db")
    path.write_bytes((tmp_path / "old.db").read_bytes())
    with pytest.raises(StoreUnavailable):
        await gateway.write(adding("after"))


@pytest.mark.parametrize("when", ["removed", "replaced"])
async def test_nothing_is_acknowledged_once_the_log_is_gone(
    gateway: Gateway, tmp_path: Path, migrations: Path, when: str
) -> None:
    await gateway.write(adding("before"))
    for name in ("words.db-wal", "words.db-shm"):
        (tmp_path / name).rename(tmp_path / f"old-{name}")
        if when == "replaced":
            (tmp_path / name).touch()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await gateway.write(adding("after"))


async def test_rows_acknowledged_before_the_log_was_removed_are_kept(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.write(adding("before"))
    for name in ("words.db-wal", "words.db-shm"):
        (tmp_path / name).unlink()
    with pytest.raises(StoreUnavailable):
        await gateway.write(adding("after"))
    # As after a crash: nothing of what the gateway has open is asked.
    (tmp_path / "copy.db").write_bytes((tmp_path / "words.db").read_bytes())
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert words(copy) == {"before"}
    copy.close()


async def test_a_schema_of_the_future_is_refused(tmp_path: Path, migrations: Path, gateway: Gateway) -> None:
    await gateway.write(adding("a"))
    with sqlite3.connect(tmp_path / "words.db") as db:
        db.execute("PRAGMA user_version=7")
    db.close()
    newer = Gateway(tmp_path / "words.db", migrations)
    with pytest.raises(StoreError, match="schema version 7"):
        await newer.open()
    await newer.close()


async def test_a_new_migration_is_applied_once(tmp_path: Path, migrations: Path) -> None:
    for _ in range(2):
        gateway = Gateway(tmp_path / "words.db", migrations)
        await gateway.open()
        await gateway.close()
    (migrations / "0002.sql").write_text("ALTER TABLE word ADD COLUMN length INTEGER;")
    for _ in range(2):
        gateway = Gateway(tmp_path / "words.db", migrations)
        await gateway.open()
        assert await gateway.read(lambda db: db.execute("SELECT length FROM word").fetchall()) == []
        await gateway.close()


async def test_a_version_is_the_number_of_its_file_and_not_how_many_there_are(tmp_path: Path, migrations: Path) -> None:
    (migrations / "0003.sql").write_text("ALTER TABLE word ADD COLUMN length INTEGER;")
    for _ in range(2):
        gateway = Gateway(tmp_path / "words.db", migrations)
        await gateway.open()
        assert await gateway.read(lambda db: db.execute("PRAGMA user_version").fetchone()) == (3,)
        await gateway.close()


async def test_two_gateways_on_one_file_write_together(tmp_path: Path, migrations: Path, gateway: Gateway) -> None:
    other = Gateway(tmp_path / "words.db", migrations)
    await other.open()
    await asyncio.gather(
        *(gateway.write(adding(f"a{number}")) for number in range(100)),
        *(other.write(adding(f"b{number}")) for number in range(100)),
    )
    assert len(await other.read(words)) == 200
    await other.close()


async def test_a_reader_cannot_write(gateway: Gateway) -> None:
    with pytest.raises(StoreError):
        await gateway.read(adding("sneaked in"))


async def test_a_closed_gateway_is_reported(tmp_path: Path, migrations: Path) -> None:
    gateway = Gateway(tmp_path / "words.db", migrations)
    with pytest.raises(StoreUnavailable):
        await gateway.write(adding("a"))
    await gateway.open()
    await gateway.close()
    with pytest.raises(StoreUnavailable):
        await gateway.read(words)


async def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path, migrations: Path) -> None:
    gateway = Gateway(tmp_path / "nowhere" / "words.db", migrations)
    with pytest.raises(StoreUnavailable):
        await gateway.open()
    await gateway.close()


async def test_a_commit_that_failed_is_not_tried_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def counting(word: str) -> Callable[[sqlite3.Connection], str]:
        def work(db: sqlite3.Connection) -> str:
            ran.append(word)
            return adding(word)(db)

        return work

    committer = gateway._committer
    check = committer.check_file

    def failing() -> None:
        check()
        if ran:  # not at the beginning of the transaction: right before its commit
            raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(committer, "check_file", failing)
    queued = threading.Event()
    blocking = gateway.submit(lambda _db: queued.wait(30))  # so that the three are one batch
    three = [gateway.submit(counting(word)) for word in "abc"]
    queued.set()
    _, *results = await asyncio.gather(blocking, *three, return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    monkeypatch.undo()
    assert len(ran) == len(set(ran))
    assert await gateway.read(words) == set()


async def test_a_write_waits_for_another_program_that_writes(gateway: Gateway, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "words.db", isolation_level=None) as backup:
        backup.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(gateway.write(adding("a")))
        assert await gateway.read(words) == set(), "reading goes on"
        assert not writing.done()
        backup.execute("COMMIT")
        assert await writing == "a"
    backup.close()


async def test_a_write_that_another_program_keeps_waiting_for_too_long_fails_and_may_be_tried_again(
    tmp_path: Path, migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inbox.store.sqlite.commit.BUSY_SECONDS", 0.05)
    gateway = Gateway(tmp_path / "words.db", migrations)
    await gateway.open()
    with sqlite3.connect(tmp_path / "words.db", isolation_level=None) as backup:
        backup.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await gateway.write(adding("a"))
        assert await gateway.read(words) == set()
        backup.execute("COMMIT")
        assert await gateway.write(adding("a")) == "a"
    backup.close()
    await gateway.close()


async def test_a_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path: Path, migrations: Path) -> None:
    path = tmp_path / "words.db"
    path.write_bytes(b"this is no database. " * 1000)
    gateway = Gateway(path, migrations)
    with pytest.raises(StoreUnavailable, match=r"words\.db: file is not a database"):
        await gateway.open()
    await gateway.close()
    assert path.read_bytes() == b"this is no database. " * 1000


async def test_damage_in_a_file_is_an_error_of_those_who_meet_it(tmp_path: Path, migrations: Path) -> None:
    path = tmp_path / "words.db"
    gateway = Gateway(path, migrations)
    await gateway.open()
    await gateway.write(lambda db: db.executemany("INSERT INTO word VALUES (?)", [(f"{n:0200}",) for n in range(500)]))
    await gateway.close()
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096 * 3)
    gateway = Gateway(path, migrations)
    await gateway.open()
    with pytest.raises(StoreUnavailable, match="malformed"):
        await gateway.read(words)
    with pytest.raises(StoreUnavailable, match="malformed"):
        await gateway.write(lambda db: db.execute("DELETE FROM word WHERE text LIKE '%1%'").rowcount)
    await gateway.close()


class Giving(Room):
    """A reserve that a database of few pages has."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gateway: Gateway | None = None
        self.given = 0

    def release(self) -> bool:
        self.given += 1
        if self.given > 1:
            return False
        assert self.gateway is not None
        assert self.gateway._committer._connection is not None
        self.gateway._committer._connection.execute("PRAGMA max_page_count=100000")
        return True


async def test_on_a_full_disk_the_reserve_is_given_away_and_what_found_no_room_is_written(
    tmp_path: Path, migrations: Path
) -> None:
    room = Giving(tmp_path)
    gateway = room.gateway = Gateway(tmp_path / "words.db", migrations, room=room)
    await gateway.open()

    def bound(db: sqlite3.Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count={pages + 2}")

    await gateway.write(bound)
    wanted = {str(number) * 20000 for number in range(4)}
    assert set(await asyncio.gather(*(gateway.write(adding(word)) for word in wanted))) == wanted
    assert await gateway.read(words) == wanted
    assert room.given == 1
    await gateway.write(bound)
    with pytest.raises(StorageFull):
        await gateway.write(adding("x" * 40000))
    assert room.given == 2
    await gateway.close()
