"""A search reads SurrealDB's indexes, newest first, and a bounded number of records in each statement."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inbox.base.clock import SystemClock
from inbox.store.packing import pack, unpack
from inbox.store.ports.decisions import DecisionFilter, DecisionRecord
from inbox.store.surreal import decisions as module
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import SurrealDatabase
from tests.support.store import IDS, decision
from tests.support.surreal_server import SurrealServer, surreal_server  # noqa: F401 - a fixture

pytestmark = pytest.mark.real


@pytest.fixture
async def database(surreal_server: SurrealServer) -> AsyncIterator[SurrealDatabase]:  # noqa: F811
    database = SurrealDatabase(
        SurrealConfig(surreal_server.url, "tests", IDS.new(), "root", "root", timeout=30), SystemClock(), IDS
    )
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def asked(database: SurrealDatabase, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], int]]:
    """Each SELECT of a search: the statement, its values, and the rows that it returned."""
    seen: list[tuple[str, dict[str, Any], int]] = []
    query = database._gateway.query

    async def counted(sql: str, /, **values: Any) -> list[Any]:
        results = await query(sql, **values)
        if sql.startswith("SELECT"):
            seen.append((sql, values, len(results[0])))
        return results

    monkeypatch.setattr(database.decisions._gateway, "query", counted)
    return seen


async def filled(database: SurrealDatabase, count: int = 400) -> list[DecisionRecord]:
    """Records of a busy tenant and a few of a quiet one, ten a second with a pause of a day in the middle."""
    records = [
        decision(
            "quiet" if n % 100 == 0 else "busy",
            id=f"d{n:05}",
            at=1000.0 + n / 10 + (86_400.0 if n >= count // 2 else 0.0),
            outcome="defer" if n % 50 == 0 else "accept",
            sender=f"s{n}@example.org",
        )
        for n in range(count)
    ]
    await database.decisions.add(records)
    return records


FILTERS: list[dict[str, Any]] = [
    {},
    {"tenant": "busy"},
    {"tenant": "quiet"},
    {"tenant": "nobody"},
    {"tenant": "busy", "outcome": "defer"},
    {"outcome": "defer"},
    {"sender": "S3"},
    {"recipient": "EVE@"},
    {"recipient": "nobody"},
    {"since": 1010.0},
    {"tenant": "busy", "since": 87_410.0},
    {"tenant": "quiet", "since": 90_000.0},
]


@pytest.mark.parametrize("wanted", FILTERS)
@pytest.mark.parametrize("limit", [5, 1000])
async def test_windows_find_what_one_look_would_find(
    database: SurrealDatabase,
    asked: list[tuple[str, dict[str, Any], int]],
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, Any],
    limit: int,
) -> None:
    records = await filled(database)
    monkeypatch.setattr(module, "PAGE", 20)

    def matches(record: DecisionRecord) -> bool:
        return (
            wanted.get("tenant") in (None, record.tenant)
            and wanted.get("outcome") in (None, record.outcome)
            and wanted.get("sender", "").lower() in record.sender
            and wanted.get("recipient", "").lower() in " ".join(record.recipients)
            and record.at >= wanted.get("since", 0.0)
        )

    expected = [record for record in reversed(records) if matches(record)]
    asked.clear()
    assert await database.decisions.search(DecisionFilter(**wanted), limit) == expected[:limit]
    assert max(rows for _, _, rows in asked) <= 20, "no statement looks at more"
    # (EXPLAIN asks through the same gateway.)
    for sql, values, _ in list(asked):
        explained = await plan(database, sql, values)
        assert access_of(explained), explained


async def plan(database: SurrealDatabase, sql: str, values: dict[str, Any]) -> str:
    (explained,) = await database._gateway.query(f"EXPLAIN {sql}", **values)
    return str(explained)


def access_of(explained: str) -> bool:
    """Whether it reads along an index, or the newest record of the table."""
    if "index: decision_at, access: >=" in explained or "index: decision_tenant, access: [" in explained:
        return True
    return "direction: Backward, limit: 1]" in explained


async def test_the_newest_of_very_many_are_found_in_few_statements(
    database: SurrealDatabase, asked: list[tuple[str, dict[str, Any], int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = await filled(database, 2000)
    monkeypatch.setattr(module, "PAGE", 200)
    asked.clear()
    newest = [record for record in reversed(records) if record.tenant == "busy"]
    assert await database.decisions.search(DecisionFilter("busy"), 20) == newest[:20]
    assert sum(rows for _, _, rows in asked) < 2000
    asked.clear()
    assert len(await database.decisions.search(DecisionFilter("quiet"), 50)) == 20
    assert len(asked) == 2


async def test_very_many_of_one_moment_are_found(database: SurrealDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 10)
    await database.decisions.add([decision("t", at=1e300 if n % 2 else 5.0) for n in range(60)])
    assert len(await database.decisions.search(DecisionFilter("t"), 100)) == 60


@pytest.mark.parametrize(("count", "threads"), [(module.THREAD_FROM - 1, 0), (module.THREAD_FROM, 1)])
async def test_many_records_are_compressed_by_a_thread(
    monkeypatch: pytest.MonkeyPatch, count: int, threads: int
) -> None:
    here, seen = threading.get_ident(), list[int]()

    def packed(body: bytes) -> bytes:
        seen.append(threading.get_ident())
        return pack(body)

    monkeypatch.setattr(module, "pack", packed)
    records = [decision("t", body=b"{%d}" % n) for n in range(count)]
    made = await module.packed(records)
    assert [unpack(one.body) for one in made] == [one.body for one in records]
    assert len({one for one in seen if one != here}) == threads


async def test_a_body_is_kept_compressed_and_damage_hides_no_other_record(database: SurrealDatabase) -> None:
    body = b'{"id":"d","at":1.0,"outcome":"accept","stages":[{"stage":"data","total":0.0}]}'
    records = [decision("t1", id=f"d{n}", at=float(n), body=body) for n in range(3)]
    await database.decisions.add(records)
    (stored,) = await database._gateway.query("SELECT VALUE body FROM decision")
    assert {(one[:1], len(one) < len(body)) for one in stored} == {(b"\x01", True)}
    await database._gateway.query("UPDATE decision:['d1', 't1'] SET body = <bytes>'x'")
    await database._gateway.query("UPDATE decision:['d0', 't1'] SET body = $plain", plain=body)
    found = await database.decisions.search(DecisionFilter())
    assert [(one.id, one.body == body) for one in found] == [("d2", True), ("d1", False), ("d0", True)]
