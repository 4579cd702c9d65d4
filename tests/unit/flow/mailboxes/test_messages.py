"""Messages of a mailbox: each use case checks its right, once for each call, and adds no work of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import NotFound
from inbox.flow.mailboxes import ALL_RIGHTS, Access, MailboxMessages, NotPermitted, Rights
from inbox.flow.mailboxes.rights import CHANGING
from inbox.mail.content import Content, MemoryContent
from inbox.mail.flags import Flag
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.context import Session
from inbox.store.ports.messages import Entry, Placed
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.memory_store import MemoryBlobs
from tests.support.store import IDS, Home, home

READER = Rights.LOOKUP | Rights.READ


class Appended:
    """``Appending`` that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, tuple[str, ...]]] = []

    async def append(
        self,
        session: Session,
        mailbox: Mailbox,
        content: Content,
        flags: int,
        keywords: tuple[str, ...],
        internal_date: float | None,
    ) -> Placed:
        self.asked.append((mailbox.name, flags, keywords))
        return Placed(mailbox.id, "e", 1, 2)


@dataclass
class Scene:
    acme: Home
    messages: MailboxMessages
    appended: Appended

    async def access(self, name: str = "INBOX", rights: Rights = ALL_RIGHTS) -> Access:
        mailbox = await self.acme.db.mailboxes.get(self.acme.tenant, self.acme.mailboxes[name])
        assert mailbox is not None
        return Access(mailbox, name, rights)

    async def entries(self) -> list[Entry]:
        return await self.acme.db.messages.entries(self.acme.tenant, self.acme.inbox)

    async def store(self, access: Access, uids: Sequence[int], *what: Any) -> list[Entry]:
        return [entry async for step in self.messages.store(access, uids, *what) for entry in step.entries]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await database.open()
    appended = Appended()
    yield Scene(await home(database), MailboxMessages(database, MemoryBlobs(), appended), appended)
    await database.close()


async def test_reading_needs_read(scene: Scene) -> None:
    await scene.acme.fill(2)
    access = await scene.access(rights=READER)
    assert (await scene.messages.open(access)).listing.uids.tolist() == [1, 2]
    assert [len(page) async for page in scene.messages.columns(access, [1], ("size",))] == [1]
    assert len((await scene.messages.changes(access, 0)).changed) == 2
    assert await scene.messages.claim_recent(access) == 1
    scene.messages.watch(access).close()
    blind = replace(access, rights=ALL_RIGHTS & ~Rights.READ)
    for work in (
        scene.messages.open(blind),
        scene.messages.changes(blind, 0),
        scene.messages.claim_recent(blind),
        scene.messages.copy(blind, [1], access),
    ):
        with pytest.raises(NotPermitted):
            await work
    with pytest.raises(NotPermitted):
        scene.messages.columns(blind, [1], ("size",))
    with pytest.raises(NotPermitted):
        scene.messages.watch(blind)


async def test_a_user_changes_the_flags_that_it_may(scene: Scene) -> None:
    await scene.acme.fill(1, flags=Flag.FLAGGED)
    may_see = await scene.access(rights=READER | Rights.SEEN)
    [entry] = await scene.store(may_see, [1], "add", Flag.SEEN | Flag.DELETED, ("x",))
    assert (entry.flags, entry.keywords) == (Flag.FLAGGED | Flag.SEEN, ())
    [entry] = await scene.store(may_see, [1], "remove", Flag.SEEN | Flag.FLAGGED)
    assert entry.flags == Flag.FLAGGED
    may_write = replace(may_see, rights=READER | Rights.WRITE)
    [entry] = await scene.store(may_write, [1], "add", Flag.SEEN, ("x",))
    assert (entry.flags, entry.keywords) == (Flag.FLAGGED, ("x",))


async def test_flags_that_a_user_may_not_change_are_refused(scene: Scene) -> None:
    await scene.acme.fill(1, flags=Flag.FLAGGED)
    may_see = await scene.access(rights=READER | Rights.SEEN)
    for what in (("add", Flag.DELETED), ("remove", Flag.FLAGGED), ("add", 0, ("x",))):
        with pytest.raises(NotPermitted):
            scene.messages.store(may_see, [1], *what)
    assert [entry.flags for entry in await scene.entries()] == [Flag.FLAGGED]
    with pytest.raises(NotPermitted):
        scene.messages.store(replace(may_see, rights=READER), [1], "set", 0)
    all_flags = replace(may_see, rights=READER | Rights.SEEN | Rights.WRITE | Rights.DELETE_MESSAGES)
    [entry] = await scene.store(all_flags, [1], "set", Flag.SEEN)
    assert entry.flags == Flag.SEEN


