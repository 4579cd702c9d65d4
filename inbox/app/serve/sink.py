"""Standard error and standard output that never fail and never block the program: a bounded queue and a thread.

A log file on a full disk, a pipe whose reader has ended or does not read, a closed terminal: none of them may prevent
the delivery of a message. Lines that cannot be written are counted, and once writing works again one line reports
the number.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: The maximum number of octets that wait; further lines are lost.
QUEUE_OCTETS: Final = 4 * 1024 * 1024
#: Octets written at once, at most.
BATCH_OCTETS: Final = 64 * 1024
#: Seconds after a write in which further lines gather for the next one: waking the thread for each line costs the
#: event loop more than writing the line. Lines of this time are lost if the process is killed.
GATHER_SECONDS: Final = 0.02
#: Seconds between two attempts to report how many lines were lost.
PROBE_SECONDS: Final = 1.0
#: Seconds after which a write that has not returned counts as stalled.
STALL_SECONDS: Final = 2.0
#: Seconds that the program waits at its end for the queue to be written.
END_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class SinkState:
    """The state of writing. ``lost`` counts lines since the start; ``why`` is the current error, or empty."""

    lost: int
    why: str


def plain_notice(lost: int, why: str) -> str:
    """The line that reports lost lines, as plain text."""
    return f"inbox: {lost} lines of this log were lost: {why}"


class Sink:
    """Writes to a file descriptor from a thread of its own.

    Args:
        descriptor: file descriptor; None if it was closed before the program started: then everything is lost.
        notice: renders the line that reports how many lines were lost, and why.
        room: octets that may wait.
        now: seconds of a monotonic clock.
    """

    def __init__(
        self,
        descriptor: int | None,
        notice: Callable[[int, str], str] = plain_notice,
        *,
        room: int = QUEUE_OCTETS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.notice = notice
        self._descriptor = descriptor
        self._room = room
        self._now = now
        # Reentrant: a signal handler or a destructor may log while its own thread is in write().
        self._lock = threading.RLock()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._octets = 0
        self._lost = 0
        self._unreported = 0
        self._why = "" if descriptor is not None else "it was closed when the program started"
        # The reason for lost lines that no notice has reported yet: the fault itself may be over.
        self._cause = ""
        self._began: float | None = None
        self._cut = False
        self._closed = False
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, data: bytes) -> None:
        """Queues whole lines. Returns at once and never raises."""
        with self._lock:
            if self._closed or self._descriptor is None or self._octets + len(data) > self._room:
                self._count(data, self._why or f"more than {self._room} octets were waiting for the reader")
                return
            self._octets += len(data)
            self._queue.put(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                with contextlib.suppress(RuntimeError):  # The interpreter is shutting down and starts no threads.
                    self._thread.start()

    def state(self) -> SinkState:
        """The current state."""
        with self._lock:
            why, began = self._why, self._began
            stalled = 0.0 if began is None else self._now() - began
            if not why and stalled > STALL_SECONDS:
                why = f"its reader has read nothing for {stalled:.0f} s"
            return SinkState(self._lost, why)

    def close(self, seconds: float = END_SECONDS) -> None:
        """Waits until the queue is written, but not for a reader that does not read."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._queue.put(None)
        self._ending.set()
        if thread is not None and thread.is_alive():
            thread.join(seconds)

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        ending = False
        while not ending:
            try:
                first = self._queue.get(timeout=PROBE_SECONDS if self._unreported else None)
            except queue.Empty:
                self._report()
                continue
            batch: list[bytes] = []
            size = 0
            while first is not None:
                batch.append(first)
                size += len(first)
                if size >= BATCH_OCTETS or self._queue.empty():
                    break
                first = self._queue.get()
            ending = first is None
            self._put(b"".join(batch))
            with self._lock:
                self._octets = 0 if self._queue.empty() else self._octets - size
            if not ending and self._queue.empty():
                self._ending.wait(GATHER_SECONDS)

    def _put(self, data: bytes) -> None:
        if self._unreported and not self._report():
            with self._lock:
                self._count(data, self._why)
            return
        self._write(data)

    def _report(self) -> bool:
        """Reports how many lines were lost; False if that cannot be written either."""
        with self._lock:
            lost, cause = self._unreported, self._cause
        if not self._write(f"{self.notice(lost, cause)}\n".encode("utf-8", "backslashreplace"), counted=False):
            return False
        with self._lock:
            self._unreported -= lost
        return True

    def _write(self, data: bytes, *, counted: bool = True) -> bool:
        assert self._descriptor is not None, "nothing is queued for a closed descriptor"
        left = memoryview(b"\n" + data if self._cut and data else data)
        self._began = self._now()
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # Another program that uses the same terminal or pipe made it non-blocking.
                    if self._closed:
                        raise
                    self._wait()
        except OSError as error:
            written = len(data) - len(left)
            with self._lock:
                self._why = os.strerror(error.errno or 0)
                if counted:
                    self._count(bytes(left), self._why)
            self._cut = (data[written - 1 : written] != b"\n") if written > 0 else self._cut
            return False
        finally:
            self._began = None
        self._cut = False
        self._why = ""
        return True

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor or 0, select.POLLOUT)
        poll.poll(PROBE_SECONDS * 1000)

    def _count(self, data: bytes, why: str) -> None:
        lines = data.count(b"\n")
        self._lost += lines
        self._unreported += lines
        self._cause = why


class SinkStream(io.TextIOBase):
    """A text stream over a sink that replaces ``sys.stderr`` or ``sys.stdout``: whole lines go to the sink."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, sink: Sink, descriptor: int | None) -> None:
        self._sink = sink
        self._descriptor = descriptor
        self._part = ""

    def write(self, text: str) -> int:
        """Writes text; an unfinished line waits for its end, or for a flush."""
        if not text.endswith("\n") and len(self._part) < BATCH_OCTETS:
            self._part += text
            return len(text)
        whole, self._part = self._part + text, ""
        self._sink.write(whole.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Passes an unfinished line to the sink. Does not wait until it is written."""
        if self._part:
            whole, self._part = self._part, ""
            self._sink.write(whole.encode("utf-8", "backslashreplace"))

    def isatty(self) -> bool:
        """Whether lines go to a terminal."""
        return self._descriptor is not None and os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor below; direct writes to it bypass the sink."""
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor


class AbsentStream(io.TextIOWrapper):
    """Replaces a standard stream that was closed when the program started; it is /dev/null."""


def open_missing_streams() -> None:
    """Opens /dev/null in the place of standard input, output and error where one is closed.

    Otherwise the next file that is opened, such as the database, gets its number, and every print would write into it.
    """
    for number, name, mode in ((0, "stdin", "rb"), (1, "stdout", "wb"), (2, "stderr", "wb")):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest free number: this one, because those below are open now. Writing to standard error
            # still fails, so that child processes notice that their log is lost.
            os.open(os.devnull, os.O_RDONLY if number == 2 else os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, AbsentStream(open(number, mode, closefd=False), encoding="utf-8"))  # noqa: SIM115


def protect_output() -> Sink:
    """Replaces ``sys.stderr`` and ``sys.stdout`` with sinks; returns that of standard error."""
    sinks = []
    for name, number in (("stdout", 1), ("stderr", 2)):
        descriptor = None if isinstance(getattr(sys, name), AbsentStream) else number
        sink = Sink(descriptor)
        setattr(sys, name, SinkStream(sink, descriptor))
        atexit.register(sink.close)
        sinks.append(sink)
    return sinks[-1]
