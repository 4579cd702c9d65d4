"""Changes of a view by very many messages: in slices, so that other sessions get their turn between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from inbox.server.imap.view import View
from inbox.store.ports.messages import MailboxChanges

#: Messages in one slice: about 2 ms.
SLICE: Final = 2000


async def apply_in_slices(view: View, changes: MailboxChanges) -> tuple[list[int], int]:
    """Does what :meth:`View.apply` does. If it is cancelled, the view asks for the same changes again.

    Args:
        changes: ``changed`` is in the order of uids.
    """
    altered: list[int] = []
    new = 0
    for start in range(0, len(changes.changed), SLICE):
        some = changes.changed[start : start + SLICE]
        places, added = view.apply(MailboxChanges(view.modseq, some))
        altered += places
        new += added
        if len(some) == SLICE:
            await asyncio.sleep(0)
    await expunge_in_slices(view, changes.expunged)
    view.apply(MailboxChanges(changes.modseq))
    return altered, new


async def expunge_in_slices(view: View, uids: Sequence[int]) -> None:
    """Does what :meth:`View.expunge` does."""
    for start in range(0, len(uids), SLICE):
        some = uids[start : start + SLICE]
        view.expunge(some)
        if len(some) == SLICE:
            await asyncio.sleep(0)
