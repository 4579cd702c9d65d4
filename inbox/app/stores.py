"""Which database the configuration asks for."""

from __future__ import annotations

from inbox.app.config import Config
from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.store.ports import Database


def make_database(config: Config, clock: Clock, ids: Ids) -> Database:
    """The database, not yet opened."""
    from inbox.store.sqlite import SqliteDatabase

    return SqliteDatabase(config.sqlite_path, clock, ids)
