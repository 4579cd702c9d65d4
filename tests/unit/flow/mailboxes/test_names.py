"""Mailboxes as such: each use case checks the right that RFC 4314 §4 demands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import AlreadyExists, LimitReached
from inbox.flow.mailboxes import ALL_RIGHTS, MailboxNames, NameRefused, NoSuchMailbox, NotPermitted, Rights
from inbox.flow.mailboxes.errors import SpecialUseTaken
from inbox.plugin.api.context import Identity
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.rights import Granting
from tests.support.store import IDS, Home, home


@dataclass
class Scene:
    acme: Home
    ann: Identity
    bob: Identity
    resolver: Granting
    names: MailboxNames

    async def owned(self, who: Identity) -> set[str]:
        return {mailbox.name for mailbox in await self.acme.db.mailboxes.all(who.tenant, who.account)}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await database.open()
    acme = await home(database)
    other = await database.accounts.add(acme.tenant, "bob@acme.test", "-")
    ann = Identity(acme.account.address, acme.account.id, acme.tenant, "acme")
    bob = Identity(other.address, other.id, acme.tenant, "acme")
    resolver = Granting(database.mailboxes, bob)
    yield Scene(acme, ann, bob, resolver, MailboxNames(resolver, database.mailboxes))
    await database.close()


async def test_a_mailbox_without_lookup_does_not_exist(scene: Scene) -> None:
    scene.resolver.granted["Drafts"] = ALL_RIGHTS & ~Rights.LOOKUP
    assert "Drafts" not in [access.name for access in await scene.names.all(scene.ann)]
    for work in (
        scene.names.named(scene.ann, "Drafts"),
        scene.names.by_id(scene.ann, scene.acme.mailboxes["Drafts"]),
        scene.names.delete(scene.ann, "Drafts"),
        scene.names.rename(scene.ann, "Drafts", "Sketches"),
        scene.names.subscribe(scene.ann, "Drafts"),
    ):
        with pytest.raises(NoSuchMailbox):
            await work
    assert "Drafts" in await scene.owned(scene.ann)
    assert (await scene.names.by_id(scene.ann, scene.acme.inbox)).name == "INBOX"


async def test_status_needs_read(scene: Scene) -> None:
    scene.resolver.granted["Drafts"] = Rights.LOOKUP
    assert (await scene.names.status(await scene.names.named(scene.ann, "INBOX"))).messages == 0
    with pytest.raises(NotPermitted):
        await scene.names.status(await scene.names.named(scene.ann, "Drafts"))


async def test_create_needs_the_right_above(scene: Scene) -> None:
    scene.resolver.granted["Archive"] = ALL_RIGHTS & ~Rights.CREATE
    with pytest.raises(NotPermitted):
        await scene.names.create(scene.ann, "Archive/2024")
    await scene.names.create(scene.ann, "Sent/2024/May")
    assert {"Sent/2024", "Sent/2024/May"} <= await scene.owned(scene.ann)
    assert "Sent/2024/May" not in await scene.names.subscriptions(scene.ann)


async def test_a_mailbox_created_below_a_shared_one_belongs_to_its_owner(scene: Scene) -> None:
    await scene.names.create(scene.ann, "Shared/Archive/2024")
    assert "Archive/2024" in await scene.owned(scene.bob)
    assert "Shared/Archive/2024" not in await scene.owned(scene.ann)
    with pytest.raises(SpecialUseTaken):  # the owner has one
        await scene.names.create(scene.ann, "Shared/Rubbish", "\\Trash")


async def test_delete_and_rename_need_the_right_to_delete_the_mailbox(scene: Scene) -> None:
    scene.resolver.granted["Shared/"] = ALL_RIGHTS & ~Rights.DELETE_MAILBOX
    for work in (
        scene.names.delete(scene.ann, "Shared/Archive"),
        scene.names.rename(scene.ann, "Shared/Archive", "Shared/Old"),
    ):
        with pytest.raises(NotPermitted):
            await work
    scene.resolver.granted["Shared/"] = ALL_RIGHTS & ~Rights.CREATE
    with pytest.raises(NotPermitted):
        await scene.names.rename(scene.ann, "Shared/Archive", "Shared/Sent/Old")
    await scene.names.delete(scene.ann, "Shared/Archive")
    assert "Archive" not in await scene.owned(scene.bob)
    assert "Archive" in await scene.owned(scene.ann)


async def test_a_mailbox_stays_with_its_owner(scene: Scene) -> None:
    with pytest.raises(NameRefused):
        await scene.names.rename(scene.ann, "Archive", "Shared/Old")
    with pytest.raises(NameRefused):
        await scene.names.rename(scene.ann, "Shared/Archive", "Old")
    with pytest.raises(NameRefused):
        await scene.names.delete(scene.ann, "Shared/INBOX")
    await scene.names.rename(scene.ann, "Shared/Archive", "Shared/Old")
    assert {"Old"} == await scene.owned(scene.bob) - await scene.owned(scene.ann)


async def test_names_are_checked_before_anything_is_written(scene: Scene) -> None:
    before = await scene.owned(scene.ann)
    deep = "/".join("d" * 40)
    with pytest.raises(LimitReached):
        await scene.names.create(scene.ann, deep)
    with pytest.raises(NameRefused):
        await scene.names.rename(scene.ann, "Archive", "a//b")
    with pytest.raises(NameRefused):
        await scene.names.rename(scene.ann, "Archive", "Archive/Older")
    with pytest.raises(SpecialUseTaken):
        await scene.names.create(scene.ann, "Everything", "\\All")
    with pytest.raises(AlreadyExists):
        await scene.names.create(scene.ann, "Archive")
    assert await scene.owned(scene.ann) == before


async def test_subscriptions_are_the_users_own(scene: Scene) -> None:
    await scene.names.subscribe(scene.ann, "Shared/Archive")
    assert "Shared/Archive" in await scene.names.subscriptions(scene.ann)
    scene.resolver.granted["Shared/"] = Rights(0)
    with pytest.raises(NoSuchMailbox):
        await scene.names.subscribe(scene.ann, "Shared/Sent")
    await scene.names.unsubscribe(scene.ann, "Shared/Archive")  # also when it cannot be seen any more
    assert "Shared/Archive" not in await scene.names.subscriptions(scene.ann)
