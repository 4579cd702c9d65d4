"""Filing: in one step by a process, or blob by blob; what is stored is the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from inbox.base.errors import NotFound, StoreUnavailable
from inbox.flow.filing import Bundle, Filer
from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.blobs.local import LocalBlobs
from inbox.store.records import Copy, StoredMessage
from inbox.store.sqlite import filer as outside
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.worker.client import CARRIED_OCTETS, OwnDoor
from tests.support.store import IDS, Home, decision, envelope, home

R = TypeVar("R")
MAIL = (
    b"From: Ann <ann@example.org>\r\nTo: bob@acme.test, Eve <eve@acme.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Message-ID: <1@example.org>\r\nReferences: <a@b> <c@d>\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhello\r\n--x\r\n"
    b"Content-Type: application/pdf; name=a.pdf\r\n\r\n%PDF\r\n--x--\r\n"
)


async def run_blocking(kind: str, function: Callable[..., R], *args: object) -> R:
    """A thread, whichever pool is asked for."""
    del kind
    return await asyncio.to_thread(function, *args)


class Place:
    """Stores on a folder and the filer over them."""

    def __init__(self, folder: Path, *, process: bool) -> None:
        self.blobs = LocalBlobs(folder / "blobs")
        self.door = OwnDoor(outside.__name__) if process else None
        self.database = SqliteDatabase(
            folder / "inbox.db", FakeClock(), IDS, door=self.door, blobs=folder / "blobs" if process else None
        )
        deposits = self.database.deposits
        self.filer = Filer(self.blobs, self.database.messages, IDS, FakeClock(), run_blocking, deposits)
        self.folder = folder

    async def fetch(self, acme: Home, mailbox: str) -> list[StoredMessage]:
        uids = [entry.uid for entry in await self.database.messages.entries(acme.tenant, mailbox)]
        return [one async for one in self.database.messages.fetch(acme.tenant, mailbox, uids)]


@pytest.fixture(params=["process", "here"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path, process=request.param == "process")
    await place.database.open()
    await place.blobs.open()
    yield place
    await place.blobs.close()
    await place.database.close()


@pytest.fixture
async def acme(place: Place) -> Home:
    return await home(place.database)


def bundle(acme: Home, *copies: Copy, content: bytes = MAIL) -> Bundle:
    return Bundle(acme.tenant, MemoryContent(content), copies or (Copy(acme.inbox),), 1_750_000_000.0, "pass", "fail")


async def test_everything_is_stored(place: Place, acme: Home) -> None:
    copies = (Copy(acme.inbox, prepended=b"Delivered-To: bob\r\n"), Copy(acme.mailboxes["Junk"], reason="a spam"))
    record = decision(acme.tenant)
    ((first, second),) = await place.filer.file([bundle(acme, *copies)], [record])
    (inbox,), (junk,) = await place.fetch(acme, first.mailbox), await place.fetch(acme, second.mailbox)
    assert inbox.email == junk.email
    assert (inbox.prepended, junk.reason) == (b"Delivered-To: bob\r\n", "a spam")
    found = inbox.email
    assert (found.subject, found.message_id, found.spf, found.dkim) == ("Grüße", "<1@example.org>", "pass", "fail")
    assert (found.references, found.size) == (("<a@b>", "<c@d>"), len(MAIL))
    content = await place.blobs.get(found.blob_path)
    assert content.read(0, content.size) == MAIL
    assert await place.database.decisions.get(record.id) == [record]


async def test_both_ways_store_the_same(tmp_path: Path) -> None:
    found = []
    for process in (True, False):
        (tmp_path / str(process)).mkdir()
        place = Place(tmp_path / str(process), process=process)
        await place.database.open()
        await place.blobs.open()
        acme = await home(place.database)
        await place.filer.file([bundle(acme)], [])
        (stored,) = await place.fetch(acme, acme.inbox)
        found.append(replace(stored.email, id="", tenant="", blob_path=""))
        await place.blobs.close()
        await place.database.close()
    assert found[0] == found[1]


async def test_a_mail_that_comes_again_is_recognised(place: Place, acme: Home) -> None:
    copy = Copy(acme.inbox, prepended=envelope("ann@acme.test"))
    ((first,),) = await place.filer.file([bundle(acme, copy)], [])
    ((second,),) = await place.filer.file([bundle(acme, copy)], [])
    assert (second.uid, second.fresh) == (first.uid, False)
    without = MAIL.replace(b"Message-ID: <1@example.org>\r\n", b"")
    uids = [(await place.filer.file([bundle(acme, copy, content=without)], []))[0][0].uid for _ in range(2)]
    assert uids == [first.uid + 1, first.uid + 2]


async def test_watchers_are_woken(place: Place, acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(place.database.changes, "publish", told.extend)
    await place.filer.file([bundle(acme)], [])
    assert told == [acme.inbox]


async def test_nothing_is_filed_of_what_cannot_be_filed_whole(place: Place, acme: Home) -> None:
    with pytest.raises(NotFound):
        await place.filer.file([bundle(acme), bundle(acme, Copy("nowhere"), content=b"x")], [decision(acme.tenant)])
    assert await place.fetch(acme, acme.inbox) == []


async def test_large_contents_do_not_go_to_the_process(
    place: Place, acme: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_deposit: object) -> None:
        raise AssertionError("deposited")

    if place.database.deposits is not None:
        monkeypatch.setattr(place.database.deposits, "deposit", never)
    half = MAIL + b"x" * (CARRIED_OCTETS // 2)
    await place.filer.file([bundle(acme, content=half), bundle(acme, content=half + b"y")], [])
    sizes = [stored.email.size for stored in await place.fetch(acme, acme.inbox)]
    assert sizes == [len(half), len(half) + 1]


@pytest.mark.parametrize(
    "content",
    [
        b"From: " + b"a@b.test, " * 2000 + b"\r\n\r\nx",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\n" * 1000,
    ],
)
async def test_what_costs_much_to_index_holds_up_neither_the_loop_nor_the_process(
    place: Place, acme: Home, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[str] = []

    async def noted(pool: str, function: Callable[..., R], *arguments: object) -> R:
        pools.append(pool)
        return await run_blocking(pool, function, *arguments)

    monkeypatch.setattr(place.filer, "_run_blocking", noted)
    await place.filer.file([bundle(acme, Copy(acme.inbox), content=content)], [])
    assert pools == ["index"]
    await place.filer.file([bundle(acme, Copy(acme.inbox), content=content[:2000])], [])
    assert pools == ["index"]


async def test_half_a_surrogate_pair(place: Place, acme: Home) -> None:
    odd = "a\ud800b"
    record = decision(acme.tenant, sender=odd, recipients=(odd,))
    copy = Copy(acme.inbox, recipient=odd, reason=odd, keywords=("ok",))
    await place.filer.file([bundle(acme, copy)], [record])
    (stored,) = await place.fetch(acme, acme.inbox)
    assert (stored.recipient, stored.reason, stored.entry.keywords) == ("a?b", "a?b", ("ok",))
    (kept,) = await place.database.decisions.get(record.id)
    assert (kept.sender, kept.recipients) == ("a?b", ("a?b",))


async def test_blobs_that_cannot_be_written(place: Place, acme: Home) -> None:
    (place.folder / "blobs" / "msg").touch()
    with pytest.raises(StoreUnavailable):
        await place.filer.file([bundle(acme)], [])
    assert await place.fetch(acme, acme.inbox) == []


async def test_a_process_that_was_killed_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    place = Place(tmp_path, process=True)
    await place.database.open()
    await place.blobs.open()
    acme = await home(place.database)
    await place.filer.file([bundle(acme, content=b"%d" % 0)], [])
    assert place.door is not None
    assert place.door.process is not None
    work = [asyncio.ensure_future(place.filer.file([bundle(acme, content=b"%d" % n)], [])) for n in range(1, 60)]
    await asyncio.sleep(0)
    place.door.process.kill()
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert all(isinstance(outcome, list | StoreUnavailable) for outcome in outcomes)
    await place.filer.file([bundle(acme, content=b"last")], [])
    stored = {one.entry.uid: one.email for one in await place.fetch(acme, acme.inbox)}
    acknowledged = {outcome[0][0].uid for outcome in outcomes if isinstance(outcome, list)}
    assert acknowledged <= set(stored)
    for email in stored.values():
        assert (await place.blobs.get(email.blob_path)).size == email.size
    await place.blobs.close()
    await place.database.close()
