"""The port ``Messages`` for very many messages at once: listings and columns."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from inbox.mail.flags import Flag
from inbox.store.listing import Listing, Marks
from inbox.store.ports.messages import Column, Entry
from tests.support.store import Home, email

NAMES: tuple[Column, ...] = get_args(Column)


async def listing(home: Home) -> Listing:
    return await home.db.messages.listing(home.tenant, home.inbox)


async def columns(home: Home, uids: list[int], *names: Column) -> list[tuple[Any, ...]]:
    pages = home.db.messages.columns(home.tenant, home.inbox, uids, names)
    return [row async for page in pages for row in page]


def marks(listed: Listing) -> list[tuple[int, Marks]]:
    return [(uid, listed.marks[state]) for uid, state in zip(listed.uids, listed.states, strict=True)]


async def agrees(home: Home) -> Listing:
    """Checks the listing against the entries and the mailbox's counters."""
    listed = await listing(home)
    entries = await home.db.messages.entries(home.tenant, home.inbox)
    assert marks(listed) == [(entry.uid, (entry.flags, entry.keywords)) for entry in entries]
    assert listed.modseq == (await home.db.mailboxes.status(home.tenant, home.inbox)).modseq
    return listed


async def test_a_listing_of_nothing(acme: Home) -> None:
    listed = await agrees(acme)
    assert (list(listed.uids), list(listed.states), listed.marks) == ([], [], ())


async def test_a_listing_has_what_the_entries_have(acme: Home) -> None:
    await acme.fill(3)
    await acme.deliver(flags=Flag.SEEN | Flag.DRAFT)
    await acme.deliver(flags=Flag.SEEN, keywords=("$Forwarded", 'a"\\'))
    await acme.fill(2, keywords=("$Forwarded",))
    assert (await agrees(acme)).uids.tolist() == [1, 2, 3, 4, 5, 6, 7]


async def test_a_listing_follows_every_change(acme: Home) -> None:
    messages = acme.db.messages
    await acme.fill(6)
    # In the order of modseqs, 2 now comes last.
    await messages.store(acme.tenant, acme.inbox, [2], "add", Flag.FLAGGED, ("x",))
    await agrees(acme)
    await messages.remove(acme.tenant, acme.inbox, [1, 4])
    await agrees(acme)
    await messages.store(acme.tenant, acme.inbox, [2, 3], "set", Flag.SEEN, ())
    await messages.copy(acme.tenant, acme.inbox, [2], acme.inbox)
    assert (await agrees(acme)).uids.tolist() == [2, 3, 5, 6, 7]


async def test_a_listing_with_more_kinds_of_marks_than_an_octet_can_number(acme: Home) -> None:
    await acme.fill(300)
    for uid in range(1, 301):
        await acme.db.messages.store(acme.tenant, acme.inbox, [uid], "add", 0, (f"k{uid}",))
    listed = await agrees(acme)
    assert listed.states.itemsize > 1


async def test_a_listing_of_a_large_mailbox(acme: Home) -> None:
    await acme.fill(2500)
    await agrees(acme)
    await acme.db.messages.store(acme.tenant, acme.inbox, [7, 2400], "add", Flag.SEEN, ("late",))
    await acme.db.messages.remove(acme.tenant, acme.inbox, list(range(100, 300)))
    assert len((await agrees(acme)).uids) == 2300


async def test_columns_are_those_of_the_message(acme: Home) -> None:
    mail = email(acme.tenant)
    await acme.deliver(mail=mail, prepended=b"X: y\r\n")
    [row] = await columns(acme, [1], *NAMES)
    values = dict(zip(("uid", *NAMES), row, strict=True))
    [whole] = await acme.fetched(acme.inbox, [1])
    assert values == {
        "uid": 1,
        "modseq": whole.entry.modseq,
        "size": mail.size + 6,
        "received_at": whole.received_at,
        "blob_path": mail.blob_path,
        "prepended": b"X: y\r\n",
        "envelope": mail.envelope,
        "body": mail.body,
        "bodystructure": mail.bodystructure,
        "sections": mail.sections,
        "header_block": mail.header_block,
    }


async def test_octets_that_are_not_there_are_none_at_all(acme: Home) -> None:
    empty = dict.fromkeys(("envelope", "body", "bodystructure", "sections", "header_block"), b"")
    await acme.deliver(mail=email(acme.tenant, **empty))
    assert await columns(acme, [1], "prepended", "envelope", "header_block") == [(1, b"", b"", b"")]


@pytest.mark.parametrize("names", [("size",), ("size", "envelope"), ()])
async def test_columns_of_what_exists_by_uid(acme: Home, names: tuple[Column, ...]) -> None:
    await acme.fill(9)
    await acme.db.messages.remove(acme.tenant, acme.inbox, [3])
    for wanted, there in (
        ([5, 3, 4, 1, 1], [1, 4, 5]),  # close together: not all of what lies between was asked for
        ([9, 99, 0, 1], [1, 9]),
        ([4, 5, 6], [4, 5, 6]),
        ([3], []),
        ([], []),
    ):
        rows = await columns(acme, wanted, *names)
        assert [row[0] for row in rows] == there
        assert {len(row) for row in rows} <= {1 + len(names)}


@pytest.mark.parametrize("names", [("size",), ("envelope",)])
async def test_columns_of_many(acme: Home, names: tuple[Column, ...]) -> None:
    await acme.fill(2500)
    every = list(range(1, 2501))
    assert [row[0] for row in await columns(acme, every, *names)] == every
    assert [row[0] for row in await columns(acme, every[::3], *names)] == every[::3]


async def test_columns_and_entries_are_about_the_same_messages(acme: Home) -> None:
    await acme.fill(3)
    await acme.db.messages.remove(acme.tenant, acme.inbox, [2])
    entries: list[Entry] = await acme.db.messages.entries(acme.tenant, acme.inbox)
    modseqs = [(entry.uid, entry.modseq) for entry in entries]
    assert await columns(acme, [1, 2, 3], "modseq") == modseqs
    assert [row[:2] for row in await columns(acme, [1, 2, 3], "modseq", "envelope")] == modseqs
