"""What one installation has: its configuration, its database, its blobs. The server and the commands open the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from inbox.app.config import Config
from inbox.app.executors import Executors
from inbox.app.stores import make_blobs, make_database
from inbox.base.clock import Clock, SystemClock
from inbox.base.ids import Ids, RandomIds
from inbox.store.ports import Blobs, Database


@dataclass(frozen=True, slots=True)
class Installation:
    """Opened stores and the sources of time, identity and threads."""

    config: Config
    clock: Clock
    ids: Ids
    database: Database
    blobs: Blobs
    executors: Executors


@asynccontextmanager
async def opened(config: Config, *, serving: bool = False) -> AsyncIterator[Installation]:
    """An installation with its stores open; ``serving``: for a server.

    Raises:
        StoreUnavailable, StoreError: a store cannot be opened.
    """
    clock = SystemClock()
    ids = RandomIds(clock.now)
    database = make_database(config, clock, ids)
    blobs = make_blobs(config, serving=serving)
    executors = Executors()
    await database.open()
    try:
        await blobs.open()
        try:
            yield Installation(config, clock, ids, database, blobs, executors)
        finally:
            await blobs.close()
    finally:
        await database.close()
        executors.close()
