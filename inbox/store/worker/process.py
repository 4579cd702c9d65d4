"""Worker process that writes small messages for all server processes of a machine.

:mod:`inbox.store.worker.starting` runs ``main`` in a separate process.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

import msgspec

from inbox.base.errors import StoreUnavailable
from inbox.store.worker.batch import BatchWriter
from inbox.store.worker.protocol import Connect, Request, decode_connect, decode_request, encode, error_response
from inbox.store.worker.serving import serve


class Worker:
    """``Service`` of :mod:`inbox.store.worker.serving`; connections for the same stores share a batch."""

    def __init__(self) -> None:
        self._writers: dict[Connect, BatchWriter] = {}

    def connect(self, message: bytes) -> BatchWriter:
        try:
            stores = decode_connect(message)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(
                f"the worker process has another version of inbox: restart inbox ({error})"
            ) from error
        writer = self._writers.get(stores)
        if writer is None:
            # Of a new installation, the first server connects before the blob store has its identity, and the others
            # later. Two writers would commit half as much at once, and invalidate each other's cache with each commit.
            same = (each for each in self._writers.values() if each.writes_to(stores))
            writer = self._writers[stores] = next(same, None) or BatchWriter(stores)
        return writer

    def respond(self, requests: Sequence[tuple[BatchWriter, bytes]]) -> list[bytes]:
        """Returns one response to each request."""
        responses: list[bytes] = [b""] * len(requests)
        batches: dict[BatchWriter, list[tuple[int, Request]]] = {}
        for place, (writer, message) in enumerate(requests):
            try:
                request = decode_request(message)
            except msgspec.DecodeError as error:  # Only its sender has another version of this program.
                responses[place] = encode(error_response(error))
            else:
                batches.setdefault(writer, []).append((place, request))
        for writer, batch in batches.items():
            for (place, _), response in zip(batch, writer.write([request for _, request in batch]), strict=True):
                responses[place] = encode(response)
        return responses

    def close(self) -> None:
        """Closes the databases."""
        for writer in set(self._writers.values()):
            writer.close()


def main() -> None:
    """Runs until no process can send requests any more."""
    # What exists now lives until the end: the collector need not scan it again and again.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    worker = Worker()
    serve(worker)
    worker.close()
