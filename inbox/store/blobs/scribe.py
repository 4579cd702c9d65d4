"""The process that writes the small blobs of a server (:mod:`inbox.store.worker.protocol`)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from inbox.mail.content import MemoryContent
from inbox.store.blobs.files import Files, Piece
from inbox.store.worker.protocol import serve

#: The directory, and what its identity file says, if that is known.
Opening = tuple[str, bytes]
#: One blob: folder, path and bytes.
Blob = tuple[str, str, bytes]
#: What became of it: nothing to tell, or the system's error as number and words.
Outcome = tuple[int, str] | None


def piece(folder: str, place: str, data: bytes) -> Piece:
    """One blob that is to be written."""
    return Piece(folder, place, MemoryContent(data))


def told(error: Exception) -> tuple[int, str]:
    """An error of a blob, for another process."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno, os.strerror(cause.errno)
    return 0, str(error)


class Scribe:
    """Writes batches of blobs; a connection is opened with the directory of the blobs, and which store that is."""

    def __init__(self) -> None:
        self._files: dict[Opening, Files] = {}
        self._opening = msgspec.msgpack.Decoder(Opening).decode
        self._decode = msgspec.msgpack.Decoder(Blob).decode

    def open(self, message: bytes) -> Files:
        opening = self._opening(message)
        files = self._files.setdefault(opening, Files(*opening))
        files.remember_root()
        return files

    def answer(self, questions: Sequence[tuple[Files, bytes]]) -> list[bytes]:
        """What became of each blob."""
        pieces = [(files, piece(*self._decode(question))) for files, question in questions]
        for files in set(self._files.values()):
            mine = [each for owner, each in pieces if owner is files]
            if mine:
                files.write(mine)
        return [msgspec.msgpack.encode(None if each.error is None else told(each.error)) for _, each in pieces]


def main() -> None:
    """Writes blobs until nobody can ask any more."""
    serve(Scribe())
