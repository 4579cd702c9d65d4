"""Whether a server process can take mail now: asked of what it leans on, each within a bounded time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inbox.app.installation import Installation
from inbox.base.errors import StorageFull, StoreError, StoreUnavailable
from inbox.store.helper import Helper
from inbox.store.room import Room

#: Seconds within which the database, the helper process and the file systems answer, or count as hanging.
PATIENCE = 2.0


async def check_health(here: Installation) -> None:
    """Returns if mail can be taken.

    Raises:
        StoreError: it cannot; the text names what is wrong.
    """
    if here.helper is not None:
        view = await helper_view(here.helper)
        if not view["answers"]:
            raise StoreUnavailable(view["why"])
    try:
        async with asyncio.timeout(PATIENCE):
            await here.database.ping()
    except TimeoutError:
        raise StoreUnavailable(f"the database did not answer within {PATIENCE:.0f} s") from None
    folders = here.config.folders
    places = [folders.data_dir, here.config.spool_dir, *(() if here.config.s3.enabled else (folders.incoming,))]
    try:
        async with asyncio.timeout(PATIENCE):
            await here.executors("vitals", check_room, places)
    except TimeoutError:
        raise StoreUnavailable(f"the disk under {folders.data_dir} did not answer within {PATIENCE:.0f} s") from None


def check_room(folders: Iterable[Path]) -> None:
    """Returns if each folder can take a mail.

    Raises:
        StorageFull: a file system has no room for mail, or no inodes.
        StoreUnavailable: a folder is not there.
    """
    for folder in folders:
        try:
            found = os.statvfs(folder)
        except OSError as error:
            raise StoreUnavailable(f"{folder}: {error.strerror}") from error
        Room(folder).check()
        if found.f_files and not found.f_favail:
            raise StorageFull(f"no room at {folder}: no inodes are free")


async def helper_view(helper: Helper) -> dict[str, Any]:
    """What ``GET /status`` says of the process that writes for us: ``name``, ``pid``, ``answers``, ``why`` not."""
    why = ""
    try:
        async with asyncio.timeout(PATIENCE):
            await helper.check()
    except TimeoutError:
        why = f"{helper} did not answer within {PATIENCE:.0f} s"
    except StoreError as error:
        why = str(error)
    return {"name": helper.name, "pid": helper.pid, "answers": not why, "why": why}
