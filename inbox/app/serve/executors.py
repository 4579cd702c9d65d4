"""Threads for blocking calls: one bounded pool for each kind of work, so that one kind never starves another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

R = TypeVar("R")
#: Threads of one kind; further work waits in a queue.
THREADS = 4
#: The maximum number of kinds: otherwise a plugin that makes up names could create any number of threads.
KINDS = 32
#: Work of less than a millisecond. One process leaves it to threads, which use another core; where several processes
#: share the cores, handing it to a thread and back costs more than it gains.
SHORT = frozenset({"signature"})


class Executors:
    """``RunBlocking`` of ``inbox.plugin.api.services``.

    Args:
        shares_cores: several processes serve, so that work of the kinds ``SHORT`` runs on the event loop.
    """

    def __init__(self, *, shares_cores: bool = False) -> None:
        self._inline = SHORT if shares_cores else frozenset[str]()
        self._pools: dict[str, ThreadPoolExecutor] = {}

    async def __call__(self, kind: str, function: Callable[..., R], *args: Any) -> R:
        """Runs ``function(*args)`` in a thread of ``kind``.

        Raises:
            ValueError: there are too many kinds.
        """
        if kind in self._inline:
            return function(*args)
        pool = self._pools.get(kind)
        if pool is None:
            if len(self._pools) >= KINDS:
                raise ValueError(f"more than {KINDS} kinds of blocking work")
            pool = self._pools[kind] = ThreadPoolExecutor(THREADS, thread_name_prefix=kind)
        return await asyncio.get_running_loop().run_in_executor(pool, function, *args)

    def close(self) -> None:
        """Lets running work finish and drops what is queued."""
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)
