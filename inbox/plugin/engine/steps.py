"""Runs a hook's coroutine step by step: each step is guarded, and a coroutine that ignores cancellation is closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Generator
from typing import Any

from inbox.base.limits import HOOK_GRACE_SECONDS
from inbox.plugin.engine.guard import Guard


class Steps:
    """Awaits ``coroutine`` in the current task.

    Cancellations are passed on to the coroutine, which may clean up. If it is still not done ``grace`` seconds after
    the first, it is closed, and the cancellation continues without it. A cancellation that the coroutine requested and
    handled itself (a time-out inside a hook, an HTTP client's scope) does not start that timer: the task's count of
    requests is then unchanged.
    """

    __slots__ = ("_begun", "_coroutine", "_future", "_grace", "_guard", "result")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], guard: Guard, grace: float = HOOK_GRACE_SECONDS) -> None:
        self._coroutine = coroutine
        self._guard = guard
        self._grace = grace
        self._begun = False
        self._future: Any = None
        self.result: Any = None

    def begin(self) -> bool:
        """Runs up to the first wait. True if there is none: then ``result`` is set, and nothing is left to await.

        So a hook that does not wait needs no timer. Call it in the task that awaits the rest.
        """
        self._begun = True
        return self._step(None)

    def __await__(self) -> Generator[Any, Any, Any]:
        cut: _Cut | None = None
        task = asyncio.current_task()
        assert task is not None, "hooks are awaited in tasks"
        before = task.cancelling()
        try:
            if not self._begun and self.begin():
                return self.result
            while True:
                thrown: BaseException | None = None
                try:
                    yield self._future
                except GeneratorExit:
                    raise
                except asyncio.CancelledError as error:
                    if cut is None:
                        cut = _Cut(self._grace, task)
                    elif cut.fired:
                        cut.settle()
                        raise
                    thrown = error
                except BaseException as error:  # noqa: BLE001  The coroutine handles all exceptions of the loop.
                    thrown = error
                if self._step(thrown):
                    return self.result
                if cut is not None and not cut.fired and task.cancelling() <= before:
                    cut.stop()
                    cut = None
        finally:
            if cut is not None:
                cut.stop()
            self._close()

    def _step(self, thrown: BaseException | None) -> bool:
        """Runs up to the next wait. True if the coroutine returned."""
        self._guard.enter()
        try:
            self._future = self._coroutine.send(None) if thrown is None else self._coroutine.throw(thrown)
        except StopIteration as done:
            self.result = done.value
            return True
        finally:
            self._guard.leave()
        return False

    def _close(self) -> None:
        if getattr(self._coroutine, "cr_frame", None) is None:
            return  # It ended by itself.
        self._guard.enter()
        try:
            # A RuntimeError means that it awaited again at GeneratorExit. It is never resumed.
            with contextlib.suppress(RuntimeError):
                self._coroutine.close()
        finally:
            self._guard.leave()


class _Cut:
    """Cancels the current task once more after ``grace`` seconds."""

    __slots__ = ("_handle", "_task", "fired")

    def __init__(self, grace: float, task: asyncio.Task[Any]) -> None:
        self.fired = False
        self._task = task
        self._handle = asyncio.get_running_loop().call_later(grace, self._fire)

    def _fire(self) -> None:
        self.fired = True
        self._task.cancel()

    def settle(self) -> None:
        """Takes back its own request, so that only those of others are counted."""
        if self.fired:
            self._task.uncancel()
            self.fired = False

    def stop(self) -> None:
        self._handle.cancel()
        self.settle()
