"""The thread that exports spans, and the bounded queue before it: no collector ever keeps mail waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from inbox.base.metrics import Family, Sample
from inbox.base.spans import Span
from inbox.plugin.api.services import Log

#: Spans that wait at most; further ones are dropped.
MOST_WAITING: Final = 4096
#: Spans of one request.
BATCH: Final = 512
#: Seconds for which a span waits for others.
PAUSE_SECONDS: Final = 1.0


class SpanExports:
    """Exports spans from :meth:`start` to :meth:`stop`.

    Args:
        send: exports some spans, and blocks meanwhile; returns why it failed, or an empty text. Does not raise.
        close: makes a ``send`` that waits end early.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Span]], str],
        close: Callable[[], None],
        log: Log,
        *,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._send = send
        self._close = close
        self._log = log
        self._pause = pause
        self._waiting: deque[Span] = deque()
        self._wakes = threading.Event()
        self._stopping = False
        # Each is written by one thread only: dropped by the one that puts spans, the others by this object's thread.
        self._dropped = self._exported = self._failed = 0
        #: Spans whose loss was logged before, and whether a loss was logged that is not over.
        self._known_lost = 0
        self._troubled = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def put(self, span: Span) -> None:
        """Adds a span, or drops it if too many wait. Never blocks."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            if not self._troubled:
                self._trouble(f"{MOST_WAITING} spans wait for the collector")
            return
        self._waiting.append(span)
        if len(self._waiting) == BATCH:
            self._wakes.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Exports what waits, within about ``seconds``. Blocks; the rest is lost, and the log has the number."""
        self._stopping = True
        self._wakes.set()
        self._thread.join(seconds)
        self._close()
        self._thread.join(seconds / 4)
        if self._waiting:
            self._log.warning("spans_lost", count=len(self._waiting) + self._lost() - self._known_lost)

    def families(self) -> list[Family]:
        """Counts of spans, for ``GET /metrics``."""
        counts = {"exported": self._exported, "failed": self._failed, "dropped": self._dropped}
        samples = [Sample({"result": result}, float(count)) for result, count in counts.items()]
        return [Family("inbox_spans_total", "counter", "Spans of traces: exported, failed, dropped unsent.", samples)]

    def _run(self) -> None:
        while not self._stopping:
            self._wakes.wait(self._pause)
            self._wakes.clear()
            self._export()

    def _export(self) -> None:
        """Exports until nothing waits. What cannot be exported is lost: the collector has had all its time."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            why = self._send(batch)
            if why:
                self._failed += len(batch)
                if not self._troubled:
                    self._trouble(why)
                if self._stopping:
                    return
            else:
                self._exported += len(batch)
                if self._troubled and not self._waiting:
                    self._troubled = False
                    self._log.info("spans_exported_again", lost=self._lost() - self._known_lost)
                    self._known_lost = self._lost()

    def _trouble(self, why: str) -> None:
        self._troubled = True
        self._log.error("spans_not_exported", why=why)

    def _lost(self) -> int:
        return self._dropped + self._failed
