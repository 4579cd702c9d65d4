"""The process that writes small blobs: it has an interpreter's lock of its own.

A thread that writes files needs the interpreter's lock after each system call, and waits for it as long as the event
loop is busy; that waiting, and not the disk, bounds how many mails a second are made durable. This process takes
batches from its standard input and answers on its standard output, one frame for each: four octets of length (big
endian), then MessagePack. It ends when its input ends, which is when the server ends, however that happens.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from inbox.store.blobs.files import Files, Piece

#: The length in front of a frame.
HEAD: Final = struct.Struct(">I")
#: A batch: folder, path and bytes of each blob.
Batch = list[tuple[str, str, bytes]]
#: What became of each blob of a batch: nothing to tell, or the system's error as number and words.
Outcome = list[tuple[int, str] | None]

_READ: Final = 1 << 18


def framed(message: Batch | Outcome) -> bytes:
    """A frame with ``message`` in it."""
    packed = msgspec.msgpack.encode(message)
    return HEAD.pack(len(packed)) + packed


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
    """Serves batches until the input ends."""
    # A terminal's Ctrl-C and a service manager's stop reach us, too: what the server still writes must be written.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    files = Files(root)
    decode = msgspec.msgpack.Decoder(Batch).decode
    while (packed := _next_frame()) is not None:
        answer = framed(write(files, decode(packed)))
        while answer:
            answer = answer[os.write(sys.stdout.fileno(), answer) :]


def _next_frame() -> bytes | None:
    """The next frame's message; None at the end of the input, also within a frame: nobody waits for its answer."""
    head = _read(HEAD.size)
    return _read(HEAD.unpack(head)[0]) if head is not None else None


def _read(octets: int) -> bytes | None:
    parts: list[bytes] = []
    while octets:
        part = os.read(sys.stdin.fileno(), min(octets, _READ))
        if not part:
            return None
        parts.append(part)
        octets -= len(part)
    return b"".join(parts)
