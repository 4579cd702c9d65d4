"""Run synchronous code that waits for awaitables, in a greenlet of its own.

pyspf asks for DNS records in the middle of its interpreter, many calls deep. A greenlet is a second stack in the same
thread: :func:`wait` leaves the stack where it is and hands an awaitable to the task, which awaits it and comes back
with the result. SQLAlchemy runs its synchronous core under asyncio in the same way.

A greenlet never outlives its :func:`run`: if the task is cancelled, the exception is raised where the code waits, and
code that continues nevertheless is ended. So nothing remains suspended, and nothing waits for a loop that forgot it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar, cast

from greenlet import GreenletExit, getcurrent, greenlet

T = TypeVar("T")


class _Run(greenlet):  # type: ignore[misc]  # the package has no types
    """The greenlet of one :func:`run`. Its own type, so that :func:`wait` notices when it is called elsewhere."""


async def run(work: Callable[[], T]) -> T:
    """Calls ``work`` and returns what it returns; ``work`` may call :func:`wait`. Raises what ``work`` raises."""
    inside = _Run(work, getcurrent())
    # Without this the greenlet begins with an empty context, and what it logs loses its fields.
    inside.gr_context = getcurrent().gr_context
    try:
        asked = inside.switch()
        while not inside.dead:
            try:
                answer = await asked
            except Exception as error:  # noqa: BLE001  belongs to the code that waits
                asked = inside.throw(error)
            else:
                asked = inside.switch(answer)
        return cast(T, asked)
    except BaseException as error:
        _end(inside, error)
        raise


def wait(awaitable: Awaitable[T]) -> T:
    """Its result, and its exception, for code inside of :func:`run`. Raises RuntimeError: called anywhere else."""
    current = getcurrent()
    if not isinstance(current, _Run) or current.parent is None:
        raise RuntimeError("wait() works only in code that run() has called")
    return cast(T, current.parent.switch(awaitable))


def _end(inside: greenlet, error: BaseException) -> None:
    """Raises ``error`` where the code waits, and GreenletExit if it asks for something else nevertheless."""
    for reason in (error, GreenletExit()):
        if inside.dead:
            return
        with contextlib.suppress(BaseException):  # what matters to the caller is ``error``
            asked = inside.throw(reason)
            if isinstance(asked, Coroutine):
                asked.close()
