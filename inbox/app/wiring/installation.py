"""An installation: configuration, database and blobs. The server and the commands open it in the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from inbox.app.config.loading import Config
from inbox.app.serve.executors import Executors
from inbox.app.wiring.stores import make_stores, places
from inbox.base.clock import Clock, SystemClock
from inbox.base.ids import Ids, RandomIds
from inbox.flow.webhooks.events import WebhookEvents
from inbox.store.guarded import GuardedBlobs, GuardedIngest, Pairing
from inbox.store.pairing import admit, establish
from inbox.store.ports import Blobs, Database, Ingest
from inbox.store.worker.client import WorkerClient


@dataclass(frozen=True, slots=True)
class Installation:
    """Opened stores and the sources of time, identity and threads."""

    config: Config
    clock: Clock
    ids: Ids
    database: Database
    blobs: Blobs
    ingest: Ingest
    pairing: Pairing
    worker: WorkerClient | None
    executors: Executors
    webhook_events: WebhookEvents


@asynccontextmanager
async def opened(config: Config, *, serving: bool = False, worker: int | None = None) -> AsyncIterator[Installation]:
    """An installation with its stores open; see :func:`inbox.app.wiring.stores.make_stores`.

    Raises:
        WrongStore: database and blob store do not belong together.
        StoreUnavailable, StoreError: a store cannot be opened.
    """
    clock = SystemClock()
    ids = RandomIds(clock.now)
    stores = make_stores(config, clock, ids, serving=serving, worker=worker)
    database, blobs = stores.database, stores.blobs
    executors = Executors(shares_cores=worker is not None)
    await database.open()
    try:
        await blobs.open()
        try:
            where = places(config)
            if serving:
                identity = await establish(database, blobs, ids, where)
            else:
                identity = await admit(database, blobs, where)
            pairing = Pairing(database, blobs, identity, where)
            if stores.worker is not None:
                await stores.worker.remember_store()
            guarded = GuardedBlobs(blobs, pairing)
            ingest = GuardedIngest(database.ingest(guarded, executors), pairing)
            events = WebhookEvents(database.webhooks, clock, structlog.get_logger("inbox.webhooks"))
            yield Installation(config, clock, ids, database, guarded, ingest, pairing, stores.worker, executors, events)
        finally:
            await blobs.close()
    finally:
        await database.close()
        executors.close()
