"""Writes batches of requests into one database and one directory of blobs.

Commits work as in a server: with the same lock and the same check of the files, synced before the response.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from inbox.base.errors import InboxError, StoreUnavailable
from inbox.mail.content import Content, MemoryContent
from inbox.store.blobs.files import Files, Piece
from inbox.store.blobs.keys import components
from inbox.store.blobs.syncing import GroupSync
from inbox.store.indexing import index_message, is_only_queued, queued_message
from inbox.store.packing import pack
from inbox.store.ports.ingest import AcceptedMessage, Indexed
from inbox.store.ports.messages import Placed
from inbox.store.sqlite.commit import Committer, Job
from inbox.store.sqlite.ingest import write_indexed
from inbox.store.sqlite.outcomes import Outcomes, write_outcomes
from inbox.store.worker.protocol import (
    BlobRequest,
    BlobResponse,
    Connect,
    HeldResponse,
    IngestRequest,
    PlacedResponse,
    RecordRequest,
    Request,
    Response,
    WriteRequest,
    error_response,
)


class _Pending:
    """One request of a batch: the blobs and rows to write, and their result."""

    __slots__ = ("bodies", "error", "indexed", "job", "pieces", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.pieces: list[Piece] = []
        self.indexed: Indexed | None = None
        self.bodies: list[bytes] = []
        self.job: Job[Any] | None = None
        self.error: Exception | None = None

    def response(self) -> Response:
        error = self.error if self.job is None else self.job.error
        if error is not None:
            return error_response(error)
        if self.job is None:
            return BlobResponse()
        if isinstance(self.request, RecordRequest):
            return HeldResponse(self.job.result or [])
        return PlacedResponse(self.job.result or [])


class BatchWriter:
    """Writes batches. The first batch opens the database; after a failure, the next one opens it again."""

    def __init__(self, stores: Connect) -> None:
        self._stores = stores
        self._sync = GroupSync()
        self._files = Files(stores.blobs, stores.store, self._sync) if stores.blobs is not None else None
        if self._files is not None:
            self._files.remember_root()
        self._committer: Committer | None = None

    def writes_to(self, stores: Connect) -> bool:
        """Whether it writes to these stores: the same files, and a blob store that has the named identity by now."""
        if self._files is None or msgspec.structs.replace(stores, store=self._stores.store) != self._stores:
            return False
        self._files.remember_root()
        return self._files.identity == stores.store

    def write(self, requests: Sequence[Request]) -> list[Response]:
        """Writes all blobs first, then all rows in one transaction; returns the durable outcome of each request."""
        batch = [self._begun(request) for request in requests]
        pieces = [piece for one in batch if one.error is None for piece in one.pieces]
        if self._files is not None:
            self._files.write(pieces, meanwhile=partial(_index_all, batch))
        else:
            _index_all(batch)
        for one in batch:
            one.error = one.error or next((piece.error for piece in one.pieces if piece.error is not None), None)
            if one.error is None and one.indexed is not None:
                one.job = Job(partial(_write_rows, one.indexed, one.bodies))
            elif isinstance(one.request, RecordRequest):
                one.job = Job(partial(_write_outcomes, one.request.outcomes))
        jobs = [one.job for one in batch if one.job is not None]
        if jobs:
            try:
                self._opened().commit(jobs)
            except InboxError as error:
                for job in jobs:
                    job.error = error
        return [one.response() for one in batch]

    def close(self) -> None:
        """Closes the database and frees what the kernel holds for this writer."""
        self._sync.close()
        if self._committer is not None:
            self._committer.close()

    def _begun(self, request: Request) -> _Pending:
        """Determines the blobs of a request. One that cannot be written fails alone."""
        pending = _Pending(request)
        try:
            match request:
                case BlobRequest(folder, path, data):
                    pending.pieces.append(self._piece(folder, path, MemoryContent(data)))
                case IngestRequest(accepted):
                    pending.pieces += [self._blob(message) for message in accepted.messages]
        except Exception as error:  # noqa: BLE001 - the sender gets the error, whatever it is
            pending.error = error
        return pending

    def _blob(self, message: AcceptedMessage) -> Piece:
        key = message.blob_path
        components(key)  # raises for a key that would escape the directory
        path = f"{self._stores.blobs}/{key}"
        return self._piece(path.rpartition("/")[0], path, message.content)

    def _piece(self, folder: str, path: str, content: Content) -> Piece:
        if self._files is None:
            raise StoreUnavailable("the worker process cannot write blobs: the connection names no directory")
        return Piece(folder, path, content)

    def _opened(self) -> Committer:
        if self._stores.database is None:
            raise StoreUnavailable("the worker process cannot write rows: the connection names no database")
        if self._committer is None:
            made = Committer(Path(self._stores.database))
            try:
                made.open(lambda _connection: None, self._stores.files)
                made.reserve_log()
            except InboxError:
                made.close()
                raise
            self._committer = made
        return self._committer


def _index_all(batch: Sequence[_Pending]) -> None:
    """Indexes messages and packs decision records, while the disk writes the blobs. A message that cannot be parsed
    fails alone, and its unfinished blobs are removed."""
    for pending in batch:
        try:
            match pending.request:
                case WriteRequest(indexed):
                    pending.indexed = indexed
                case IngestRequest(accepted) if pending.error is None:
                    messages = tuple(
                        [
                            queued_message(message) if is_only_queued(message) else index_message(message)
                            for message in accepted.messages
                        ]
                    )
                    pending.indexed = Indexed(messages, accepted.decisions, accepted.key)
            if pending.indexed is not None:
                pending.bodies = [pack(decision.body) for decision in pending.indexed.decisions]
        except Exception as error:  # noqa: BLE001 - the sender gets the error, whatever it is
            pending.error = error
            for piece in pending.pieces:
                piece.error = error
                piece.give_up()


def _write_outcomes(outcomes: Outcomes, db: sqlite3.Connection) -> list[str]:
    return write_outcomes(db, outcomes)


def _write_rows(indexed: Indexed, bodies: Sequence[bytes], db: sqlite3.Connection) -> list[list[Placed]]:
    return write_indexed(db, indexed, bodies)
