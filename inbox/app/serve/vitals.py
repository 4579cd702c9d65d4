"""Health of a server process: whether its dependencies answer, each within a bounded time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inbox.app.serve.sink import Sink
from inbox.app.wiring.installation import Installation
from inbox.base.errors import StorageFull, StoreError, StoreUnavailable
from inbox.store.room import Room
from inbox.store.worker.client import WorkerClient

#: Seconds within which the database, the worker process and the file systems answer, or count as hanging.
TIMEOUT_SECONDS = 2.0


async def check_health(here: Installation) -> None:
    """Returns if mail can be accepted.

    Raises:
        StoreError: it cannot; the text names the cause.
    """
    if here.worker is not None:
        view = await worker_view(here.worker)
        if not view["answers"]:
            raise StoreUnavailable(view["why"])
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await here.database.ping()
    except TimeoutError:
        raise StoreUnavailable(f"the database did not answer within {TIMEOUT_SECONDS:.0f} s") from None
    # A failed check is repeated within half a minute; health checks come more often than that.
    if here.pairing.why:
        raise StoreUnavailable(here.pairing.why)
    folders = here.config.folders
    places = [folders.data_dir, here.config.spool_dir, *(() if here.config.s3.enabled else (folders.incoming,))]
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await here.executors("vitals", check_room, places)
    except TimeoutError:
        raise StoreUnavailable(
            f"the disk under {folders.data_dir} did not answer within {TIMEOUT_SECONDS:.0f} s"
        ) from None


def check_room(folders: Iterable[Path]) -> None:
    """Returns if each folder has room for a message.

    Raises:
        StorageFull: a file system has no room for mail, or no inodes.
        StoreUnavailable: a folder does not exist.
    """
    for folder in folders:
        try:
            found = os.statvfs(folder)
        except OSError as error:
            raise StoreUnavailable(f"{folder}: {error.strerror}") from error
        Room(folder).check()
        if found.f_files and not found.f_favail:
            raise StorageFull(f"no room at {folder}: no inodes are free")


async def worker_view(worker: WorkerClient) -> dict[str, Any]:
    """The worker in ``GET /status``: ``name``, ``pid``, ``answers``, and ``why`` not."""
    why = ""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await worker.check()
    except TimeoutError:
        why = f"{worker} did not answer within {TIMEOUT_SECONDS:.0f} s"
    except StoreError as error:
        why = str(error)
    return {"name": worker.name, "pid": worker.pid, "answers": not why, "why": why}


def log_view(sink: Sink | None) -> dict[str, Any]:
    """The log in ``GET /status``: ``lost`` lines since the start, and ``why`` it cannot be written now."""
    if sink is None:
        return {"lost": 0, "why": ""}
    state = sink.state()
    return {"lost": state.lost, "why": state.why}


def warnings(sink: Sink | None, suspended: Mapping[str, Exception], counters: str = "") -> list[str]:
    """Warnings, one line each, while mail is accepted.

    Args:
        counters: why the rate counters are in memory.
    """
    log = log_view(sink)
    found = [f"the log cannot be written: {log['why']} ({log['lost']} lines lost)"] if log["why"] else []
    for tenant, error in sorted(suspended.items()):
        first, *others = str(error).splitlines()
        more = f" (and {len(others)} more)" if others else ""
        found.append(f"the tenant {tenant} is suspended, its mail is answered 451: {first}{more}")
    if counters:
        found.append(f"rate counters are in memory, so each process counts for itself: {counters}")
    return found
