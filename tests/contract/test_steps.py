"""Commands about many messages: in steps, so that other work gets the writer between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inbox.base.errors import AlreadyExists, NotFound, StoreUnavailable
from inbox.mail.flags import Flag
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import Database
from inbox.store.ports.ingest import Indexed
from inbox.store.sqlite import copying
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.steps import MOST_ROWS
from inbox.store.surreal import copying as surreal_copying
from inbox.store.surreal.copying import Copying
from inbox.store.surreal.database import SurrealDatabase
from inbox.store.surreal.entries import Entries
from inbox.store.surreal.gateway import Gateway
from tests.support.store import Home, Opener, decision, email, indexed

MANY = 3000
EVERYTHING = list(range(1, MANY + 1))
#: An expunge removes an entry, remembers its uid and removes its mail; and there are counters.
LARGEST = 3 * MOST_ROWS + 10


def watched(db: Database) -> list[int]:
    """Collects the rows of each transaction; nothing for SurrealDB, where they are unknown."""
    rows: list[int] = []
    if isinstance(db, SqliteDatabase):
        db._main._committer.watch = rows.append
    return rows


def dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that fail do not clean up any more, as if their process had ended."""

    async def nothing(*_: Any) -> None:
        return

    monkeypatch.setattr(copying, "_try_to_undo", nothing)
    monkeypatch.setattr(Copying, "_try_to_undo", nothing)


async def progress(acme: Home, mailbox: str) -> None:
    """Returns when something is in a mailbox."""
    while not (await acme.db.mailboxes.status(acme.tenant, mailbox)).messages:
        pass


async def store(acme: Home) -> None:
    await acme.db.messages.store(acme.tenant, acme.inbox, EVERYTHING, "add", Flag.DELETED)


async def expunge(acme: Home) -> None:
    await acme.db.messages.expunge(acme.tenant, acme.inbox)


async def copy(acme: Home) -> None:
    await acme.db.messages.copy(acme.tenant, acme.inbox, EVERYTHING, acme.mailboxes["Archive"])


async def move(acme: Home) -> None:
    await acme.db.messages.copy(acme.tenant, acme.inbox, EVERYTHING, acme.mailboxes["Archive"], move=True)


async def remove(acme: Home) -> None:
    await acme.db.messages.remove(acme.tenant, acme.inbox, EVERYTHING)


async def rename(acme: Home) -> None:
    await acme.db.mailboxes.rename(acme.tenant, acme.inbox, "Old")


async def delete(acme: Home) -> None:
    box = (await acme.db.mailboxes.by_name(acme.tenant, acme.account.id, "Archive")) or pytest.fail("no Archive")
    await acme.db.mailboxes.delete(acme.tenant, box.id)


@pytest.mark.parametrize("command", [store, expunge, copy, move, remove, rename, delete])
async def test_another_tenants_mail_is_filed_before_a_long_command_ends(
    acme: Home, other: Home, command: Callable[[Home], Awaitable[None]]
) -> None:
    flags = Flag.DELETED if command is expunge else Flag(0)
    await acme.fill(MANY, acme.mailboxes["Archive"] if command is delete else acme.inbox, flags=flags)
    rows = watched(acme.db)
    task = asyncio.ensure_future(command(acme))
    await asyncio.sleep(0)
    for _ in range(2):
        await other.deliver()
        assert not task.done()
    await task
    assert max(rows, default=0) <= LARGEST
    assert not rows or len(rows) > MANY / MOST_ROWS


async def test_housekeeping_removes_records_in_steps(acme: Home, other: Home) -> None:
    for _ in range(3):
        await acme.db.decisions.add([decision(acme.tenant, at=10.0) for _ in range(1000)])
    await acme.db.decisions.add([decision(acme.tenant, at=30.0)])
    rows = watched(acme.db)
    task = asyncio.ensure_future(acme.db.decisions.prune(20.0))
    await asyncio.sleep(0)
    await other.deliver()
    assert not task.done()
    assert await task == 3000
    assert max(rows, default=0) <= MOST_ROWS
    assert await acme.db.decisions.prune(20.0) == 0
    assert await acme.db.decisions.prune(40.0) == 1


async def test_the_results_of_a_store_come_step_by_step(acme: Home) -> None:
    await acme.fill(MANY)
    uids: list[int] = []
    modseqs: list[int] = []
    storing = acme.db.messages.storing(acme.tenant, acme.inbox, EVERYTHING, "add", Flag.SEEN)
    async for step in storing:
        assert {entry.modseq for entry in step.entries} == {step.modseq}
        assert step.left_alone == []
        assert len(step.entries) <= MOST_ROWS
        uids += [entry.uid for entry in step.entries]
        modseqs.append(step.modseq)
    assert uids == EVERYTHING
    assert modseqs == sorted(set(modseqs))
    assert len(modseqs) > MANY / MOST_ROWS


