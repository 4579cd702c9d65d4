"""The metrics of a server over a real database, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.app.serve.metrics import ServerMetrics, queue_families
from inbox.base.errors import StoreUnavailable
from inbox.base.metrics import rendered
from inbox.store.ports.queue import QueueCount
from tests.support.flow import World, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def text(here: World, metrics: ServerMetrics) -> list[str]:
    return rendered(await metrics.families({"smtp": 3}, 5.0, 0)).splitlines()


async def test_database_queue_and_connections(here: World) -> None:
    shown = await text(here, ServerMetrics(here.installation, here.parts, primary=True))
    assert "inbox_database_up 1" in shown
    assert 'inbox_connections{listener="smtp"} 3' in shown
    assert "# TYPE inbox_queue_jobs gauge" in shown
    other = await text(here, ServerMetrics(here.installation, here.parts, primary=False))
    assert not [line for line in other if "database" in line or "queue" in line], "process 0 speaks for all"


async def test_a_database_that_is_gone_is_a_metric(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(here.installation.database, "ping", gone)
    monkeypatch.setattr(type(here.installation.database.queue), "count", gone)
    shown = await text(here, ServerMetrics(here.installation, here.parts, primary=True))
    assert "inbox_database_up 0" in shown
    assert not [line for line in shown if "inbox_queue" in line]


async def test_the_queue_is_counted_once_for_several_requests(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def count(*_: object) -> list[QueueCount]:
        nonlocal calls
        calls += 1
        return []

    monkeypatch.setattr(type(here.installation.database.queue), "count", count)
    metrics = ServerMetrics(here.installation, here.parts, primary=True)
    for _ in range(3):
        await text(here, metrics)
    assert calls == 1


def test_depth_and_age_name_no_tenant() -> None:
    counts = [
        QueueCount("acme", "x.test", "bulk", 2, 1, 0, 3, 40.0),
        QueueCount("umbra", "y.test", "bulk", 5, 0, 1, 0, 10.0),
        QueueCount("umbra", "y.test", "dsn", 1, 0, 0, 0, 90.0),
    ]
    shown = rendered(queue_families(counts, 100.0))
    assert 'inbox_queue_jobs{class="bulk",state="queued"} 7\n' in shown
    assert 'inbox_queue_jobs{class="bulk",state="held"} 1\n' in shown
    assert 'inbox_queue_oldest_seconds{class="bulk"} 90\n' in shown
    assert 'inbox_queue_oldest_seconds{class="dsn"} 10\n' in shown
    for name in ("acme", "umbra", "x.test"):
        assert name not in shown
