"""Database objects of every backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inbox.plugin.api.standins import FakeClock
from inbox.store.ports import Database
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import SurrealDatabase
from inbox.store.worker.starting import OwnWorker
from tests.support.store import IDS


def maker(kind: str, request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Callable[[], Database]:
    """Makes database objects of a kind on one storage."""
    if kind != "surreal":
        outside = kind == "process"
        return lambda: SqliteDatabase(tmp_path / "inbox.db", clock, IDS, worker=OwnWorker() if outside else None)
    url = request.getfixturevalue("surreal_server").url
    config = SurrealConfig(url, "tests", IDS.new(), "root", "root", timeout=30)
    return lambda: SurrealDatabase(config, clock, IDS)
