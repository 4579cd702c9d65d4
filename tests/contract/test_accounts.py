"""The port ``Accounts``."""

from __future__ import annotations

import asyncio

import pytest

from inbox.base.errors import AlreadyExists, NotFound
from inbox.mail.tenancy import DEFAULT_MAILBOXES, Account, Alias
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import Database
from tests.support.store import Home


def addresses(accounts: list[Account]) -> list[str]:
    return [account.address for account in accounts]


async def test_a_new_account(db: Database, acme: Home, clock: FakeClock) -> None:
    made = await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    assert made == Account(made.id, acme.tenant, "bob@acme.test", "hash", True, clock.now())
    assert await db.accounts.by_address("bob@acme.test") == made
    assert await db.accounts.by_address("nobody@acme.test") is None
    assert "hash" not in repr(made)


async def test_a_new_account_has_its_mailboxes(db: Database, acme: Home) -> None:
    made = await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    mailboxes = await db.mailboxes.all(acme.tenant, made.id)
    assert sorted((box.name, box.special_use) for box in mailboxes) == sorted(DEFAULT_MAILBOXES)
    assert all(box.account == made.id and box.tenant == acme.tenant for box in mailboxes)


async def test_the_first_account_is_the_oldest_active_one(
    db: Database, acme: Home, other: Home, clock: FakeClock
) -> None:
    for address in ("zoe@acme.test", "bob@acme.test"):
        await db.accounts.add(acme.tenant, address, "hash")
    clock.advance(1)
    await db.accounts.add(acme.tenant, "aaron@acme.test", "hash")
    found = await db.accounts.first(acme.tenant)
    assert found is not None
    oldest = min(await db.accounts.all(acme.tenant), key=lambda account: (account.created_at, account.address))
    assert found == oldest
    assert found.address != "aaron@acme.test"
    assert await db.accounts.first("no-such-tenant") is None


async def test_an_address_is_given_once(db: Database, acme: Home, other: Home) -> None:
    for tenant in (acme.tenant, acme.tenant):
        with pytest.raises(AlreadyExists):
            await db.accounts.add(tenant, "ann@acme.test", "hash")
    assert addresses(await db.accounts.all(acme.tenant)) == ["ann@acme.test"]
    assert len(await db.mailboxes.all(acme.tenant, acme.account.id)) == len(DEFAULT_MAILBOXES)


async def test_an_alias_takes_the_address_too(db: Database, acme: Home) -> None:
    await db.accounts.add_alias(acme.tenant, "info@acme.test", "ann@acme.test")
    with pytest.raises(AlreadyExists):
        await db.accounts.add(acme.tenant, "info@acme.test", "hash")


async def test_an_account_outside_the_tenants_domains(db: Database, acme: Home, other: Home) -> None:
    for tenant, address in (
        (acme.tenant, "bob@other.test"),
        (acme.tenant, "bob@nowhere.test"),
        (other.tenant, "bob@acme.test"),
        ("no-such-tenant", "bob@acme.test"),
    ):
        with pytest.raises(NotFound):
            await db.accounts.add(tenant, address, "hash")
        assert await db.accounts.by_address(address) is None


