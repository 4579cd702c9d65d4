"""Polls for changes that other processes made to SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.changes import QUEUE
from inbox.store.sqlite.changes import POLL_SECONDS, QUEUE_POLL_SECONDS
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize("watched", [[QUEUE], ["m1"], [QUEUE, "m1"]])
async def test_an_idle_worker_polls_less_often_than_sessions_that_wait_for_mail(
    database: SqliteDatabase, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: asyncio.Queue[float] = asyncio.Queue()
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            pauses.put_nowait(seconds)
        await real(0)

    monkeypatch.setattr("inbox.store.sqlite.changes.asyncio.sleep", sleep)
    subscription = database.changes.subscribe(watched)
    try:
        async with asyncio.timeout(10):
            pause = await pauses.get()
    finally:
        subscription.close()
    assert pause == (QUEUE_POLL_SECONDS if watched == [QUEUE] else POLL_SECONDS)
