"""The write-ahead log that is made as long as it will grow."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.store.sqlite import commit
from inbox.store.sqlite.commit import Committer, Job
from inbox.store.sqlite.wal import LOG_OCTETS


def create_table(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE word (word TEXT)")


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    committer = Committer(tmp_path / "words.db")
    committer.open(create_table)
    yield committer
    committer.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "words.db-wal"


def add(committer: Committer, word: str) -> None:
    def insert(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO word VALUES (?)", (word,))

    job: Job[None] = Job(insert)
    committer.commit([job])
    assert job.error is None


def after_a_crash(tmp_path: Path) -> list[str]:
    """The rows that a new process finds in the files now, without using the open connection."""
    for name in ("words.db", "words.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"crashed-{name}")
    (tmp_path / "crashed-words.db-wal").rename(tmp_path / "crashed.db-wal")
    (tmp_path / "crashed-words.db").rename(tmp_path / "crashed.db")
    with sqlite3.connect(tmp_path / "crashed.db") as db:
        words = [word for (word,) in db.execute("SELECT word FROM word ORDER BY rowid")]
    db.close()
    return words


def test_the_log_keeps_its_frames_and_takes_new_ones(committer: Committer, log: Path, tmp_path: Path) -> None:
    add(committer, "before")
    committer.reserve_log()
    assert log.stat().st_size == LOG_OCTETS
    assert after_a_crash(tmp_path) == ["before"]
    add(committer, "after")
    assert log.stat().st_size == LOG_OCTETS
    assert after_a_crash(tmp_path) == ["before", "after"]


def test_once_is_enough(committer: Committer, log: Path) -> None:
    for _ in range(2):
        committer.reserve_log()
        assert log.stat().st_size == LOG_OCTETS


def test_a_log_that_is_longer_stays_so(committer: Committer, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committer.reserve_log()
    monkeypatch.setattr(commit, "LOG_OCTETS", 1000)
    committer.reserve_log()
    assert log.stat().st_size == LOG_OCTETS


def test_where_room_is_scarce_it_is_left_to_mail(
    committer: Committer, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = log.stat().st_size
    monkeypatch.setattr(commit, "LOG_ROOM", 1 << 40)
    committer.reserve_log()
    assert log.stat().st_size == before


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EDQUOT, False), (errno.ENOSPC, False), (errno.EFBIG, False), (errno.EIO, True)]
)
def test_a_log_that_cannot_be_made_longer_stays_as_it_was(
    committer: Committer, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    add(committer, "before")
    before, real, writes = log.stat().st_size, os.pwrite, list[int]()

    def failing(descriptor: int, data: bytes, place: int) -> int:
        writes.append(place)
        if len(writes) > 2:
            raise OSError(number, os.strerror(number))
        return real(descriptor, data, place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing)
        if told:
            with pytest.raises(StoreUnavailable):
                committer.reserve_log()
        else:
            committer.reserve_log()
    assert len(writes) == 3
    assert log.stat().st_size == before
    add(committer, "after")
    assert after_a_crash(tmp_path) == ["before", "after"]


def test_a_log_that_is_another_s_is_not_touched(committer: Committer, log: Path) -> None:
    log.rename(log.with_name("away"))
    log.write_bytes(b"another's")
    with pytest.raises(StoreUnavailable, match="was replaced"):
        committer.reserve_log()
    assert log.read_bytes() == b"another's"


def test_it_waits_for_its_turn(committer: Committer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, taken = os.statvfs, list[bool]()

    def looked(path: Path) -> os.statvfs_result:
        with (tmp_path / "words.db.lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                taken.append(True)
        return real(path)

    monkeypatch.setattr(os, "statvfs", looked)
    committer.reserve_log()
    assert taken == [True]


def test_a_turn_that_cannot_be_had_is_an_error_of_every_caller(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    jobs: list[Job[None]] = [Job(lambda _db: None) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        committer.commit(jobs)
    assert all(isinstance(job.error, StoreUnavailable) for job in jobs)


def test_a_file_that_is_not_ours_to_change_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "chmod", refuse)
    committer = Committer(tmp_path / "words.db")
    with pytest.raises(StoreUnavailable, match="not permitted"):
        committer.open(lambda _db: None)
    committer.close()


@pytest.mark.parametrize("zeros", [0, 1, 24, 4096, 4120, 4121, 3 * 4120])
@pytest.mark.parametrize("torn", [0, 1, 24, 25, 4119])
def test_the_power_goes_while_it_is_made_longer(
    committer: Committer, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zeros: int, torn: int
) -> None:
    """The disk has some of the zeros, behind as much as it has of a transaction that was not acknowledged."""
    monkeypatch.setattr(commit, "LOG_OCTETS", 1 << 18)
    for word in ("0", "1", "2"):
        add(committer, word)
    kept = log.stat().st_size
    add(committer, "not acknowledged")
    folder = tmp_path / "next"
    folder.mkdir()
    shutil.copy(tmp_path / "words.db", folder)
    (folder / log.name).write_bytes(log.read_bytes()[: kept + torn] + bytes(zeros))
    successor = Committer(folder / "words.db")
    successor.open(lambda _db: None)
    successor.reserve_log()
    assert after_a_crash(folder) == ["0", "1", "2"]
    add(successor, "after")
    assert after_a_crash(folder) == ["0", "1", "2", "after"]
    successor.close()


def test_another_program_waits_until_it_is_longer(
    committer: Committer, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows SQLite's locks, and not ours; and it shortens the log."""
    monkeypatch.setattr(commit, "LOG_OCTETS", 1 << 18)
    other = sqlite3.connect(tmp_path / "words.db", isolation_level=None, timeout=0)
    refused, read, real = list[str](), list[int](), os.pwrite

    def writes(descriptor: int, data: bytes, place: int) -> int:
        with pytest.raises(sqlite3.OperationalError) as error:
            other.execute("INSERT INTO word VALUES ('meanwhile')")
        refused.append(str(error.value))
        # Nor does a checkpoint cut the log off: it says that it was busy.
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 1
        read.append(other.execute("SELECT count(*) FROM word").fetchone()[0])
        return real(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", writes)
    words: list[str] = []
    for number in range(3):
        words += [f"ours {number}", f"another's {number}"]
        add(committer, words[-2])
        committer.reserve_log()
        assert log.stat().st_size == 1 << 18
        other.execute("INSERT INTO word VALUES (?)", (words[-1],))
        assert after_a_crash(tmp_path) == words
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        assert log.stat().st_size == 0
        assert after_a_crash(tmp_path) == words
    other.close()
    assert refused == ["database is locked"] * 3
    assert read == [1, 3, 5]


def busy_timeout(committer: Committer) -> int:
    """The milliseconds for which a transaction of this committer waits for a lock."""
    job: Job[int] = Job(lambda db: int(db.execute("PRAGMA busy_timeout").fetchone()[0]))
    committer.commit([job])
    assert job.result is not None, job.error
    return job.result


def test_only_the_first_write_waits_long_for_another_program(
    committer: Committer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "LOCKED_SECONDS", 0.02)
    monkeypatch.setattr(commit, "BUSY_SECONDS", 0.05)
    assert busy_timeout(committer) == 50
    with closing(sqlite3.connect(tmp_path / "words.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            job: Job[None] = Job(lambda db: None)
            committer.commit([job])
            assert isinstance(job.error, StoreUnavailable)
    assert [busy_timeout(committer), busy_timeout(committer)] == [20, 50]


def test_the_wait_for_a_turn_counts(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process before this one waited for the lock of another program."""
    times = iter([0.0, 2.0, 2.0, 2.5])
    monkeypatch.setattr("inbox.store.sqlite.commit.monotonic", lambda: next(times))
    assert [busy_timeout(committer), busy_timeout(committer)] == [1000, 10_000]
