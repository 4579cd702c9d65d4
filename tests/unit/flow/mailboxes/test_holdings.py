"""The administrator's view of mailboxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import NotFound
from inbox.flow.mailboxes.holdings import Holdings
from inbox.store.ports.mailboxes import MailboxStatus
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, home


async def test_a_tenant_has_those_of_its_accounts_and_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await database.open()
    acme = await home(database)
    await home(database, "other")
    await database.mailboxes.create(acme.tenant, None, "Quarantine")
    await acme.fill(3)
    holdings = Holdings(database.accounts, database.mailboxes)
    of_account = await holdings.of_account(acme.account)
    of_tenant = await holdings.of_tenant(acme.organization)
    assert {held.mailbox.name: held.status.messages for held in of_account} == {
        **dict.fromkeys(acme.mailboxes, 0),
        "INBOX": 3,
    }
    assert of_tenant[:-1] == of_account
    assert (of_tenant[-1].owner, of_tenant[-1].mailbox.name) == ("tenant acme", "Quarantine")

    status = database.mailboxes.status

    async def deleted(tenant: str, mailbox: str) -> MailboxStatus:
        if mailbox == acme.inbox:
            raise NotFound("deleted a moment ago")
        return await status(tenant, mailbox)

    monkeypatch.setattr(database.mailboxes, "status", deleted)
    assert "INBOX" not in [held.mailbox.name for held in await holdings.of_account(acme.account)]
    await database.close()
