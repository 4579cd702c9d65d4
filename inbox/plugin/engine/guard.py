"""Interrupts hooks that block the event loop.

A thread checks every few milliseconds whether the step that ran at the last check still runs. After the limit it sends
a signal to the main thread, whose handler raises :class:`HookOverrun` inside the hook, if the same step is still
running. The hot path writes two attributes; it reads no clock.

C code that holds the interpreter's lock cannot be interrupted.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Final

from inbox.base.limits import HOOK_STEP_SECONDS

#: A signal that the kernel ignores by default: one that arrives after the guard is removed does no harm.
SIGNAL: Final = signal.SIGURG


class HookOverrun(BaseException):
    """Raised inside a hook that took too long. Not an Exception: hooks that catch those must not swallow it."""


class Guard:
    """Watches the steps of hooks on one thread. One step at a time: hooks do not call hooks.

    Without :meth:`install`, or where it returned False, nothing is interrupted (the dispatcher still measures).

    Args:
        limit: seconds that one step may take.
        interval: seconds between two checks, which is also the precision of the limit.
    """

    __slots__ = (
        "_interval", "_looks", "_looks_at_most", "_previous", "_running", "_seen", "_step", "_stop", "_target",
        "_thread", "limit",
    )  # fmt: skip

    def __init__(self, limit: float = HOOK_STEP_SECONDS, interval: float = 0.05) -> None:
        self.limit = limit
        self._interval = interval
        self._looks_at_most = max(1, round(limit / interval))
        self._looks = 0
        self._seen = 0
        self._step = 0
        self._running = False
        self._target = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._previous: Any = None

    @property
    def installed(self) -> bool:
        """Whether overlong steps are interrupted."""
        return self._thread is not None

    def enter(self) -> None:
        """A step begins."""
        self._step += 1
        self._running = True

    def leave(self) -> None:
        """The step ended."""
        self._running = False

    def install(self) -> bool:
        """Starts watching the calling thread. False if it is not the main thread: only that one gets signals."""
        if threading.current_thread() is not threading.main_thread():
            return False
        if self._thread is None:
            self._previous = signal.signal(SIGNAL, self._on_signal)
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._watch, args=(threading.get_ident(),), name="hook-guard", daemon=True
            )
            self._thread.start()
        return True

    def remove(self) -> None:
        """Stops watching. Must be called in the thread that called :meth:`install`."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            signal.signal(SIGNAL, self._previous)

    def _watch(self, watched: int) -> None:
        while not self._stop.wait(self._interval):
            if self.look():
                signal.pthread_kill(watched, SIGNAL)

    def look(self) -> bool:
        """One check of the watching thread. True if the same step has been running at too many checks."""
        if not self._running or self._step != self._seen:
            self._seen, self._looks = self._step, 0
            return False
        self._looks += 1
        if self._looks < self._looks_at_most:
            return False
        # A hook that swallows the interruption is interrupted again after the same time.
        self._looks, self._target = 0, self._seen
        return True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._running and self._step == self._target:
            self._target = 0
            raise HookOverrun(f"blocked the event loop for more than {self.limit:g} s")
