"""The quarantine of one tenant: released to whom it was for, and to nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import NotFound
from inbox.flow.mailboxes.quarantine import Quarantine
from inbox.mail.tenancy import QUARANTINE
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home, envelope, home

DECISION = "06h07td1g1cmr2t5bdts"


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[Home]:
    database = SqliteDatabase(tmp_path / "inbox.db", SystemClock(), IDS)
    await database.open()
    yield await home(database)
    await database.close()


async def hold(of: Home, recipient: str) -> int:
    box = await of.db.mailboxes.by_name(of.tenant, None, QUARANTINE)
    box = box or await of.db.mailboxes.create(of.tenant, None, QUARANTINE)
    placed = await of.deliver(
        box.id, recipient=recipient, reason="evil", prepended=envelope(recipient, transaction=DECISION)
    )
    return placed.uid


async def test_a_copy_is_found_released_and_gone(acme: Home) -> None:
    quarantine = Quarantine(acme.db, SystemClock())
    assert [held async for held in quarantine.of(acme.organization)] == []
    uid = await hold(acme, acme.account.address)
    [listed] = [held async for held in quarantine.of(acme.organization)]
    assert (listed.uid, listed.decision, listed.sender) == (uid, DECISION, "ann@example.org")
    held = await quarantine.find(acme.organization, uid)
    assert held.message.email.header_block
    assert (await quarantine.release(held)).id == acme.account.id
    assert len(await acme.uids()) == 1
    with pytest.raises(NotFound):
        await quarantine.release(held)
    with pytest.raises(NotFound):
        await quarantine.find(acme.organization, uid)
    assert len(await acme.uids()) == 1


async def test_a_copy_without_an_account_stays_until_it_is_deleted(acme: Home) -> None:
    quarantine = Quarantine(acme.db, SystemClock())
    other = await home(acme.db, "other")
    for recipient in ("gone@acme.test", other.account.address, ""):
        held = await quarantine.find(acme.organization, await hold(acme, recipient))
        with pytest.raises(NotFound, match="no longer belongs to an account of acme"):
            await quarantine.release(held)
        await quarantine.delete(held)
        await quarantine.delete(held)
    assert [held async for held in quarantine.of(acme.organization)] == []
    assert await other.uids() == []


async def test_one_tenant_does_not_see_what_another_holds(acme: Home) -> None:
    quarantine = Quarantine(acme.db, SystemClock())
    other = await home(acme.db, "other")
    uid = await hold(other, other.account.address)
    assert [held async for held in quarantine.of(acme.organization)] == []
    with pytest.raises(NotFound):
        await quarantine.find(acme.organization, uid)
