"""The process that files what arrives on a machine (:mod:`inbox.store.worker.protocol`); messages are MessagePack.

Its commits are those of a server: the same lock, the same look at the files, synced before the answer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from inbox.base.errors import InboxError, NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.store.blobs.files import Files, Piece
from inbox.store.blobs.keys import components
from inbox.store.packing import pack
from inbox.store.records import Arrival, Filing, Placed
from inbox.store.sqlite.commit import Committer, Identity, Job
from inbox.store.sqlite.filing import file_arrival
from inbox.store.texts import clean
from inbox.store.worker.deposits import Deposit, Parcel, filing_of
from inbox.store.worker.protocol import serve


class Opening(msgspec.Struct, frozen=True, array_like=True):
    """What a connection is about: a database, the files that its server has open, the directory of its blobs, and what
    the identity file there says, if that is known."""

    path: str
    identity: Identity
    blobs: str | None = None
    store: bytes = b""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An arrival whose blobs are durable."""

    arrival: Arrival


Question = Deposit | Ready


class Failed(msgspec.Struct, array_like=True, tag=True):
    """Nothing was filed: the kind of the error, its text for the log."""

    kind: str
    text: str


class Done(msgspec.Struct, array_like=True, tag=True):
    """Where the copies went."""

    placed: list[list[Placed]]


Answer = Failed | Done
#: What the peer is told depends on the kind.
KINDS: Final[Mapping[str, type[StoreError]]] = {
    kind.__name__: kind for kind in (NotFound, StorageFull, StoreUnavailable)
}


class _Task:
    """One question on its way."""

    __slots__ = ("arrival", "bodies", "error", "job", "pieces")

    def __init__(self) -> None:
        self.arrival = Arrival()
        self.bodies: list[bytes] = []
        self.pieces: list[Piece] = []
        self.error: Exception | None = None
        self.job: Job[list[list[Placed]]] | None = None


class Books:
    """Files batches. The database is opened with the first one, and after a failure with the next."""

    def __init__(self, opening: Opening) -> None:
        self._path = Path(opening.path)
        self._identity = opening.identity
        self._blobs = opening.blobs
        self._files = Files(opening.blobs, opening.store) if opening.blobs is not None else None
        if self._files is not None:
            self._files.remember_root()
        self._committer: Committer | None = None

    def file(self, questions: Sequence[Question]) -> list[Answer]:
        """Each question's outcome, durable."""
        tasks = [self._begun(question) for question in questions]
        if self._files is not None:
            self._files.write([piece for task in tasks if task.error is None for piece in task.pieces])
        for task in tasks:
            task.error = task.error or next((piece.error for piece in task.pieces if piece.error is not None), None)
            if task.error is None:
                task.job = Job(partial(_filed, task.arrival, task.bodies))
        jobs = [task.job for task in tasks if task.job is not None]
        if jobs:
            try:
                self._opened().commit(jobs)
            except InboxError as error:
                for job in jobs:
                    job.error = error
        return [_answer(task) for task in tasks]

    def _begun(self, question: Question) -> _Task:
        """Reads what is to be filed; a mail that cannot be read must not fail the others."""
        task = _Task()
        try:
            if isinstance(question, Ready):
                task.arrival = question.arrival
                task.bodies = [pack(decision.body) for decision in question.arrival.decisions]
                return task
            task.bodies = [pack(decision.body) for decision in question.decisions]
            filings = [self._filing(parcel, task) for parcel in question.parcels]
            task.arrival = Arrival(tuple(filings), question.decisions)
        except Exception as error:  # noqa: BLE001  # its caller hears of it, whatever it was
            task.error = error
        return task

    def _filing(self, parcel: Parcel, task: _Task) -> Filing:
        if self._blobs is None:
            raise StoreUnavailable("blobs are not written here")
        key, content = parcel.origin.blob_path, MemoryContent(parcel.content)
        parts = components(key)
        task.pieces.append(Piece("/".join((self._blobs, *parts[:-1])), f"{self._blobs}/{key}", content))
        return filing_of(parcel.origin, content, parcel.copies, recognise=parcel.recognise)

    def _opened(self) -> Committer:
        if self._committer is None:
            made = Committer(self._path)
            try:
                made.open(lambda _connection: None, self._identity)
                made.reserve_log()
            except InboxError:
                made.close()
                raise
            self._committer = made
        return self._committer

    def close(self) -> None:
        if self._committer is not None:
            self._committer.close()


class Filer:
    """Files for all connections; those about the same database share a transaction."""

    def __init__(self) -> None:
        self._books: dict[Opening, Books] = {}
        self._opening: Any = msgspec.msgpack.Decoder(Opening).decode
        self._question: Any = msgspec.msgpack.Decoder(Question).decode

    def open(self, message: bytes) -> Books:
        opening: Opening = self._opening(message)
        if opening not in self._books:
            self._books[opening] = Books(opening)
        return self._books[opening]

    def answer(self, questions: Sequence[tuple[Books, bytes]]) -> list[bytes]:
        """One answer to each."""
        answers: list[bytes] = [b""] * len(questions)
        asked: dict[Books, list[tuple[int, Question]]] = {}
        for place, (books, message) in enumerate(questions):
            try:
                question: Question = self._question(message)
            except msgspec.DecodeError as error:  # Its sender is another version of this program, which is his alone.
                answers[place] = msgspec.msgpack.encode(_failed(error))
            else:
                asked.setdefault(books, []).append((place, question))
        for books, mine in asked.items():
            for (place, _), answer in zip(mine, books.file([question for _, question in mine]), strict=True):
                answers[place] = msgspec.msgpack.encode(answer)
        return answers

    def close(self) -> None:
        """Closes the databases."""
        for books in self._books.values():
            books.close()


def _filed(arrival: Arrival, bodies: Sequence[bytes], db: sqlite3.Connection) -> list[list[Placed]]:
    return file_arrival(db, arrival, bodies)


def _answer(task: _Task) -> Answer:
    error = task.error if task.job is None else task.job.error
    if error is not None:
        return _failed(error)
    assert task.job is not None, "what did not fail before was committed"
    return Done(task.job.result or [])


def _failed(error: BaseException) -> Failed:
    if isinstance(error, InboxError):
        kind = next((name for name, each in KINDS.items() if isinstance(error, each)), "")
        return Failed(kind, clean(str(error)))
    return Failed("", clean(f"{type(error).__name__}: {error}"))


def main() -> None:
    """Files until nobody can ask any more."""
    filer = Filer()
    serve(filer)
    filer.close()
