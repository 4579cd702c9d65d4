"""Embedded database: SQLite in WAL mode, one file, no setup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inbox.store.sqlite.database import SqliteDatabase

__all__ = ["SqliteDatabase"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the worker process that writes mail needs neither an event loop nor the other repositories.
    if name == "SqliteDatabase":
        from inbox.store.sqlite.database import SqliteDatabase

        return SqliteDatabase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
