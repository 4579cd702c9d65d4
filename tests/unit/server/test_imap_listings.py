"""Listings that sessions share: always the mailbox as it is, whatever was kept of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import NotFound
from inbox.mail.flags import Flag
from inbox.mail.tenancy import Mailbox
from inbox.server.imap.listings import Listings
from inbox.server.imap.view import View
from inbox.store.listing import Listing, Marks
from inbox.store.ports.messages import Entry, MailboxChanges, StoreMode
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.imap_world import world
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
    """What is asked of the store from now on."""
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
    listings = Listings(acme.db)
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
    listings = Listings(acme.db)
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
    listings = Listings(acme.db)
    shared = await taken(listings, acme)
    before = marks(shared)
    mailbox = await inbox_of(acme)
    one, other, third = (View(mailbox, shared, read_only=False) for _ in range(3))
    assert one.uids is other.uids
    one.update(Entry(2, 9, Flag.SEEN, ("x",)))
    one.expunge([1])
    one.take_gone()
    third.expunge([4])
    third.take_gone()
    third.update(Entry(2, 9, Flag.DELETED))
    assert (marks(shared), list(other.uids), other.keywords(1)) == (before, [1, 2, 3, 4], ())
    assert (list(one.uids), one.bits(0), one.keywords(0)) == ([2, 3, 4], Flag.SEEN, ("x",))


async def test_a_modseq_that_goes_back_is_not_believed(acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was restored while the program ran."""
    await acme.fill(2)
    listings = Listings(acme.db)
    kept = await taken(listings, acme)
    asked = counted(monkeypatch, acme)
    await listings.of(await inbox_of(acme), kept.modseq - 1)
    assert asked == ["listing"]


async def test_no_more_is_kept_than_there_is_room_for(acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    await acme.fill(10)
    archive = await acme.db.mailboxes.get(acme.tenant, acme.mailboxes["Archive"])
    assert archive is not None
    room = (await taken(Listings(acme.db), acme)).octets
    listings = Listings(acme.db, room + 10)
    asked = counted(monkeypatch, acme)
    for _ in range(2):
        await taken(listings, acme)
    await listings.of(archive, archive.modseq)
    await taken(listings, acme)
    assert asked == ["listing"] * 3
    narrow = Listings(acme.db, room - 1)
    for _ in range(2):
        await taken(narrow, acme)
    assert asked == ["listing"] * 5


async def test_a_mailbox_that_was_deleted_is_not_found(acme: Home) -> None:
    listings = Listings(acme.db)
    kept = await taken(listings, acme)
    mailbox = await inbox_of(acme)
    await acme.db.mailboxes.delete(acme.tenant, acme.inbox)
    with pytest.raises(NotFound):
        await listings.of(mailbox, kept.modseq + 1)


async def test_sequence_numbers_are_those_of_the_moment_of_select(tmp_path: Path) -> None:
    """One session selects while another still has messages that are gone: both count as they were told."""
    async with world(tmp_path) as w:
        for _ in range(4):
            await w.deliver(MESSAGE)
        async with w.user() as early:
            mailbox = await w.mailbox()
            await w.database.messages.remove(w.organization.id, mailbox.id, [2])
            await w.deliver(MESSAGE)
            async with w.user(None) as late:
                assert b"* 4 EXISTS" in await late.ok(b"SELECT INBOX")
                assert await late.ok(b"FETCH 2:4 (UID)") == [
                    b"* 2 FETCH (UID 3)",
                    b"* 3 FETCH (UID 4)",
                    b"* 4 FETCH (UID 5)",
                ]
            assert (await early.ok(b"FETCH 2:4 (UID)"))[:3] == [
                b"* 2 FETCH (UID 2)",
                b"* 3 FETCH (UID 3)",
                b"* 4 FETCH (UID 4)",
            ]
            assert b"* 2 EXPUNGE" in await early.ok(b"NOOP")
            assert await early.ok(b"FETCH 2:* (UID)") == [
                b"* 2 FETCH (UID 3)",
                b"* 3 FETCH (UID 4)",
                b"* 4 FETCH (UID 5)",
            ]


async def test_many_select_at_once_while_mail_comes(tmp_path: Path) -> None:
    async with world(tmp_path) as w:

        async def selecting() -> None:
            async with w.user(None) as client:
                for _ in range(5):
                    answer = await client.ok(b"EXAMINE INBOX")
                    exists = next(int(line.split()[1]) for line in answer if line.endswith(b"EXISTS"))
                    fetched = await client.ok(b"FETCH 1:* (UID RFC822.SIZE)")
                    rows = [line for line in fetched if b"FETCH" in line]
                    assert rows[:exists] == [
                        b"* %d FETCH (UID %d RFC822.SIZE %d)" % (n, n, len(MESSAGE)) for n in range(1, exists + 1)
                    ]

        async def delivering() -> None:
            for _ in range(20):
                await w.deliver(MESSAGE)

        await asyncio.gather(delivering(), *[selecting() for _ in range(3)])


async def test_a_select_without_recent_messages_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        await w.deliver(MESSAGE)
        async with w.user(None) as client:
            assert b"* 1 RECENT" in await client.ok(b"SELECT INBOX")

            async def unexpected(*_args: Any) -> int:
                raise AssertionError("a claim of what is claimed already")

            monkeypatch.setattr(w.database.messages, "claim_recent", unexpected)
            assert b"* 0 RECENT" in await client.ok(b"SELECT INBOX")


async def test_a_modseq_is_not_newer_than_the_flags_beside_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.deliver(MESSAGE)
        async with w.user() as client:
            [known] = await client.ok(b"FETCH 1 (MODSEQ)")
            mailbox = await w.mailbox()
            await w.database.messages.store(w.organization.id, mailbox.id, [1], "add", Flag.FLAGGED)
            assert (await client.ok(b"FETCH 1 (MODSEQ)"))[0] == known
            await client.ok(b"NOOP")
            assert await client.ok(b"FETCH 1 (MODSEQ)") != [known]
