"""Ingest through the worker process and without it: what is stored is the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from inbox.base.errors import NotFound, StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.blobs.local import LocalBlobs
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Copy
from inbox.store.ports.messages import EmailRecord, Placed, StoredMessage
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.worker.protocol import WORKER_OCTETS
from inbox.store.worker.starting import OwnWorker
from tests.support.store import IDS, Home, decision, envelope, home

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

R = TypeVar("R")
DATE = 1_750_000_000.0
EMAIL_FIELDS = [field.name for field in fields(EmailRecord)]
MAIL = (
    b"From: Ann <ann@example.org>\r\nTo: bob@acme.test, Eve <eve@acme.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Message-ID: <1@example.org>\r\nReferences: <a@b> <c@d>\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhello\r\n--x\r\n"
    b"Content-Type: application/pdf; name=a.pdf\r\n\r\n%PDF\r\n--x--\r\n"
)


class Place:
    """Stores on a folder and the ingest over them."""

    def __init__(self, folder: Path, *, process: bool) -> None:
        self.clock = FakeClock()
        self.blobs = LocalBlobs(folder / "blobs")
        self.handover = OwnWorker() if process else None
        self.database = SqliteDatabase(
            folder / "inbox.db", self.clock, IDS, worker=self.handover, blobs=folder / "blobs" if process else None
        )
        self.ingest = self.database.ingest(self.blobs, self.run_blocking)
        self.folder = folder
        self.pools: list[str] = []

    async def run_blocking(self, kind: str, function: Callable[..., R], *arguments: Any) -> R:
        """A thread, whichever pool is asked for."""
        self.pools.append(kind)
        return await asyncio.to_thread(function, *arguments)

    async def file(self, messages: list[AcceptedMessage], decisions: list[DecisionRecord]) -> list[list[Placed]]:
        return await self.ingest.accept(Accepted(tuple(messages), tuple(decisions)))

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


def message(acme: Home, *copies: Copy, content: bytes = MAIL) -> AcceptedMessage:
    given = copies or (Copy(acme.inbox),)
    return AcceptedMessage(IDS.new(), acme.tenant, MemoryContent(content), given, DATE, DATE, "pass", "fail")


async def test_everything_is_stored(place: Place, acme: Home) -> None:
    copies = (Copy(acme.inbox, prepended=b"Delivered-To: bob\r\n"), Copy(acme.mailboxes["Junk"], reason="a spam"))
    record = decision(acme.tenant)
    ((first, second),) = await place.file([message(acme, *copies)], [record])
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
        await place.file([message(acme)], [])
        (stored,) = await place.fetch(acme, acme.inbox)
        found.append(replace(stored.email, id="", tenant="", blob_path=""))
        await place.blobs.close()
        await place.database.close()
    assert found[0] == found[1]


async def test_a_mail_that_comes_again_is_recognised(place: Place, acme: Home) -> None:
    copy = Copy(acme.inbox, prepended=envelope("ann@acme.test"))
    ((first,),) = await place.file([message(acme, copy)], [])
    ((second,),) = await place.file([message(acme, copy)], [])
    assert (second.uid, second.fresh) == (first.uid, False)
    without = MAIL.replace(b"Message-ID: <1@example.org>\r\n", b"")
    uids = [(await place.file([message(acme, copy, content=without)], []))[0][0].uid for _ in range(2)]
    assert uids == [first.uid + 1, first.uid + 2]


async def test_watchers_are_woken(place: Place, acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(place.database.changes, "publish", told.extend)
    await place.file([message(acme)], [])
    assert told == [acme.inbox]


async def test_nothing_is_filed_of_what_cannot_be_filed_whole(place: Place, acme: Home) -> None:
    with pytest.raises(NotFound):
        await place.file([message(acme), message(acme, Copy("nowhere"), content=b"x")], [decision(acme.tenant)])
    assert await place.fetch(acme, acme.inbox) == []


async def test_large_contents_do_not_go_to_the_worker(
    place: Place, acme: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_accepted: object) -> None:
        raise AssertionError("sent to the worker")

    if place.database.worker is not None:
        monkeypatch.setattr(place.database.worker, "ingest", never)
    half = MAIL + b"x" * (WORKER_OCTETS // 2)
    await place.file([message(acme, content=half), message(acme, content=half + b"y")], [])
    sizes = [stored.email.size for stored in await place.fetch(acme, acme.inbox)]
    assert sizes == [len(half), len(half) + 1]


@pytest.mark.parametrize(
    "content",
    [
        b"From: " + b"a@b.test, " * 2000 + b"\r\n\r\nx",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\n" * 1000,
    ],
)
async def test_costly_indexing_blocks_neither_the_loop_nor_the_worker(place: Place, acme: Home, content: bytes) -> None:
    await place.file([message(acme, Copy(acme.inbox), content=content)], [])
    assert place.pools == ["index"]
    await place.file([message(acme, Copy(acme.inbox), content=content[:2000])], [])
    assert place.pools == ["index"]


async def test_half_a_surrogate_pair(place: Place, acme: Home) -> None:
    odd = "a\ud800b"
    record = decision(acme.tenant, sender=odd, recipients=(odd,))
    copy = Copy(acme.inbox, recipient=odd, reason=odd, keywords=("ok",))
    await place.file([message(acme, copy)], [record])
    (stored,) = await place.fetch(acme, acme.inbox)
    assert (stored.recipient, stored.reason, stored.entry.keywords) == ("a?b", "a?b", ("ok",))
    (kept,) = await place.database.decisions.get(record.id)
    assert (kept.sender, kept.recipients) == ("a?b", ("a?b",))


async def test_blobs_that_cannot_be_written(place: Place, acme: Home) -> None:
    (place.folder / "blobs" / "msg").touch()
    with pytest.raises(StoreUnavailable):
        await place.file([message(acme)], [])
    assert await place.fetch(acme, acme.inbox) == []


async def test_a_process_that_was_killed_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    place = Place(tmp_path, process=True)
    await place.database.open()
    await place.blobs.open()
    acme = await home(place.database)
    await place.file([message(acme, content=b"%d" % 0)], [])
    assert place.handover is not None
    assert place.handover.process is not None
    work = [asyncio.ensure_future(place.file([message(acme, content=b"%d" % n)], [])) for n in range(1, 60)]
    await asyncio.sleep(0)
    place.handover.process.kill()
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert all(isinstance(outcome, list | StoreUnavailable) for outcome in outcomes)
    await place.file([message(acme, content=b"last")], [])
    stored = {one.entry.uid: one.email for one in await place.fetch(acme, acme.inbox)}
    acknowledged = {outcome[0][0].uid for outcome in outcomes if isinstance(outcome, list)}
    assert acknowledged <= set(stored)
    for email in stored.values():
        assert (await place.blobs.get(email.blob_path)).size == email.size
    await place.blobs.close()
    await place.database.close()


def queued_only(place: Place, acme: Home) -> AcceptedMessage:
    now = place.clock.now()
    job = Job(IDS.new(), "ann@acme.test", (JobRecipient("bob@example.org", ("NEVER",)),), "example.org", now, now + 60)
    return AcceptedMessage(
        IDS.new(), acme.tenant, MemoryContent(MAIL), (), DATE, DATE, "pass", "fail", recognise=False, jobs=(job,)
    )


async def test_a_mailbox_gets_the_whole_record_of_a_message_that_was_only_queued(place: Place, acme: Home) -> None:
    """Nobody reads the index of a message in the queue, so the worker process leaves it out. A mail program may append
    the mail that it submitted to its Sent mailbox."""
    sent = queued_only(place, acme)
    await place.file([sent], [])
    await place.file([message(acme)], [])
    await place.file([message(acme, content=MAIL.replace(b"%PDF", b"%PDG"))], [])
    same, other = await place.fetch(acme, acme.inbox)
    assert (same.email.id, same.email.blob_path) == (sent.id, sent.blob_path)
    assert same.email.envelope
    differ = {name for name in EMAIL_FIELDS if getattr(same.email, name) != getattr(other.email, name)}
    assert differ == {"id", "content_hash", "blob_path", "blob_sha"}


async def test_a_job_for_a_message_in_a_mailbox_leaves_its_record_whole(place: Place, acme: Home) -> None:
    await place.file([message(acme)], [])
    (before,) = await place.fetch(acme, acme.inbox)
    await place.file([queued_only(place, acme)], [])
    (after,) = await place.fetch(acme, acme.inbox)
    assert (after.email, bool(after.email.envelope)) == (before.email, True)


async def test_jobs_are_queued_with_their_message(place: Place, acme: Home) -> None:
    sent = queued_only(place, acme)
    assert await place.file([sent], []) == [[]]
    (queued,) = await place.database.queue.jobs(acme.tenant)
    assert (queued.job, queued.email, queued.blob_path) == (
        sent.jobs[0],
        sent.id,
        f"msg/{acme.tenant}/queue/{sent.id}.eml",
    )
    assert (await place.blobs.get(queued.blob_path)).size == len(MAIL)
