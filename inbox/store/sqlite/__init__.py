"""The embedded database: SQLite in WAL mode, one file, nothing to set up."""

from inbox.store.sqlite.database import SqliteDatabase

__all__ = ["SqliteDatabase"]
