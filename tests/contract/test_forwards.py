"""Aliases with targets outside, in the ports ``Accounts`` and ``Hosting``."""

from __future__ import annotations

import pytest

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.mail.tenancy import Alias
from inbox.store.ports import Database
from inbox.store.ports.hosting import InUse, Scope
from tests.support.store import Home

OUTSIDE = "ann@elsewhere.test"


async def _targets(db: Database, home: Home, address: str) -> tuple[list[str], tuple[str, ...]]:
    reached = await db.accounts.reach(home.tenant, address)
    return [account.address for account in reached.accounts], reached.forwards


async def test_an_alias_points_outside(db: Database, acme: Home, other: Home) -> None:
    made = await db.accounts.add_forward(acme.tenant, "away@acme.test", OUTSIDE)
    assert made == Alias(acme.tenant, "away@acme.test", OUTSIDE)
    assert await _targets(db, acme, "away@acme.test") == ([], (OUTSIDE,))
    assert not await db.accounts.reach(other.tenant, "away@acme.test")
    assert await db.accounts.aliases(acme.tenant) == await db.accounts.aliases() == [made]
    assert await db.accounts.aliases(other.tenant) == []
    # Two tenants may forward to one address.
    await db.accounts.add_forward(other.tenant, "away@other.test", OUTSIDE)
    assert await _targets(db, other, "away@other.test") == ([], (OUTSIDE,))


async def test_an_alias_has_targets_of_both_kinds(db: Database, acme: Home) -> None:
    await db.accounts.add_forward(acme.tenant, "team@acme.test", OUTSIDE)
    await db.accounts.add_alias(acme.tenant, "team@acme.test", acme.account.address)
    await db.accounts.add_alias(acme.tenant, "all@acme.test", "team@acme.test")
    await db.accounts.add_forward(acme.tenant, "all@acme.test", "bob@elsewhere.test")
    assert await _targets(db, acme, "all@acme.test") == ([acme.account.address], (OUTSIDE, "bob@elsewhere.test"))
    assert await _targets(db, acme, "team@acme.test") == ([acme.account.address], (OUTSIDE,))


async def test_invalid_forwards_are_refused(
    db: Database, acme: Home, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.accounts.add_forward(acme.tenant, "away@acme.test", OUTSIDE)
    for address, target in (
        ("away@acme.test", OUTSIDE),
        (acme.account.address, OUTSIDE),
        ("x@acme.test", other.account.address),
    ):
        with pytest.raises(AlreadyExists):
            await db.accounts.add_forward(acme.tenant, address, target)
    with pytest.raises(NotFound):
        await db.accounts.add_forward(acme.tenant, "x@nowhere.test", OUTSIDE)
    with pytest.raises(NotFound):
        await db.accounts.add_forward(other.tenant, "x@acme.test", OUTSIDE)
    for module in ("sqlite", "surreal"):
        monkeypatch.setattr(f"inbox.store.{module}.accounts.FORWARDS", 1)
    with pytest.raises(LimitReached):
        await db.accounts.add_forward(acme.tenant, "away@acme.test", "second@elsewhere.test")
    assert len(await db.accounts.aliases()) == 1


async def test_the_address_goes_with_its_last_target(db: Database, acme: Home) -> None:
    await db.accounts.add_forward(acme.tenant, "team@acme.test", OUTSIDE)
    await db.accounts.add_alias(acme.tenant, "team@acme.test", acme.account.address)
    held = await db.hosting.count(Scope(acme.tenant))
    assert held.aliases == 2
    await db.hosting.remove_alias(acme.tenant, "team@acme.test", acme.account.address)
    assert await _targets(db, acme, "team@acme.test") == ([], (OUTSIDE,))
    await db.accounts.add_alias(acme.tenant, "all@acme.test", "team@acme.test")
    with pytest.raises(InUse):
        await db.hosting.remove_alias(acme.tenant, "team@acme.test")
    await db.hosting.remove_alias(acme.tenant, "all@acme.test")
    gone = await db.hosting.remove_alias(acme.tenant, "team@acme.test", OUTSIDE)
    assert gone == [Alias(acme.tenant, "team@acme.test", OUTSIDE)]
    await db.accounts.add(acme.tenant, "team@acme.test", "hash")  # the address is free


async def test_an_account_that_goes_leaves_the_other_targets(db: Database, acme: Home) -> None:
    bob = await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    await db.accounts.add_alias(acme.tenant, "team@acme.test", bob.address)
    await db.accounts.add_forward(acme.tenant, "team@acme.test", OUTSIDE)
    while await db.hosting.remove_aliases_to(acme.tenant, bob.address):
        pass
    await db.hosting.end_account(acme.tenant, bob.address)
    assert await _targets(db, acme, "team@acme.test") == ([], (OUTSIDE,))


async def test_forwards_move_with_their_domain(db: Database, acme: Home) -> None:
    await db.accounts.add_forward(acme.tenant, "away@acme.test", OUTSIDE)
    await db.tenants.add_domain(acme.tenant, "new.test")
    while await db.hosting.move_addresses(acme.tenant, "acme.test", "new.test", keep_alias=True):
        pass
    assert await _targets(db, acme, "away@new.test") == ([], (OUTSIDE,))
    assert await _targets(db, acme, "away@acme.test") == ([], (OUTSIDE,))
