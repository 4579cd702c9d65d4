"""The life of a helper process: frames in on standard input, frames out on standard output.

A frame is four octets of length (big endian) and that many octets. Each is answered before the next one is read. The
process ends when its input ends, which is when the server ends, however that happens.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import Final

#: The length in front of a frame.
HEAD: Final = struct.Struct(">I")
_READ: Final = 1 << 18


def framed(message: bytes) -> bytes:
    """A frame with ``message`` in it."""
    return HEAD.pack(len(message)) + message


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Answers frames until the input ends. What ``answer`` raises ends the process."""
    # A terminal's Ctrl-C and a service manager's stop reach us, too: what the server still writes must be written.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while (message := _next_message()) is not None:
        left = framed(answer(message))
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]


def _next_message() -> bytes | None:
    """None at the end of the input, also within a frame: nobody waits for its answer."""
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
