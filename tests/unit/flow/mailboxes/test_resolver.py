"""Names and ids lead to the user's own mailboxes, and never to the tenant's quarantine or to those of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.flow.mailboxes import ALL_RIGHTS, Access, NotPermitted, OwnMailboxes, Place, Rights
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.context import Identity
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home, home


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[Home]:
    database = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await database.open()
    yield await home(database)
    await database.close()


def user(of: Home) -> Identity:
    return Identity(of.account.address, of.account.id, of.tenant, of.organization.name)


async def test_the_owner_has_all_rights(acme: Home) -> None:
    resolver = OwnMailboxes(acme.db.mailboxes)
    found = await resolver.all(user(acme))
    assert {access.name: access.mailbox.id for access in found} == acme.mailboxes
    assert {access.rights for access in found} == {ALL_RIGHTS}
    named, by_id = await resolver.named(user(acme), "INBOX"), await resolver.by_id(user(acme), acme.inbox)
    assert named is not None and named == by_id
    assert named in found
    assert await resolver.place(user(acme), "New") == Place(acme.tenant, acme.account.id, "New", ALL_RIGHTS)


async def test_nothing_gives_access_to_mailboxes_of_others(acme: Home) -> None:
    quarantine = await acme.db.mailboxes.create(acme.tenant, None, "Quarantine")
    bob = await acme.db.accounts.add(acme.tenant, "bob@acme.test", "-")
    [his] = [box for box in await acme.db.mailboxes.all(acme.tenant, bob.id) if box.name == "INBOX"]
    other = await home(acme.db, "other")
    resolver = OwnMailboxes(acme.db.mailboxes)
    assert await resolver.named(user(acme), "Quarantine") is None
    for mailbox in (quarantine.id, his.id, other.inbox, "nonsense"):
        assert await resolver.by_id(user(acme), mailbox) is None
    assert {access.mailbox.account for access in await resolver.all(user(acme))} == {acme.account.id}


def test_a_missing_right_is_named_in_the_log_and_not_to_the_user() -> None:
    mailbox = Mailbox("m1", "t", "a", "INBOX", 1)
    access = Access(mailbox, "INBOX", Rights.LOOKUP | Rights.READ)
    access.need(Rights.READ)
    with pytest.raises(NotPermitted, match=r"m1.*INSERT") as raised:
        access.need(Rights.READ | Rights.INSERT)
    assert "m1" not in raised.value.text
    with pytest.raises(NotPermitted, match="CREATE"):
        Place("t", "a", "x", Rights.LOOKUP).need(Rights.CREATE)
