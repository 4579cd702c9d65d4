"""Counting the queue: counters that triggers keep, so that a long queue is not read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.store.sqlite import queue
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS

MIGRATIONS = Path(queue.__file__).parent / "migrations"
COUNTERS = 19
#: Adds jobs :first to :last, of three domains and two classes, in every state.
ADD = """
    WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)
    INSERT INTO outbound_queue (
        job_id, org_id, payload, sender, sender_domain, recipients, domain, class, created_at, status, hold_reason,
        priority, lane, expires_at, not_before, body, smtputf8, require_tls, decision, door, prepended, ready,
        next_attempt_at
    ) SELECT printf('j%08d', i), 't', 'mail', '', '', '[]', printf('d%d.test', i % 3), iif(i % 2, 'bulk', 'normal'),
        100 + i,
        iif(i % 5 = 1, 'processing', iif(i % 5 = 2, 'dead', 'queued')), iif(i % 7 = 3, 'why not', NULL),
        0, 0, 900, 0, '7BIT', 0, 0, '', 'smtp', x'', 0, 0 FROM n"""


def migrated(path: Path, up_to: int) -> sqlite3.Connection:
    """A database with the schema of a version, and a tenant."""
    connection = sqlite3.connect(path, isolation_level=None)
    for script in sorted(MIGRATIONS.glob("*.sql"), key=lambda each: int(each.stem)):
        if int(script.stem) <= up_to:
            connection.executescript(f"{script.read_text()}\nPRAGMA user_version={int(script.stem)};")
    connection.execute("INSERT INTO organization (id, name, created_at) VALUES ('t', 'Acme', 0)")
    return connection


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = migrated(tmp_path / "inbox.db", 9999)
    yield connection
    connection.close()


def counted(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute(queue._COUNT.format(where="")).fetchall()


def recounted(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    """The same numbers from the jobs themselves."""
    return connection.execute(
        "SELECT org_id, domain, class, sum(status = 'queued' AND hold_reason IS NULL), "
        "sum(status = 'processing' AND hold_reason IS NULL), sum(status <> 'dead' AND hold_reason IS NOT NULL), "
        "sum(status = 'dead'), ifnull(min(iif(status <> 'dead', created_at, NULL)), 0.0) FROM outbound_queue "
        "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    ).fetchall()


def steps(connection: sqlite3.Connection, sql: str, *values: object) -> int:
    """The instructions of SQLite's virtual machine that a statement takes."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    connection.set_progress_handler(step, 1)
    connection.execute(sql, values).fetchall()
    connection.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize(
    ("sql", "values"),
    [(queue._COUNT.format(where=""), ()), (queue._PENDING, ("t", 1_000_000))],
    ids=["count", "pending"],
)
def test_counting_takes_as_long_for_many_jobs_as_for_few(
    connection: sqlite3.Connection, sql: str, values: tuple[object, ...]
) -> None:
    connection.execute(ADD, {"first": 1, "last": 60})
    few = steps(connection, sql, *values)
    connection.execute(ADD, {"first": 61, "last": 6000})
    assert connection.execute("SELECT sum(queued + processing + held + dead) FROM outbound_count").fetchone() == (6000,)
    assert steps(connection, sql, *values) == few


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE outbound_queue SET status = 'dead'",
        "UPDATE outbound_queue SET status = 'queued'",
        "UPDATE outbound_queue SET status = 'processing', ready = 0 WHERE hold_reason IS NULL",
        "UPDATE outbound_queue SET hold_reason = 'other'",
        "UPDATE outbound_queue SET hold_reason = NULL, status = 'queued' WHERE domain = 'd1.test'",
        "UPDATE outbound_queue SET attempts = attempts + 1",
        "DELETE FROM outbound_queue WHERE domain = 'd0.test' OR created_at < 130",
        "DELETE FROM outbound_queue",
    ],
)
def test_counters_follow_every_change(connection: sqlite3.Connection, change: str) -> None:
    connection.execute(ADD, {"first": 1, "last": 200})
    before = counted(connection)
    assert before == recounted(connection)
    assert len(before) == 6
    connection.execute(change)
    assert counted(connection) == recounted(connection)


def test_a_transaction_that_is_rolled_back_counts_nothing(connection: sqlite3.Connection) -> None:
    connection.execute(ADD, {"first": 1, "last": 20})
    before = counted(connection)
    connection.execute("BEGIN")
    connection.execute("DELETE FROM outbound_queue")
    connection.execute("ROLLBACK")
    assert counted(connection) == before


async def test_jobs_of_an_earlier_version_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    connection = migrated(path, COUNTERS - 1)
    connection.execute(ADD, {"first": 1, "last": 50})
    connection.close()
    clock = FakeClock()
    database = SqliteDatabase(path, clock, IDS)
    await database.open()
    try:
        found = await database.queue.count("t")
        assert sum(one.queued + one.processing + one.held + one.dead for one in found) == 50
        assert await database.queue.pending("t", 1000) == 50 - sum(one.dead for one in found)
        assert await database.queue.pending("t", 7) == 7
        assert await database.queue.count("other") == []
        assert await database.queue.pending("other", 7) == 0
    finally:
        await database.close()
