"""A sink that counts: it accepts mail as smtp-sink does, refuses recipients named ``later`` temporarily, or is slow.

smtp-sink refuses all or nothing, and does not report how many messages it has. This sink writes both counts to a file
that is mapped into memory, and keeps the first messages for a look at their signatures.

    python -m benchmarks.sink PORT FOLDER REFUSES DELAY
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks.mtas import ROOT
from benchmarks.support import answers, end, until

#: Messages that are kept.
SAMPLE = 10
COUNTS = struct.Struct("=QQ")


@dataclass(frozen=True, slots=True)
class Sink:
    """A running sink."""

    port: int
    folder: Path

    def counts(self) -> tuple[int, int]:
        """Counts of accepted messages and of refused recipients."""
        taken, refused = COUNTS.unpack((self.folder / "counts").read_bytes())
        return taken, refused

    def sample(self) -> list[bytes]:
        """The first messages as they were received, without dot-stuffing."""
        return [path.read_bytes() for path in sorted(self.folder.glob("*.eml"))]


@contextlib.contextmanager
def sink(folder: Path, port: int, *, refuses: bool = False, delay: float = 0) -> Iterator[Sink]:
    """Runs one.

    Args:
        refuses: recipients whose name begins with ``later`` get 450.
        delay: seconds before the reply to the final dot.

    Raises:
        Failed: it does not answer.
    """
    folder.mkdir()
    (folder / "counts").write_bytes(COUNTS.pack(0, 0))
    words = (str(port), str(folder), str(int(refuses)), str(delay))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sink", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=ROOT,
    )
    try:
        until(lambda: answers(port), 20, "the sink answers")
        yield Sink(port, folder)
    finally:
        end(process)


# -- the process ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Totals:
    """Counters of all connections, in shared memory."""

    memory: mmap.mmap
    folder: Path
    refuses: bool
    delay: float
    taken: int = 0
    refused: int = 0

    def store(self) -> None:
        COUNTS.pack_into(self.memory, 0, self.taken, self.refused)


class Connection(asyncio.Protocol):
    """One connection: replies to all commands of a packet go out together."""

    def __init__(self, totals: Totals) -> None:
        self.totals = totals
        self.buffer = b""
        self.data = False
        self.accepted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's classes do not inherit from it
        self.transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        replies: list[bytes] = []
        while True:
            if self.data:
                # The message may be empty, or its end may come with its beginning.
                body, found, rest = self.buffer.partition(b"\r\n.\r\n")
                if not found:
                    break
                self.buffer, self.data = rest, False
                self._taken(body)
                if self.totals.delay:
                    asyncio.get_running_loop().call_later(self.totals.delay, self.transport.write, b"250 2.0.0 Ok\r\n")
                else:
                    replies.append(b"250 2.0.0 Ok\r\n")
                continue
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                break
            self.buffer = rest
            replies.append(self._reply(line))
        if replies:
            self.transport.write(b"".join(replies))

    def _taken(self, body: bytes) -> None:
        totals = self.totals
        if totals.taken < SAMPLE:
            text = (body + b"\r\n").replace(b"\r\n..", b"\r\n.")
            (totals.folder / f"{totals.taken:02}.eml").write_bytes(text)
        totals.taken += 1
        totals.store()

    def _reply(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb in {b"EHLO", b"HELO"}:
            return b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 0\r\n"
        if verb == b"RCPT":
            if self.totals.refuses and b"<later" in line:
                self.totals.refused += 1
                self.totals.store()
                return b"450 4.2.0 Try again later\r\n"
            self.accepted += 1
        elif verb == b"DATA":
            if not self.accepted:
                return b"554 5.5.1 No valid recipients\r\n"
            self.data, self.accepted = True, 0
            return b"354 Go ahead\r\n"
        elif verb in {b"MAIL", b"RSET"}:
            self.accepted = 0
        elif verb == b"QUIT":
            asyncio.get_running_loop().call_soon(self.transport.close)
            return b"221 2.0.0 Bye\r\n"
        return b"250 2.0.0 Ok\r\n"


async def _serve(port: int, folder: Path, refuses: bool, delay: float) -> None:
    with (folder / "counts").open("r+b") as file:
        totals = Totals(mmap.mmap(file.fileno(), COUNTS.size), folder, refuses, delay)
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Connection(totals), "127.0.0.1", port, backlog=1000)
        await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "1", float(sys.argv[4])))
