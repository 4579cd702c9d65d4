"""The process that writes the small blobs of a server (:mod:`inbox.store.frames`); messages are MessagePack."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from inbox.store.blobs.files import Files, Piece
from inbox.store.frames import serve

#: A batch: folder, path and bytes of each blob.
Batch = list[tuple[str, str, bytes]]
#: What became of each blob of a batch: nothing to tell, or the system's error as number and words.
Outcome = list[tuple[int, str] | None]


class _Bytes:
    """Bytes as a content."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def chunks(self) -> Iterator[bytes]:
        yield self._data


def write(files: Files, batch: Batch) -> Outcome:
    """Writes a batch; raises nothing that concerns a single blob."""
    pieces = [Piece(folder, place, _Bytes(data)) for folder, place, data in batch]
    files.write(pieces)
    return [None if piece.error is None else _told(piece.error) for piece in pieces]


def _told(error: Exception) -> tuple[int, str]:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno, os.strerror(cause.errno)
    return 0, str(error)


def main(root: str) -> None:
    """Writes batches until the input ends."""
    files = Files(root)
    decode = msgspec.msgpack.Decoder(Batch).decode
    serve(lambda message: msgspec.msgpack.encode(write(files, decode(message))))
