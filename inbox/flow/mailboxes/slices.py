"""Apply changes of very many messages in slices, between which other sessions get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from inbox.flow.mailboxes.contents import Contents
from inbox.store.ports.messages import MailboxChanges

#: Messages in one slice: about 2 ms.
SLICE: Final = 2000


async def apply_in_slices(contents: Contents, changes: MailboxChanges) -> tuple[list[int], int]:
    """Does what :meth:`Contents.apply` does. If it is cancelled, the contents ask for the same changes again.

    Args:
        changes: ``changed`` is in the order of uids.
    """
    altered: list[int] = []
    new = 0
    for start in range(0, len(changes.changed), SLICE):
        some = changes.changed[start : start + SLICE]
        places, added = contents.apply(MailboxChanges(contents.modseq, some))
        altered += places
        new += added
        if len(some) == SLICE:
            await asyncio.sleep(0)
    await expunge_in_slices(contents, changes.expunged)
    contents.apply(MailboxChanges(changes.modseq))
    return altered, new


async def expunge_in_slices(contents: Contents, uids: Sequence[int]) -> None:
    """Does what :meth:`Contents.expunge` does."""
    for start in range(0, len(uids), SLICE):
        some = uids[start : start + SLICE]
        contents.expunge(some)
        if len(some) == SLICE:
            await asyncio.sleep(0)
