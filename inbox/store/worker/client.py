"""Client for the worker process: sends typed requests over a :class:`~inbox.store.worker.link.Link`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import msgspec

from inbox.base.errors import StoreUnavailable
from inbox.store.blobs.files import Files
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.ingest import Accepted, Copy, Indexed
from inbox.store.ports.messages import Placed
from inbox.store.sqlite.outcomes import Outcomes
from inbox.store.texts import clean, clean_or_none
from inbox.store.worker.link import Link
from inbox.store.worker.protocol import (
    BlobRequest,
    BlobResponse,
    Connect,
    ErrorResponse,
    HeldResponse,
    IngestRequest,
    PlacedResponse,
    RecordRequest,
    Response,
    WriteRequest,
    decode_response,
    encode,
    error_of,
)
from inbox.store.worker.starting import Handover


class WorkerClient(Link):
    """Lets the worker process write blobs and rows: requests that arrive while it is busy are its next batch.

    If the process ends or hangs during a request, the outcome is unknown; a retried message is recognised.

    Args:
        files: the directory of the blobs, if the worker writes blobs.
        database: the path and the identity of the database file, if the worker writes rows.
    """

    def __init__(
        self,
        handover: Handover,
        *,
        files: Files | None = None,
        database: Callable[[], tuple[str, tuple[int, ...]]] | None = None,
    ) -> None:
        super().__init__(handover, self._connect_message)
        self._files = files
        self._database = database

    async def remember_store(self) -> None:
        """Records the identity of the blob store while it is known to be the right one: a worker that finds another one
        writes nothing.
        """
        if self._files is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._files.remember_root)

    async def ingest(self, accepted: Accepted) -> list[list[Placed]]:
        """Writes blobs and rows; raises as ``Ingest.accept`` does."""
        try:
            packed = encode(IngestRequest(accepted))
        except UnicodeEncodeError:  # A lone surrogate, which a message between processes cannot contain.
            packed = encode(IngestRequest(_clean(accepted)))
        return _placed(await self._ask(packed))

    async def write(self, indexed: Indexed) -> list[list[Placed]]:
        """``MessageWriter`` of ``inbox.store.ports``.

        Raises:
            UnicodeEncodeError: a string has a lone surrogate; nothing was sent.
        """
        return _placed(await self._ask(encode(WriteRequest(indexed))))

    async def record(self, outcomes: Outcomes) -> list[str]:
        """``Recorder`` of ``inbox.store.sqlite.queue``.

        Raises:
            UnicodeEncodeError: a string has a lone surrogate; nothing was sent.
        """
        response = await self._ask(encode(RecordRequest(outcomes)))
        if isinstance(response, HeldResponse):
            return response.held
        raise _unknown(response)

    async def write_blob(self, folder: str, path: str, data: bytes) -> None:
        """Writes a blob durably.

        Raises:
            StorageFull, StoreUnavailable, StoreError: it was not written.
        """
        response = await self._ask(encode(BlobRequest(folder, path, data)))
        if not isinstance(response, BlobResponse):
            raise _unknown(response)

    def _connect_message(self) -> bytes:
        path, identity = self._database() if self._database is not None else (None, ())
        files = self._files
        blobs, store = (None, b"") if files is None else (files.root, files.identity)
        return encode(Connect(path, identity, blobs, store))

    async def _ask(self, packed: bytes) -> Response:
        try:
            response = decode_response(await self.request(packed))
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"{self} sent an invalid response: {error}") from error
        if isinstance(response, ErrorResponse):
            raise error_of(response)
        return response


@runtime_checkable
class HasWorker(Protocol):
    """A store that may have a worker process."""

    @property
    def worker(self) -> WorkerClient | None:
        """The worker process; None if this store has none."""
        ...


def _placed(response: Response) -> list[list[Placed]]:
    if isinstance(response, PlacedResponse):
        return response.placed
    raise _unknown(response)


def _unknown(response: Response) -> StoreUnavailable:
    return StoreUnavailable(f"the worker process sent a {type(response).__name__}, which does not match the request")


def _clean(accepted: Accepted) -> Accepted:
    """Returns the message with its strings as the database would store them."""
    messages = [
        msgspec.structs.replace(message, copies=tuple([_clean_copy(copy) for copy in message.copies]))
        for message in accepted.messages
    ]
    return Accepted(tuple(messages), tuple([_clean_decision(decision) for decision in accepted.decisions]))


def _clean_copy(copy: Copy) -> Copy:
    keywords = tuple([clean(word) for word in copy.keywords])
    return replace(copy, keywords=keywords, recipient=clean_or_none(copy.recipient), reason=clean_or_none(copy.reason))


def _clean_decision(decision: DecisionRecord) -> DecisionRecord:
    recipients = tuple([clean(recipient) for recipient in decision.recipients])
    return replace(decision, sender=clean(decision.sender), recipients=recipients)
