"""The write-ahead log stays short, and no commit waits for it to be copied."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.store.sqlite import wal
from inbox.store.sqlite.commit import Committer, Job, connect
from inbox.store.sqlite.turn import Turn
from inbox.store.sqlite.wal import CHECKPOINT_PAGES, LATEST_PAGES, LOG_OCTETS, Checkpointer, pages_in
from tests.support.waiting import until

#: Octets of a row that fills a page.
PAGE = 4000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "words.db"


def create_table(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE word (word TEXT)")


@pytest.fixture
def committer(path: Path) -> Iterator[Committer]:
    committer = Committer(path)
    committer.open(create_table)
    yield committer
    committer.close()


@pytest.fixture
def idle(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> Committer:
    """Never copies the log in its thread."""
    monkeypatch.setattr(committer._checkpointer, "look", lambda: None)
    return committer


def add(committer: Committer, pages: int) -> None:
    def work(db: sqlite3.Connection) -> None:
        db.executemany("INSERT INTO word VALUES (?)", [("x" * PAGE,)] * pages)

    job: Job[None] = Job(work)
    committer.commit([job])
    assert job.error is None


def log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def test_pages_are_those_of_this_round(path: Path) -> None:
    db = connect(path, "FULL")
    db.execute("CREATE TABLE word (word TEXT)")
    assert pages_in(log(path)) == 2
    for _ in range(30):
        db.execute("INSERT INTO word VALUES (?)", ("x" * PAGE,))
    _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert pages_in(log(path)) == pages > 60
    db.execute("INSERT INTO word VALUES ('a new round, over the old octets')")
    assert 0 < pages_in(log(path)) < 5
    db.close()


@pytest.mark.parametrize("octets", [None, b"", b"x" * 20, b"x" * 10_000, bytes(10_000)])
def test_an_invalid_log_has_no_pages(tmp_path: Path, octets: bytes | None) -> None:
    found = tmp_path / "x-wal"
    if octets is not None:
        found.write_bytes(octets)
    assert pages_in(found) == 0


@pytest.mark.slow
def test_the_log_starts_again_however_much_is_written(committer: Committer, path: Path) -> None:
    committer.reserve_log()
    for _ in range(12):
        add(committer, CHECKPOINT_PAGES // 2)
    until(lambda: _emptied(committer, path), "the log starts again")
    assert log(path).stat().st_size <= 2 * LOG_OCTETS


def _emptied(committer: Committer, path: Path) -> bool:
    add(committer, 1)
    return pages_in(log(path)) < 100


def test_a_log_that_grew_while_somebody_read_shrinks_again(committer: Committer, path: Path) -> None:
    committer.reserve_log()
    reader = connect(path, "FULL")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM word").fetchone()
    for _ in range(7):
        add(committer, CHECKPOINT_PAGES)
    assert log(path).stat().st_size > LOG_OCTETS
    assert pages_in(log(path)) >= 7 * CHECKPOINT_PAGES > LATEST_PAGES
    reader.execute("ROLLBACK")
    reader.close()
    until(lambda: _emptied(committer, path), "the log starts again")
    assert log(path).stat().st_size == LOG_OCTETS


def test_no_commit_copies_a_log_of_that_length(idle: Committer, path: Path) -> None:
    """The thread does it; a commit would keep everybody waiting."""
    add(idle, CHECKPOINT_PAGES)
    add(idle, CHECKPOINT_PAGES)
    assert pages_in(log(path)) > 2 * CHECKPOINT_PAGES
    assert path.stat().st_size < 100_000


def test_a_log_that_has_no_length_yet_takes_a_share_of_what_is_free(
    committer: Committer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scarce:
        f_bavail = 8 * 100
        f_frsize = wal.FRAME_OCTETS

    monkeypatch.setattr(os, "statvfs", lambda _: Scarce)
    add(committer, 150)
    until(lambda: _emptied(committer, path), "the log starts again")


def test_a_copy_that_fails_is_tried_again(committer: Committer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failed = wal._copy, list[bool]()

    def copy(connection: sqlite3.Connection) -> int:
        if not failed:
            failed.append(True)
            raise sqlite3.OperationalError("disk I/O error")
        return real(connection)

    monkeypatch.setattr(wal, "_copy", copy)
    committer.reserve_log()
    add(committer, CHECKPOINT_PAGES)
    until(lambda: bool(failed), "it failed")
    add(committer, CHECKPOINT_PAGES)
    until(lambda: _emptied(committer, path), "the log starts again")


def test_a_thread_that_cannot_connect_leaves_the_copy_to_the_commits(idle: Committer, path: Path) -> None:
    tried: list[int] = []

    def refuse() -> sqlite3.Connection:
        tried.append(1)
        raise sqlite3.OperationalError("unable to open database file")

    add(idle, CHECKPOINT_PAGES)
    lost = Checkpointer(path, refuse)
    lost.look()
    lost.close()
    assert tried == [1]
    for _ in range(4):
        add(idle, CHECKPOINT_PAGES)
    assert path.stat().st_size > LATEST_PAGES * PAGE


@pytest.mark.slow
def test_the_copy_begins_while_another_process_has_its_turn(path: Path, idle: Committer) -> None:
    """Only its last part needs a turn, so that the log is empty for a moment."""
    turn = Turn(path)
    with turn:
        writer = connect(path, "FULL")
        writer.executemany("INSERT INTO word VALUES (?)", [("x" * PAGE,)] * CHECKPOINT_PAGES)
        before = path.stat().st_size
        checkpointer = Checkpointer(path, lambda: connect(path, "FULL"))
        checkpointer.look()
        until(lambda: path.stat().st_size > before + CHECKPOINT_PAGES * PAGE // 2, "it copies")
        writer.execute("INSERT INTO word VALUES ('meanwhile')")
        writer.close()
    checkpointer.close()
    turn.close()


@pytest.mark.slow
def test_a_count_that_begins_with_an_earlier_one_is_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = connect(path, "FULL")
    db.execute("CREATE TABLE word (word TEXT)")
    descriptor = os.open(log(path), os.O_RDONLY)
    counts: list[int] = []
    for rows in (1, 30, 500, 1, 1, 0, 2000, 1):
        db.executemany("INSERT INTO word VALUES (?)", [("x" * PAGE,)] * rows)
        counts.append(pages_in(log(path)))
        for earlier in (0, 1, *counts):
            assert wal._pages(descriptor, earlier) == counts[-1]
    db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    db.execute("INSERT INTO word VALUES ('a new round')")
    for earlier in counts:
        assert wal._pages(descriptor, earlier) == pages_in(log(path)) < 5

    db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    db.executemany("INSERT INTO word VALUES (?)", [("x" * PAGE,)] * 1000)
    before, reads = pages_in(log(path)), list[int]()
    db.execute("INSERT INTO word VALUES ('a few more pages')")
    pread = os.pread

    def read(fd: int, octets: int, place: int) -> bytes:
        reads.append(place)
        return pread(fd, octets, place)

    monkeypatch.setattr(os, "pread", read)
    counted = wal._pages(descriptor, before)
    assert len(reads) <= 10  # without the earlier count, 14
    assert before < counted == pages_in(log(path))
    os.close(descriptor)
    db.close()
