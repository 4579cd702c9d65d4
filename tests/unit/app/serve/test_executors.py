"""Threads by kind of work: bounded, and apart from one another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from inbox.app.serve.executors import KINDS, THREADS, Executors

TIMEOUT_SECONDS = 20


@pytest.fixture
def executors() -> Iterator[Executors]:
    made = Executors()
    yield made
    made.close()


async def test_work_runs_in_a_thread_of_its_kind(executors: Executors) -> None:
    name = await executors("scan", lambda: threading.current_thread().name)
    assert name.startswith("scan")
    assert await executors("scan", divmod, 7, 2) == (3, 1)


async def test_an_exception_reaches_the_caller(executors: Executors) -> None:
    with pytest.raises(ZeroDivisionError):
        await executors("scan", divmod, 1, 0)


async def test_one_kind_that_hangs_does_not_stop_another(executors: Executors) -> None:
    release = threading.Event()
    busy = THREADS + 1
    waiting = [asyncio.ensure_future(executors("slow", release.wait, TIMEOUT_SECONDS)) for _ in range(busy)]
    assert await asyncio.wait_for(executors("quick", int, "7"), TIMEOUT_SECONDS) == 7
    assert not any(each.done() for each in waiting)
    release.set()
    assert await asyncio.gather(*waiting) == [True] * busy


async def test_a_kind_has_a_bounded_number_of_threads(executors: Executors) -> None:
    together = threading.Barrier(THREADS)
    names: set[str] = set()

    def work() -> None:
        names.add(threading.current_thread().name)
        together.wait(TIMEOUT_SECONDS)

    await asyncio.gather(*(executors("slow", work) for _ in range(3 * THREADS)))
    assert len(names) == THREADS


async def test_kinds_are_bounded(executors: Executors) -> None:
    for number in range(KINDS):
        await executors(f"kind{number}", int)
    with pytest.raises(ValueError, match=f"more than {KINDS} kinds"):
        await executors("one too many", int)
    assert await executors("kind0", int) == 0


async def test_processes_that_share_the_cores_do_short_work_on_the_event_loop() -> None:
    here = threading.current_thread()
    made = Executors(shares_cores=True)
    assert await made("signature", threading.current_thread) is here
    assert await made("crypto", threading.current_thread) is not here
    made.close()


async def test_a_single_process_does_short_work_on_another_core(executors: Executors) -> None:
    assert await executors("signature", threading.current_thread) is not threading.current_thread()