async def test_one_of_many_wins_an_address(db: Database, acme: Home) -> None:
    tries = [db.accounts.add(acme.tenant, "bob@acme.test", f"hash{n}") for n in range(8)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    made = [result for result in done if isinstance(result, Account)]
    assert len(made) == 1
    assert all(isinstance(result, AlreadyExists) for result in done if result is not made[0])
    assert await db.accounts.by_address("bob@acme.test") == made[0]
    assert len(await db.mailboxes.all(acme.tenant, made[0].id)) == len(DEFAULT_MAILBOXES)


async def test_all_by_address(db: Database, acme: Home, other: Home) -> None:
    await db.accounts.add(acme.tenant, "aaa@acme.test", "hash")
    assert addresses(await db.accounts.all(acme.tenant)) == ["aaa@acme.test", "ann@acme.test"]
    assert addresses(await db.accounts.all()) == ["aaa@acme.test", "ann@acme.test", "oscar@other.test"]
    assert await db.accounts.all("no-such-tenant") == []


async def test_set_password(db: Database, acme: Home, other: Home) -> None:
    await db.accounts.set_password(acme.tenant, "ann@acme.test", "new")
    account = await db.accounts.by_address("ann@acme.test")
    assert account is not None
    assert account.password_hash == "new"
    for tenant, address in ((other.tenant, "ann@acme.test"), (acme.tenant, "nobody@acme.test")):
        with pytest.raises(NotFound):
            await db.accounts.set_password(tenant, address, "stolen")
    assert await db.accounts.by_address("ann@acme.test") == account


async def test_odd_local_parts(db: Database, acme: Home) -> None:
    for local in ("o'neil", "a b", "ü", "x@y", "a;b", '"', "$x", "a⟩b", "a\\b"):
        made = await db.accounts.add(acme.tenant, f"{local}@acme.test", "hash")
        assert await db.accounts.by_address(f"{local}@acme.test") == made


async def test_an_alias_resolves_to_its_targets(db: Database, acme: Home) -> None:
    bob = await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    made = await db.accounts.add_alias(acme.tenant, "team@acme.test", "bob@acme.test")
    assert made == Alias(acme.tenant, "team@acme.test", "bob@acme.test")
    await db.accounts.add_alias(acme.tenant, "team@acme.test", "ann@acme.test")
    assert await db.accounts.targets(acme.tenant, "team@acme.test") == [acme.account, bob]
    assert await db.accounts.targets(acme.tenant, "bob@acme.test") == [bob]
    assert await db.accounts.targets(acme.tenant, "nobody@acme.test") == []


async def test_an_invalid_alias_is_refused(db: Database, acme: Home, other: Home) -> None:
    await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    await db.accounts.add_alias(acme.tenant, "info@acme.test", "ann@acme.test")
    for address, target in (("info@acme.test", "ann@acme.test"), ("bob@acme.test", "ann@acme.test")):
        with pytest.raises(AlreadyExists):
            await db.accounts.add_alias(acme.tenant, address, target)
    for tenant, address, target in (
        (acme.tenant, "x@other.test", "ann@acme.test"),
        (acme.tenant, "x@acme.test", "nobody@acme.test"),
        (acme.tenant, "x@acme.test", "oscar@other.test"),
        (other.tenant, "x@other.test", "ann@acme.test"),
        (other.tenant, "x@acme.test", "oscar@other.test"),
    ):
        with pytest.raises(NotFound):
            await db.accounts.add_alias(tenant, address, target)
        assert await db.accounts.targets(tenant, address) == []
    assert await db.accounts.aliases() == [Alias(acme.tenant, "info@acme.test", "ann@acme.test")]
    # An attempt that failed leaves no address behind.
    await db.accounts.add(acme.tenant, "x@acme.test", "hash")


async def test_aliases_are_listed(db: Database, acme: Home, other: Home) -> None:
    first = await db.accounts.add_alias(acme.tenant, "info@acme.test", "ann@acme.test")
    second = await db.accounts.add_alias(acme.tenant, "all@acme.test", "info@acme.test")
    theirs = await db.accounts.add_alias(other.tenant, "info@other.test", "oscar@other.test")
    assert sorted(map(str, await db.accounts.aliases(acme.tenant))) == sorted(map(str, [first, second]))
    assert await db.accounts.aliases(other.tenant) == [theirs]
    assert len(await db.accounts.aliases()) == 3


async def chain(db: Database, tenant: str, length: int) -> None:
    """``a1`` leads to ann, ``a2`` to ``a1``, …"""
    await db.accounts.add_alias(tenant, "a1@acme.test", "ann@acme.test")
    for n in range(2, length + 1):
        await db.accounts.add_alias(tenant, f"a{n}@acme.test", f"a{n - 1}@acme.test")


async def test_aliases_are_followed_through_eight_steps_and_no_more(db: Database, acme: Home) -> None:
    await chain(db, acme.tenant, 9)
    assert await db.accounts.targets(acme.tenant, "a8@acme.test") == [acme.account]
    assert await db.accounts.targets(acme.tenant, "a9@acme.test") == []


async def test_loops_are_cut_and_each_target_comes_once(db: Database, acme: Home) -> None:
    bob = await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    await db.accounts.add_alias(acme.tenant, "a@acme.test", "ann@acme.test")
    await db.accounts.add_alias(acme.tenant, "b@acme.test", "a@acme.test")
    await db.accounts.add_alias(acme.tenant, "a@acme.test", "b@acme.test")
    await db.accounts.add_alias(acme.tenant, "b@acme.test", "ann@acme.test")
    await db.accounts.add_alias(acme.tenant, "b@acme.test", "bob@acme.test")
    assert await db.accounts.targets(acme.tenant, "a@acme.test") == [acme.account, bob]
    await db.accounts.add_alias(acme.tenant, "self@acme.test", "bob@acme.test")
    await db.accounts.add_alias(acme.tenant, "self@acme.test", "self@acme.test")
    assert await db.accounts.targets(acme.tenant, "self@acme.test") == [bob]


async def test_targets_are_the_tenants_own(db: Database, acme: Home, other: Home) -> None:
    await db.accounts.add_alias(acme.tenant, "info@acme.test", "ann@acme.test")
    for address in ("info@acme.test", "ann@acme.test"):
        assert await db.accounts.targets(other.tenant, address) == []
