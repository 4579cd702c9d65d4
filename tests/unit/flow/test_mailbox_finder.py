"""The mailbox of a copy: found once, kept for a moment, of the same tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base import limits
from inbox.base.errors import AlreadyExists, NotFound
from inbox.base.ids import RandomIds
from inbox.flow.destinations import QUARANTINE
from inbox.flow.mailbox_finder import KEPT_SECONDS, StoredMailboxFinder
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.testing import FakeClock
from inbox.store.sqlite import SqliteDatabase

ANN = "ann@acme.test"


class Here:
    def __init__(self, database: SqliteDatabase, clock: FakeClock, acme: str, umbra: str, ann: str) -> None:
        self.database, self.clock, self.acme, self.umbra, self.ann = database, clock, acme, umbra, ann
        self.finder = StoredMailboxFinder(database.accounts, database.mailboxes, clock)

    async def names(self, account: str | None) -> list[str]:
        return [mailbox.name for mailbox in await self.database.mailboxes.all(self.acme, account)]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    clock = FakeClock()
    database = SqliteDatabase(tmp_path / "inbox.db", clock, RandomIds(clock.now))
    await database.open()
    acme = (await database.tenants.add("acme")).id
    umbra = (await database.tenants.add("umbra")).id
    await database.tenants.add_domain(acme, "acme.test")
    account = await database.accounts.add(acme, ANN, "")
    yield Here(database, clock, acme, umbra, account.id)
    await database.close()


async def test_a_mailbox_that_is_missing_is_made_with_its_parents(here: Here) -> None:
    made = (await here.finder.mailbox(here.acme, ANN, "Lists/Python")).id
    found = await here.database.mailboxes.by_name(here.acme, here.ann, "Lists/Python")
    assert found is not None
    assert found.id == made
    assert "Lists" in await here.names(here.ann)


async def test_the_quarantine_is_the_tenants_and_made_once(here: Here) -> None:
    first = (await here.finder.quarantine(here.acme)).id
    here.finder.forget()
    assert (await here.finder.quarantine(here.acme)).id == first
    assert await here.names(None) == [QUARANTINE]
    assert (await here.finder.quarantine(here.umbra)).id != first


@pytest.mark.parametrize(("tenant", "account"), [("umbra", ANN), ("acme", "nobody@acme.test")])
async def test_an_account_that_the_tenant_has_not(here: Here, tenant: str, account: str) -> None:
    with pytest.raises(NotFound, match="no account"):
        await here.finder.mailbox(getattr(here, tenant), account, "INBOX")


async def test_a_found_mailbox_is_kept_for_a_moment(here: Here) -> None:
    kept = (await here.finder.mailbox(here.acme, ANN, "Lists")).id
    await here.database.mailboxes.delete(here.acme, kept)
    assert (await here.finder.mailbox(here.acme, ANN, "Lists")).id == kept
    here.clock.advance(KEPT_SECONDS + 0.1)
    assert (await here.finder.mailbox(here.acme, ANN, "Lists")).id != kept


async def test_a_removed_mailbox_is_forgotten(here: Here) -> None:
    kept = (await here.finder.mailbox(here.acme, ANN, "Lists")).id
    await here.database.mailboxes.delete(here.acme, kept)
    here.finder.forget()
    assert (await here.finder.mailbox(here.acme, ANN, "Lists")).id != kept


async def test_a_concurrent_creation_is_no_error(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    create = here.database.mailboxes.create

    async def slower(tenant: str, account: str | None, name: str, *, subscribed: bool) -> Mailbox:
        await create(tenant, account, name, subscribed=subscribed)
        raise AlreadyExists(name)

    monkeypatch.setattr(here.database.mailboxes, "create", slower)
    made = (await here.finder.mailbox(here.acme, ANN, "Lists")).id
    found = await here.database.mailboxes.by_name(here.acme, here.ann, "Lists")
    assert found is not None
    assert found.id == made


async def test_an_account_that_is_full_of_mailboxes_gets_its_message_in_inbox(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await here.names(here.ann)
    monkeypatch.setattr(limits, "MAILBOXES", len(before))
    inbox = await here.database.mailboxes.by_name(here.acme, here.ann, "INBOX")
    assert inbox is not None
    assert (await here.finder.mailbox(here.acme, ANN, "Lists/Python")).id == inbox.id
    assert await here.names(here.ann) == before
