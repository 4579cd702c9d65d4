"""Decision records are found by an index, newest first, in pages; what older versions wrote stays readable."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.decisions import DecisionFilter
from inbox.store.sqlite import decisions as module
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.sqlite.decisions import PAGE, selection
from tests.support.store import IDS, decision

BODY = b'{"id":"d","at":1.0,"outcome":"accept","stages":[{"stage":"data","total":0.0}]}'
TENANT = "SEARCH decision USING INDEX decision_tenant (tenant=?"
OUTCOME = "SEARCH decision USING INDEX decision_outcome (outcome=?"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def connection(database: SqliteDatabase, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "inbox.db")
    yield connection
    connection.close()


@pytest.mark.parametrize("before", [None, (5.0, "d", "t")])
@pytest.mark.parametrize(
    ("wanted", "search", "upper"),
    [
        ({}, "SCAN decision USING INDEX decision_at", "SEARCH decision USING INDEX decision_at (at<?)"),
        ({"since": 5.0}, "SEARCH decision USING INDEX decision_at (at>?", " AND at<?)"),
        ({"tenant": "t"}, TENANT, " AND at<?)"),
        ({"tenant": "t", "since": 5.0}, f"{TENANT} AND at>?", " AND at<?)"),
        ({"tenant": "t", "outcome": "defer"}, TENANT, " AND at<?)"),
        ({"tenant": "t", "outcome": "defer", "since": 5.0}, f"{TENANT} AND at>?", " AND at<?)"),
        ({"outcome": "defer"}, OUTCOME, " AND at<?)"),
        ({"outcome": "defer", "since": 5.0}, f"{OUTCOME} AND at>?", " AND at<?)"),
    ],
)
def test_every_filter_reads_along_an_index(
    connection: sqlite3.Connection, wanted: dict[str, Any], search: str, upper: str, before: module.Place | None
) -> None:
    sql, values = selection("*", DecisionFilter(**wanted), before)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql} LIMIT 20", values)]
    if before is None:
        assert plan[0].startswith(search), plan
    elif wanted:
        assert plan[0].startswith(search) and plan[0].endswith(upper), plan
    else:
        assert plan[0] == upper, plan
    # Records of the very same moment may have to be sorted by id, never all of them.
    assert set(plan[1:]) <= {
        "USE TEMP B-TREE FOR LAST 2 TERMS OF ORDER BY",
        "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY",
    }


@pytest.mark.parametrize("where", ["id = ?", "id = ? AND tenant = ?"])
def test_a_record_is_found_by_its_id(connection: sqlite3.Connection, where: str) -> None:
    values = ["d"] * where.count("?")
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM decision WHERE {where} ORDER BY tenant", values)
    assert [row[3].split(" (")[0] for row in plan] == ["SEARCH decision USING INDEX sqlite_autoindex_decision_1"]


async def test_compared_columns_are_read_in_pages(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one moment, with one id for two tenants each: no record is skipped where a page ends, or shown twice."""
    monkeypatch.setattr(module, "PAGE", 7)
    records = [
        decision(tenant, id=f"d{n:03}", at=float(n // 20), recipients=("Ann@acme.test" if n % 3 else "bob@acme.test",))
        for n in range(50)
        for tenant in ("t1", "t2")
    ]
    await database.decisions.add(records)
    reads = 0
    read = database._main.read

    async def counted(work: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(work)

    monkeypatch.setattr(database._main, "read", counted)
    wanted = [record for record in reversed(records) if record.recipients[0].startswith("Ann")]
    assert await database.decisions.search(DecisionFilter(recipient="ann@"), 1000) == wanted
    assert reads == 100 // 7 + 1
    reads = 0
    assert await database.decisions.search(DecisionFilter(recipient="ann@"), 3) == wanted[:3]
    assert reads == 1


async def test_nothing_that_matches_ends_with_the_last_page(database: SqliteDatabase) -> None:
    await database.decisions.add([decision("t1", at=float(n)) for n in range(PAGE)])
    assert await database.decisions.search(DecisionFilter(sender="nobody")) == []


async def test_a_body_is_kept_compressed(database: SqliteDatabase, connection: sqlite3.Connection) -> None:
    await database.decisions.add([decision("t1", id="d1", body=BODY)])
    ((stored,),) = connection.execute("SELECT body FROM decision")
    assert stored[:1] == b"\x01"
    assert len(stored) < len(BODY)
    (record,) = await database.decisions.get("d1")
    assert record.body == BODY


async def test_damage_hides_no_other_record(database: SqliteDatabase, connection: sqlite3.Connection) -> None:
    records = [decision("t1", id=f"d{n}", at=float(n), body=BODY) for n in range(4)]
    await database.decisions.add(records)
    connection.execute("UPDATE decision SET body = x'01ff' WHERE id = 'd0'")
    connection.execute("UPDATE decision SET recipients = '[' WHERE id = 'd1'")
    connection.execute("UPDATE decision SET already_filed = x'7b' WHERE id = 'd2'")
    connection.commit()
    found = await database.decisions.search(DecisionFilter())
    assert [(one.id, one.body == BODY, len(one.recipients), one.already_filed) for one in found] == [
        ("d3", True, 2, ()), ("d2", True, 2, ()), ("d1", True, 0, ()), ("d0", False, 2, ()),
    ]  # fmt: skip
    assert [one.id for one in await database.decisions.search(DecisionFilter(recipient="bob"))] == ["d3", "d2", "d0"]


async def test_records_of_an_older_version_stay_as_they_are(tmp_path: Path) -> None:
    path, migrations = tmp_path / "inbox.db", Path(module.__file__).parent / "migrations"
    with sqlite3.connect(path) as connection:
        for number in range(1, 6):
            script = migrations / f"{number:04}.sql"
            connection.executescript(script.read_text() if script.exists() else "")
        connection.execute("PRAGMA user_version=5")
        connection.execute(
            "INSERT INTO decision (id, tenant, at, door, outcome, sender, recipients, peer, body) "
            "VALUES ('d1', 't1', 1.0, 'smtp', 'accept', 'a@b', '[\"c@d\"]', '192.0.2.1', ?)",
            (BODY,),
        )
    connection.close()
    database = SqliteDatabase(path, FakeClock(), IDS)
    await database.open()
    old = decision("t1", id="d1", at=1.0, door="smtp", outcome="accept", sender="a@b", recipients=("c@d",), body=BODY)
    new = decision("t1", id="d2", at=2.0, body=BODY)
    await database.decisions.add([new])
    assert await database.decisions.search(DecisionFilter("t1")) == [new, old]
    await database.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT body FROM decision WHERE id = 'd1'").fetchone() == (BODY,)
    connection.close()