async def test_to_replace_flags_changes_those_that_the_user_may_change(scene: Scene) -> None:
    await scene.acme.fill(1, flags=Flag.FLAGGED | Flag.DELETED | Flag.SEEN, keywords=("old", "Kept"))
    may_delete = await scene.access(rights=READER | Rights.DELETE_MESSAGES)
    [entry] = await scene.store(may_delete, [1], "set", Flag.DRAFT, ("new",))
    assert (entry.flags, entry.keywords) == (Flag.FLAGGED | Flag.SEEN, ("Kept", "old"))
    may_write = replace(may_delete, rights=READER | Rights.WRITE)
    [entry] = await scene.store(may_write, [1], "set", Flag.ANSWERED | Flag.DELETED, ("kept", "new"))
    assert (entry.flags, entry.keywords) == (Flag.ANSWERED | Flag.SEEN, ("Kept", "new"))
    assert await scene.entries() == [entry]


async def test_reading_a_body_does_not_fail_without_the_right_to_mark_it(scene: Scene) -> None:
    await scene.acme.fill(1)
    assert await scene.messages.mark_seen(await scene.access(rights=READER), [1]) == []
    assert [entry.flags for entry in await scene.entries()] == [0]
    assert [entry.flags for entry in await scene.messages.mark_seen(await scene.access(), [1])] == [Flag.SEEN]


async def test_append_needs_insert_and_sets_the_flags_that_the_user_may_set(scene: Scene) -> None:
    session: Any = None
    content, flags = MemoryContent(b"x"), Flag.SEEN | Flag.DRAFT

    async def append(rights: Rights) -> None:
        await scene.messages.append(session, await scene.access(rights=rights), content, flags, ("x",), None)

    await append(ALL_RIGHTS)
    await append(Rights.INSERT | Rights.SEEN)
    await append(Rights.INSERT | Rights.WRITE)
    with pytest.raises(NotPermitted):
        await append(ALL_RIGHTS & ~Rights.INSERT)
    assert scene.appended.asked == [
        ("INBOX", Flag.SEEN | Flag.DRAFT, ("x",)),
        ("INBOX", Flag.SEEN, ()),
        ("INBOX", Flag.DRAFT, ("x",)),
    ]


@pytest.mark.parametrize("missing", [Rights.INSERT, Rights.SEEN, Rights.WRITE, Rights.DELETE_MESSAGES])
async def test_messages_go_where_the_user_may_put_them_with_their_flags(scene: Scene, missing: Rights) -> None:
    await scene.acme.fill(2)
    source, target = await scene.access(), await scene.access("Archive")
    closed = replace(target, rights=ALL_RIGHTS & ~missing)
    for work in (scene.messages.copy(source, [1], closed), scene.messages.move(source, [1], closed)):
        with pytest.raises(NotPermitted):
            await work
    assert await scene.messages.copy(source, [1], target) == [(1, 1)]
    assert await scene.messages.move(source, [2], target) == [(2, 2)]
    assert [entry.uid for entry in await scene.entries()] == [1]


@pytest.mark.parametrize("missing", [Rights.DELETE_MESSAGES, Rights.EXPUNGE])
async def test_a_move_needs_the_rights_to_remove(scene: Scene, missing: Rights) -> None:
    await scene.acme.fill(1)
    source = await scene.access(rights=ALL_RIGHTS & ~missing)
    with pytest.raises(NotPermitted):
        await scene.messages.move(source, [1], await scene.access("Archive"))
    assert await scene.messages.copy(source, [1], await scene.access("Archive")) == [(1, 1)]
    assert [entry.uid for entry in await scene.entries()] == [1]


async def test_expunge_needs_its_right(scene: Scene) -> None:
    await scene.acme.fill(2, flags=Flag.DELETED)
    with pytest.raises(NotPermitted):
        await scene.messages.expunge(await scene.access(rights=ALL_RIGHTS & ~Rights.EXPUNGE))
    assert await scene.messages.expunge(await scene.access(), [2]) == [2]
    assert await scene.messages.expunge(await scene.access(rights=Rights.EXPUNGE)) == [1]


async def test_pages_of_the_store_are_passed_on_as_they_are(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing between the store and the server sees each message of 50,000."""
    pages: Any = object()
    monkeypatch.setattr(scene.acme.db.messages, "columns", lambda *_: pages)
    monkeypatch.setattr(scene.acme.db.messages, "storing", lambda *_: pages)
    access = await scene.access()
    assert scene.messages.columns(access, range(50_000), ("size",)) is pages
    assert scene.messages.store(access, range(50_000), "add", Flag.SEEN) is pages


async def test_a_mailbox_that_is_gone_is_not_found(scene: Scene) -> None:
    """It is deleted between the name and what was to be done with it."""
    await scene.acme.fill(1)
    gone, inbox = await scene.access("Archive"), await scene.access()
    await scene.acme.db.mailboxes.delete(scene.acme.tenant, gone.mailbox.id)
    for work in (
        scene.messages.open(gone),
        scene.messages.changes(gone, 0),
        scene.messages.claim_recent(gone),
        scene.messages.copy(inbox, [1], gone),
        scene.messages.move(inbox, [1], gone),
        scene.messages.mark_seen(gone, [1]),
        scene.messages.expunge(gone),
        scene.store(gone, [1], "add", Flag.SEEN),
    ):
        with pytest.raises(NotFound):
            await work
    assert [entry.uid for entry in await scene.entries()] == [1]


def test_reading_alone_changes_nothing() -> None:
    assert not READER & CHANGING
