"""The process that files what arrives at a server (:mod:`inbox.store.frames`); messages are MessagePack.

Its commits are those of the server: the same lock, the same look at the files, synced before the answer.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from inbox.base.errors import InboxError, NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.store.frames import serve
from inbox.store.records import Arrival, Placed
from inbox.store.sqlite.commit import Committer, Identity, Job
from inbox.store.sqlite.filing import file_arrival


class Failed(msgspec.Struct, array_like=True, tag=True):
    """Nothing was written of an arrival: the kind of the error, its text for the log."""

    kind: str
    text: str


class Done(msgspec.Struct, array_like=True, tag=True):
    """Where the copies went."""

    placed: list[list[Placed]]


Answer = list[Failed | Done]
#: What the peer is told depends on the kind.
KINDS: dict[str, type[StoreError]] = {kind.__name__: kind for kind in (NotFound, StorageFull, StoreUnavailable)}


class Filing:
    """Files batches. The database is opened with the first one, and after a failure with the next.

    Args:
        identity: the files that the server has open; others are not written to.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path = path
        self._identity = identity
        self._committer: Committer | None = None

    def file(self, arrivals: list[Arrival]) -> Answer:
        """Each arrival's outcome, durable."""
        jobs = [Job(partial(_filed, arrival)) for arrival in arrivals]
        try:
            self._opened().commit(jobs)
        except InboxError as error:
            return [_failed(error)] * len(jobs)
        return [Done(job.result or []) if job.error is None else _failed(job.error) for job in jobs]

    def _opened(self) -> Committer:
        if self._committer is None:
            made = Committer(self._path)
            try:
                made.open(lambda _connection: None, self._identity)
            except InboxError:
                made.close()
                raise
            self._committer = made
        return self._committer

    def close(self) -> None:
        if self._committer is not None:
            self._committer.close()


def _filed(arrival: Arrival, db: sqlite3.Connection) -> list[list[Placed]]:
    return file_arrival(db, arrival)


def _failed(error: BaseException) -> Failed:
    if isinstance(error, InboxError):
        kind = next((name for name, each in KINDS.items() if isinstance(error, each)), "")
        return Failed(kind, str(error))
    return Failed("", f"{type(error).__name__}: {error}")


def main(path: str, *identity: str) -> None:
    """Files batches until the input ends."""
    filing = Filing(Path(path), tuple(map(int, identity)))
    decode: Any = msgspec.msgpack.Decoder(list[Arrival]).decode
    serve(lambda message: msgspec.msgpack.encode(filing.file(decode(message))))
    filing.close()