async def test_a_store_that_is_left_early_leaves_the_rest(acme: Home) -> None:
    await acme.fill(MANY)
    storing = acme.db.messages.storing(acme.tenant, acme.inbox, EVERYTHING, "add", Flag.SEEN)
    step = await anext(storing)
    del storing
    done = {entry.uid for entry in await acme.db.messages.entries(acme.tenant, acme.inbox) if entry.flags & Flag.SEEN}
    assert done == {entry.uid for entry in step.entries}
    assert (await acme.db.mailboxes.status(acme.tenant, acme.inbox)).unseen == MANY - len(done)


async def test_an_entry_changed_between_two_steps_is_left_alone(acme: Home) -> None:
    """UNCHANGEDSINCE holds for each step (RFC 7162 §3.1.3)."""
    since = (await acme.fill(MANY))[-1].modseq
    left_alone: list[int] = []
    storing = acme.db.messages.storing(acme.tenant, acme.inbox, EVERYTHING, "add", Flag.SEEN, unchanged_since=since)
    async for step in storing:
        if MANY not in left_alone:
            await acme.db.messages.store(acme.tenant, acme.inbox, [MANY], "add", Flag.FLAGGED)
        left_alone += step.left_alone
    assert left_alone == [MANY]
    assert (await acme.db.messages.entries(acme.tenant, acme.inbox))[-1].flags == Flag.FLAGGED


async def test_changes_of_many_steps_are_one_answer(acme: Home) -> None:
    since = (await acme.fill(MANY))[-1].modseq
    await acme.db.messages.store(acme.tenant, acme.inbox, [*EVERYTHING[1500:]], "add", Flag.SEEN)
    await acme.db.messages.store(acme.tenant, acme.inbox, [*EVERYTHING[:2000]], "add", Flag.FLAGGED)
    await acme.db.messages.remove(acme.tenant, acme.inbox, EVERYTHING[:500])
    last = await acme.deliver()
    found = await acme.db.messages.changes(acme.tenant, acme.inbox, since)
    assert found.modseq == last.modseq
    assert list(found.changed) == await acme.db.messages.entries(acme.tenant, acme.inbox)
    assert found.expunged == tuple(EVERYTHING[:500])


# -- copies: all or nothing ----------------------------------------------------------------------------------


async def test_a_large_copy_leaves_no_notes(acme: Home) -> None:
    await acme.fill(MANY)
    await copy(acme)
    assert await acme.db.tidy(2e9) == 0
    assert await acme.uids(acme.mailboxes["Archive"]) == EVERYTHING


async def test_a_copy_that_is_given_up_leaves_nothing(acme: Home) -> None:
    await acme.fill(MANY)
    archive = acme.mailboxes["Archive"]
    (kept,) = await acme.fill(1, archive)
    task = asyncio.ensure_future(copy(acme))
    while (await acme.db.mailboxes.status(acme.tenant, archive)).messages == 1:
        pass
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await acme.uids(archive) == [kept.uid]
    status = await acme.db.mailboxes.status(acme.tenant, archive)
    assert (status.messages, status.unseen) == (1, 1)
    assert await acme.uids() == EVERYTHING
    assert await acme.db.tidy(2e9) == 0


