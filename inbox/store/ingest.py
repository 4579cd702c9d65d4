"""The two ways in which accepted mail becomes durable.

:class:`BlobsFirst` works with every blob store and database. :class:`ThroughWorker` passes small messages to the worker
process, which writes the blobs and rows of many messages together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from inbox.store.bus import Bus
from inbox.store.indexing import index_message, is_cheap
from inbox.store.ports import Blobs
from inbox.store.ports.ingest import (
    Accepted,
    AcceptedMessage,
    Indexed,
    IndexedMessage,
    Ingest,
    MessageWriter,
    RunBlocking,
)
from inbox.store.ports.messages import Placed
from inbox.store.room import Room
from inbox.store.worker.protocol import WORKER_OCTETS


class BlobsFirst:
    """``Ingest`` for any stores: writes blobs first, then one transaction.

    A crash between the two leaves a blob that no message refers to; the sweeper removes it later.

    Args:
        run_blocking: indexes messages that would block the event loop.
    """

    def __init__(self, blobs: Blobs, writer: MessageWriter, run_blocking: RunBlocking) -> None:
        self._blobs = blobs
        self._writer = writer
        self._run_blocking = run_blocking

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        messages = accepted.messages
        if len(messages) == 1:
            indexed = [await self._put(messages[0])]
        else:
            indexed = list(await asyncio.gather(*(self._put(message) for message in messages)))
        return await self._writer.write(Indexed(tuple(indexed), accepted.decisions, accepted.key))

    async def _put(self, message: AcceptedMessage) -> IndexedMessage:
        # The disk syncs while the message is indexed.
        putting = asyncio.ensure_future(self._blobs.put(message.blob_path, message.content))
        try:
            if is_cheap(message.content):
                indexed = index_message(message)
            else:
                indexed = await self._run_blocking("index", index_message, message)
        except BaseException:
            putting.cancel()
            raise
        await putting
        return indexed


class WorkerIngest(Protocol):
    """The part of the worker's client that :class:`ThroughWorker` uses."""

    async def ingest(self, accepted: Accepted) -> list[list[Placed]]:
        """Writes messages and raises as ``Ingest.accept`` does."""
        ...


class ThroughWorker:
    """``Ingest`` that lets the worker process write small messages, and passes on the rest.

    Args:
        others: takes messages that are large or expensive to index, because they would delay the worker, which writes
            for all connections.
        changes: receives the mailboxes that changed.
        rooms: of the file systems of database and blobs; they refuse mail before a disk is full.
    """

    def __init__(self, worker: WorkerIngest, others: Ingest, changes: Bus, rooms: Sequence[Room]) -> None:
        self._worker = worker
        self._others = others
        self._changes = changes
        self._rooms = rooms

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        octets = sum([message.content.size for message in accepted.messages])
        if octets > WORKER_OCTETS or not all(is_cheap(message.content) for message in accepted.messages):
            return await self._others.accept(accepted)
        for room in self._rooms:
            room.check(octets)
        placed = await self._worker.ingest(accepted)
        self._changes.publish_written(accepted.messages, placed)
        return placed
