"""Listings that sessions share: always the mailbox as it is, whatever was kept of it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import NotFound
from inbox.flow.mailboxes.contents import Contents
from inbox.flow.mailboxes.listings import Listings
from inbox.mail.flags import Flag
from inbox.mail.tenancy import Mailbox
from inbox.store.listing import Listing, Marks
from inbox.store.ports.messages import Entry, MailboxChanges, StoreMode
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home, home

MESSAGE = b"Subject: x\r\n\r\nabc\r\n"


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[Home]:
    database = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await database.open()
    yield await home(database)
    await database.close()


def marks(listed: Listing) -> list[tuple[int, Marks]]:
    return [(uid, listed.marks[state]) for uid, state in zip(listed.uids, listed.states, strict=True)]


async def inbox_of(acme: Home) -> Mailbox:
    found = await acme.db.mailboxes.get(acme.tenant, acme.inbox)
    assert found is not None
    return found


async def taken(listings: Listings, acme: Home) -> Listing:
    status = await acme.db.mailboxes.status(acme.tenant, acme.inbox)
    return await listings.of(await inbox_of(acme), status.modseq)


def counted(monkeypatch: pytest.MonkeyPatch, acme: Home) -> list[str]:
    """The calls of the store from now on."""
    asked: list[str] = []
    messages = acme.db.messages
    listing, changes = messages.listing, messages.changes

    async def asked_listing(tenant: str, mailbox: str) -> Listing:
        asked.append("listing")
        return await listing(tenant, mailbox)

    async def asked_changes(tenant: str, mailbox: str, since: int) -> MailboxChanges:
        asked.append("changes")
        return await changes(tenant, mailbox, since)

    monkeypatch.setattr(messages, "listing", asked_listing)
    monkeypatch.setattr(messages, "changes", asked_changes)
    return asked


async def test_a_mailbox_is_read_once_and_then_only_its_changes(acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    await acme.fill(3)
    listings = Listings(acme.db.messages)
    asked = counted(monkeypatch, acme)
    first = await taken(listings, acme)
    assert await taken(listings, acme) is first
    assert asked == ["listing"]
    await acme.deliver()
    assert (await taken(listings, acme)).uids.tolist() == [1, 2, 3, 4]
    assert first.uids.tolist() == [1, 2, 3]
    assert asked == ["listing", "changes"]


async def test_whatever_happens_a_kept_listing_becomes_the_one_in_the_database(acme: Home) -> None:
    chance = random.Random(5)
    listings = Listings(acme.db.messages)
    await acme.fill(20)
    modes: list[StoreMode] = ["set", "add", "remove"]
    for _ in range(60):
        uids = await acme.uids()
        some = chance.sample(uids, min(len(uids), chance.randint(0, 4)))
        match chance.randrange(4):
            case 0:
                await acme.fill(chance.randint(1, 3), flags=chance.choice([0, Flag.SEEN]))
            case 1:
                words = tuple(chance.sample(["a", "b", "c"], chance.randint(0, 2)))
                mode = chance.choice(modes)
                await acme.db.messages.store(acme.tenant, acme.inbox, some, mode, chance.randrange(32), words)
            case 2:
                await acme.db.messages.remove(acme.tenant, acme.inbox, some)
            case _:
                await acme.db.messages.copy(acme.tenant, acme.inbox, some, acme.inbox, move=True)
        kept = await taken(listings, acme)
        fresh = await acme.db.messages.listing(acme.tenant, acme.inbox)
        assert (kept.modseq, marks(kept)) == (fresh.modseq, marks(fresh))


async def test_sessions_do_not_change_what_they_share(acme: Home) -> None:
    await acme.fill(4)
    listings = Listings(acme.db.messages)
    shared = await taken(listings, acme)
    before = marks(shared)
    one, other, third = (Contents(shared) for _ in range(3))
    assert one.uids is other.uids
    one.update(Entry(2, 9, Flag.SEEN, ("x",)))
    one.expunge([1])
    one.drop_gone()
    third.expunge([4])
    third.drop_gone()
    third.update(Entry(2, 9, Flag.DELETED))
    assert (marks(shared), list(other.uids), other.keywords(1)) == (before, [1, 2, 3, 4], ())
    assert (list(one.uids), one.bits(0), one.keywords(0)) == ([2, 3, 4], Flag.SEEN, ("x",))


async def test_a_modseq_that_goes_back_is_not_believed(acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was restored while the program ran."""
    await acme.fill(2)
    listings = Listings(acme.db.messages)
    kept = await taken(listings, acme)
    asked = counted(monkeypatch, acme)
    await listings.of(await inbox_of(acme), kept.modseq - 1)
    assert asked == ["listing"]


async def test_no_more_is_kept_than_there_is_room_for(acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    await acme.fill(10)
    archive = await acme.db.mailboxes.get(acme.tenant, acme.mailboxes["Archive"])
    assert archive is not None
    room = (await taken(Listings(acme.db.messages), acme)).octets
    listings = Listings(acme.db.messages, room + 10)
    asked = counted(monkeypatch, acme)
    for _ in range(2):
        await taken(listings, acme)
    await listings.of(archive, archive.modseq)
    await taken(listings, acme)
    assert asked == ["listing"] * 3
    narrow = Listings(acme.db.messages, room - 1)
    for _ in range(2):
        await taken(narrow, acme)
    assert asked == ["listing"] * 5


async def test_a_mailbox_that_was_deleted_is_not_found(acme: Home) -> None:
    listings = Listings(acme.db.messages)
    kept = await taken(listings, acme)
    mailbox = await inbox_of(acme)
    await acme.db.mailboxes.delete(acme.tenant, acme.inbox)
    with pytest.raises(NotFound):
        await listings.of(mailbox, kept.modseq + 1)