async def test_a_copy_whose_process_ended_is_undone(
    acme: Home, opener: Opener, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.fill(MANY)
    archive = acme.mailboxes["Archive"]
    dies(monkeypatch)
    task = asyncio.ensure_future(copy(acme))
    await progress(acme, archive)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    another = await opener()
    assert await another.tidy(clock.now() - 1) == 0, "it may still be going on"
    assert await acme.uids(archive)
    delivered = await acme.deliver(archive)
    assert await another.tidy(clock.now() + 1) == 1
    assert await acme.uids(archive) == [delivered.uid]
    assert await acme.uids() == EVERYTHING
    assert len(await acme.fetched(acme.inbox, EVERYTHING, texts=False)) == MANY


async def test_a_copy_from_before_the_clock_was_set_back_is_undone(
    acme: Home, opener: Opener, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.fill(MANY)
    archive = acme.mailboxes["Archive"]
    dies(monkeypatch)
    task = asyncio.ensure_future(copy(acme))
    await progress(acme, archive)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    clock.advance(-10 * 86_400.0)
    assert await (await opener()).tidy(clock.now() - 60) == 1
    assert await acme.uids(archive) == []
    assert await acme.uids() == EVERYTHING


async def test_a_copy_that_was_taken_for_abandoned_fails(acme: Home, opener: Opener, clock: FakeClock) -> None:
    await acme.fill(MANY)
    archive = acme.mailboxes["Archive"]
    another = await opener()
    task = asyncio.ensure_future(copy(acme))
    await progress(acme, archive)
    assert await another.tidy(clock.now() + 1) == 1
    with pytest.raises(StoreUnavailable, match="copy"):
        await task
    assert await acme.uids(archive) == []


async def test_a_move_that_is_given_up_has_each_message_once(acme: Home) -> None:
    await acme.fill(MANY)
    archive = acme.mailboxes["Archive"]
    task = asyncio.ensure_future(move(acme))
    await progress(acme, archive)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The step that was under way has ended when this one has.
    await acme.db.messages.remove(acme.tenant, acme.mailboxes["Junk"], [1])
    here, there = (
        await acme.fetched(acme.inbox, EVERYTHING, texts=False),
        await acme.fetched(archive, EVERYTHING, texts=False),
    )
    assert here
    assert there
    assert len({message.email.id for message in [*here, *there]}) == len(here) + len(there) == MANY


# -- deleted mailboxes ---------------------------------------------------------------------------------------


async def test_a_deleted_mailbox_whose_process_ended_is_gone_and_its_rest_is_removed(
    acme: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(acme.db, SqliteDatabase):
        pytest.skip("SurrealDB's mailbox goes last")
    archive = acme.mailboxes["Archive"]
    mail = email(acme.tenant)
    await acme.deliver(archive, mail)
    child = await acme.db.mailboxes.create(acme.tenant, acme.account.id, "Archive/2024")

    async def ended(*_: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(type(acme.db.mailboxes), "_clear", ended)
        with pytest.raises(asyncio.CancelledError):
            await acme.db.mailboxes.delete(acme.tenant, archive)
    boxes = {box.name: box for box in await acme.db.mailboxes.all(acme.tenant, acme.account.id)}
    assert "Archive" not in boxes
    assert boxes["Archive/2024"].parent is None
    assert await acme.db.mailboxes.get(acme.tenant, archive) is None
    for use in (
        acme.db.messages.listing(acme.tenant, archive),
        acme.db.mailboxes.status(acme.tenant, archive),
        acme.db.messages.copy(acme.tenant, archive, [1], acme.inbox),
        acme.deliver(archive),
    ):
        with pytest.raises(NotFound):
            await use
    again = await acme.db.mailboxes.create(acme.tenant, acme.account.id, "Archive")
    with pytest.raises(AlreadyExists):
        await acme.db.mailboxes.create(acme.tenant, acme.account.id, "Archive")
    # A mail that is sent again is not mistaken for a stored one.
    ((placed,),) = await acme.db.writer.write(Indexed((indexed(mail, again.id),)))
    assert placed.fresh
    await acme.db.mailboxes.delete(acme.tenant, again.id)
    assert await acme.db.tidy(0.0) == 1
    assert await acme.db.tidy(0.0) == 0
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == set()
    rest = await acme.db._main.read(
        lambda db: db.execute('SELECT count(*) FROM has_email_delivery WHERE "out" = ?', (archive,)).fetchone()
    )
    assert rest == (0,)
    assert (await acme.db.mailboxes.get(acme.tenant, child.id)) is not None


async def test_a_store_that_changes_nothing_has_no_modseq(acme: Home) -> None:
    await acme.fill(2, flags=Flag.SEEN)
    storing = acme.db.messages.storing(acme.tenant, acme.inbox, [1, 2], "add", Flag.SEEN)
    assert [(len(step.entries), step.modseq) async for step in storing] == [(2, 0)]


@pytest.mark.real
async def test_a_copy_does_not_end_well_while_it_is_being_undone(
    acme: Home, opener: Opener, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that hears OK may remove the originals."""
    if not isinstance(acme.db, SurrealDatabase):
        pytest.skip("SQLite undoes a step and forgets it in one transaction")
    await acme.fill(MANY)
    archive = acme.mailboxes["Archive"]
    another = await opener()
    assert isinstance(another, SurrealDatabase)
    at_its_end, goes_on = asyncio.Event(), asyncio.Event()
    write, remove = Gateway.write, Entries.remove

    async def waiting(self: Gateway, sql: str, **values: Any) -> Any:
        if sql is surreal_copying._END:
            at_its_end.set()
            await goes_on.wait()
        return await write(self, sql, **values)

    async def removed(self: Entries, *arguments: Any, **options: Any) -> list[int]:
        gone = await remove(self, *arguments, **options)
        if not goes_on.is_set():
            goes_on.set()
            await asyncio.wait([task])
        return gone

    monkeypatch.setattr(Gateway, "write", waiting)
    monkeypatch.setattr(Entries, "remove", removed)
    task = asyncio.ensure_future(copy(acme))
    await at_its_end.wait()
    await another.tidy(clock.now() + 1)
    with pytest.raises(StoreUnavailable):
        await task
    assert await acme.uids(archive) == []
    assert await another.tidy(clock.now() + 1) == 0
