"""Cheap passwords and databases for the tests of our own code: both cost more than most of these tests."""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path

import pytest

from inbox.identity import passwords
from inbox.store.sqlite.gateway import Gateway

_migrate = Gateway._migrate


@pytest.fixture(autouse=True)
def cheap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes cost little, and a new database is a copy of one that was migrated before. Tests of the parameters and of
    migrations are marked ``costly``."""
    if request.node.get_closest_marker("costly") is None:
        monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
        monkeypatch.setattr(passwords, "PASSES", 1)
        monkeypatch.setattr(Gateway, "_migrate", _copy_or_migrate)


def _copy_or_migrate(self: Gateway, connection: sqlite3.Connection) -> None:
    objects, version = (
        connection.execute(f"SELECT {what}").fetchone()[0]
        for what in ("count(*) FROM sqlite_schema", "user_version FROM pragma_user_version")
    )
    if objects == version == 0:
        _migrated(self._migrations).backup(connection)
    else:
        _migrate(self, connection)


@cache
def _migrated(migrations: Path) -> sqlite3.Connection:
    """A database in memory with the schema of these migrations."""
    # Later copies are made by other threads, one at a time under the interpreter's lock.
    made = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    _migrate(Gateway(Path(":memory:"), migrations), made)
    return made
