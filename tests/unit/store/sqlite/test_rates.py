"""The file of the counters: gone, wrong, empty, garbage, and back again, while it is open and at the start."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.store import rates
from inbox.store.room import RESERVE
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS


def gone(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database. " * 1000)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def another(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inbox-rates.db"


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteDatabase]:
    monkeypatch.setattr(rates, "PAUSE", 0.0)
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await database.open()
    yield database
    await database.close()


async def count(database: SqliteDatabase) -> tuple[int, bool]:
    counted = await database.rates.hit("k", 600, 1.0)
    return counted.count, counted.local


@pytest.mark.parametrize("harm", [gone, replaced, garbage, empty])
async def test_a_file_that_is_lost_while_it_is_open_is_made_again_and_no_count_is_refused(
    database: SqliteDatabase, path: Path, harm: Callable[[Path], None]
) -> None:
    assert await count(database) == (1, False)
    harm(path)
    counts = [await count(database) for _ in range(4)]
    await database.rates.close()
    # What memory counted comes back; what was in the file alone is lost with it, unless SQLite still had its pages.
    counts.append(await count(database))
    assert counts[-1][1] is False
    assert counts[-1][0] >= 5
    assert database.rates.trouble == ""
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count FROM smtp_rate_limit").fetchall() == [(counts[-1][0],)]
    db.close()


@pytest.mark.parametrize("harm", [folder, another])
async def test_a_file_that_must_not_be_removed_stays_and_memory_counts(
    database: SqliteDatabase, path: Path, harm: Callable[[Path], None]
) -> None:
    await count(database)
    harm(path)
    assert [await count(database) for _ in range(3)] == [(1, True), (2, True), (3, True)]
    assert str(path) in database.rates.trouble
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not (await count(database))[1]
    await database.rates.close()
    assert await count(database) == (5, False)


@pytest.mark.parametrize("harm", [gone, replaced, garbage, empty, folder, another])
async def test_a_database_opens_whatever_its_counters_are(
    tmp_path: Path, path: Path, harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "PAUSE", 0.0)
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await database.open()
    await count(database)
    await database.close()
    harm(path)
    again = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await again.open()
    assert await count(again) == (1, harm in (folder, another))
    await again.close()


async def test_two_processes_come_to_share_a_new_file(database: SqliteDatabase, tmp_path: Path, path: Path) -> None:
    other = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await other.open()
    await count(database)
    await count(other)
    path.unlink()
    for _ in range(3):
        await count(database)
        await count(other)
    await database.rates.close()
    await other.rates.close()
    before, _ = await count(database)
    assert await count(other) == (before + 1, False)
    assert before >= 7
    await other.close()


async def test_a_server_keeps_a_reserve_and_a_command_makes_none(database: SqliteDatabase, tmp_path: Path) -> None:
    assert not (tmp_path / RESERVE).exists()
    database._serving = True
    await database.tidy(0.0)
    assert (tmp_path / RESERVE).exists()
