"""Changes by very many messages: the same result, and other sessions get their turn."""

from __future__ import annotations

import asyncio
from array import array

from inbox.flow.mailboxes.contents import Contents
from inbox.flow.mailboxes.slices import SLICE, apply_in_slices, expunge_in_slices
from inbox.mail.flags import Flag
from inbox.store.listing import packed
from inbox.store.ports.messages import Entry, MailboxChanges

MANY = 5 * SLICE


def view(count: int) -> Contents:
    listing = packed(1, array("I", range(1, count + 1)), bytes(count), [])
    return Contents(listing)


async def turns_during(work: asyncio.Task[object]) -> int:
    """The number of turns of other tasks while it runs."""
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_slices_do_what_one_piece_does() -> None:
    changed = tuple(Entry(uid, 2, Flag.SEEN) for uid in range(1, MANY + 100, 2))
    changes = MailboxChanges(9, changed, tuple(range(1, MANY, 3)))
    sliced, whole = view(MANY), view(MANY)
    assert await apply_in_slices(sliced, changes) == whole.apply(changes)
    assert sliced.modseq == whole.modseq == 9
    assert sliced.drop_gone() == whole.drop_gone()
    assert sliced.uids == whole.uids
    assert sliced.listing() == whole.listing()


async def test_others_get_their_turn_between_slices() -> None:
    changes = MailboxChanges(9, tuple(Entry(uid, 2, Flag.SEEN) for uid in range(1, MANY + 1)))
    assert await turns_during(asyncio.create_task(apply_in_slices(view(MANY), changes))) >= MANY // SLICE
    task = asyncio.create_task(expunge_in_slices(view(MANY), range(1, MANY + 1)))
    assert await turns_during(task) >= MANY // SLICE


async def test_a_view_that_is_given_up_asks_again() -> None:
    some = view(MANY)
    changes = MailboxChanges(9, tuple(Entry(uid, 2, Flag.SEEN) for uid in range(1, MANY + 1)))
    task = asyncio.create_task(apply_in_slices(some, changes))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert some.modseq == 1
