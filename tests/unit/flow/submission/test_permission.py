"""Permission to send as an address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.base.ids import RandomIds
from inbox.flow.submission.permission import Permissions, SendAs
from inbox.identity.directory import KEPT_SECONDS, AddressDirectory
from inbox.mail.address import Address
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Identity
from inbox.plugin.api.testing import FakeClock
from inbox.policy.submission import SubmissionPolicy
from inbox.store.ports.hosting import Scope
from inbox.store.ports.shared import Member, SharedEvent
from inbox.store.sqlite import SqliteDatabase


class World:
    """Ann and Bob of acme, and the shared inbox support@; oscar of another tenant."""

    def __init__(self, db: SqliteDatabase, clock: FakeClock) -> None:
        self.db, self.clock = db, clock
        self.directory = AddressDirectory(db.tenants, db.accounts, clock)
        self.submission = SubmissionPolicy()
        judge: Any = self
        self.permissions = Permissions(self.directory, db.shared_inboxes, clock, judge)

    def for_recipient(self, domain: HostedDomain, address: str) -> World:
        """The policy of an account, of which permissions read ``submission``."""
        assert (domain.fqdn, address) in (("acme.test", "ann@acme.test"), ("acme.test", "shop@acme.test"))
        return self

    def for_server(self) -> World:
        """The policy while the domain of the account is disabled."""
        return self

    async def fill(self) -> None:
        db = self.db
        self.acme = await db.tenants.add("acme")
        await db.tenants.add_domain(self.acme.id, "acme.test")
        other = self.other = await db.tenants.add("other")
        await db.tenants.add_domain(other.id, "other.test")
        await db.accounts.add(other.id, "oscar@other.test", "hash")
        ann = await db.accounts.add(self.acme.id, "ann@acme.test", "hash")
        await db.accounts.add(self.acme.id, "bob@acme.test", "hash")
        self.support = await db.shared_inboxes.add(self.acme.id, "support@acme.test", "Support")
        self.ann = Identity(ann.address, ann.id, self.acme.id, "acme")

    async def ask(self, address: str) -> SendAs | None:
        self.directory.forget()
        return await self.permissions.may_send_as(self.ann, Address.parse(address))

    async def membership(self, **may: Any) -> None:
        member = replace(Member(self.ann.account, self.ann.address), **may)
        await self.db.shared_inboxes.set_member(self.acme.id, self.support.id, member)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    db = SqliteDatabase(tmp_path / "inbox.db", clock, RandomIds(clock.now))
    await db.open()
    made = World(db, clock)
    await made.fill()
    yield made
    await db.close()


async def test_ones_own_address_and_its_plus_addresses(here: World) -> None:
    for address in ("ann@acme.test", "ANN@ACME.TEST", "ann+shop@acme.test"):
        key = Address.parse(address).key
        assert await here.ask(address) == SendAs(key, here.ann.account)


@pytest.mark.parametrize(
    "address",
    ["bob@acme.test", "nobody@acme.test", "oscar@other.test", "ann@elsewhere.test", "ann@other.test", "+ann@acme.test"],
)
async def test_no_other_address(here: World, address: str) -> None:
    assert await here.ask(address) is None


async def test_aliases(here: World) -> None:
    add = here.db.accounts.add_alias
    await add(here.acme.id, "team@acme.test", "bob@acme.test")
    assert await here.ask("team@acme.test") is None
    await add(here.acme.id, "team@acme.test", "ann@acme.test")
    assert await here.ask("team@acme.test") == SendAs("team@acme.test", here.ann.account)
    assert await here.ask("team+news@acme.test") is not None
    await here.db.accounts.add_forward(here.acme.id, "away@acme.test", "ann@elsewhere.test")
    assert await here.ask("away@acme.test") is None


async def test_a_catch_all_and_the_postmaster_give_no_permission(here: World) -> None:
    await here.db.accounts.add_alias(here.acme.id, "@acme.test", "ann@acme.test")
    assert await here.ask("anyone@acme.test") is None
    assert await here.ask("postmaster@acme.test") is None


async def test_a_shared_inbox(here: World) -> None:
    assert await here.ask("support@acme.test") is None
    await here.membership(can_send_as=False)
    assert await here.ask("support@acme.test") is None
    await here.membership()
    expected = SharedEvent(here.support.id, here.ann.account, "send_as", here.clock.now())
    assert await here.ask("support@acme.test") == SendAs(
        "support@acme.test", here.ann.account, here.support.id, expected
    )
    await here.db.accounts.add_alias(here.acme.id, "help@acme.test", "support@acme.test")
    found = await here.ask("help@acme.test")
    assert found is not None
    assert found.shared_inbox == here.support.id
    await here.membership(is_active=False)
    assert await here.ask("support@acme.test") is None


async def test_a_disabled_inbox_domain_or_tenant_gives_none(here: World) -> None:
    await here.membership()
    await here.db.hosting.set_active(Scope(here.acme.id, account="support@acme.test"), False)
    assert await here.ask("support@acme.test") is None
    await here.db.hosting.set_active(Scope(here.acme.id, "acme.test"), False)
    assert await here.ask("ann@acme.test") is None


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("news@partner.test", True),
        ("any+thing@lists.test", True),
        ("other@partner.test", False),
        ("any@sub.lists.test", False),
        ("bob@acme.test", True),
        ("nobody@acme.test", False),
        ("oscar@other.test", False),
    ],
)
async def test_the_policy_may_allow_further_senders(here: World, address: str, allowed: bool) -> None:
    """None of another tenant, even while its domain is disabled."""
    senders = ("news@partner.test", "@lists.test", "bob@acme.test", "@other.test")
    here.submission = SubmissionPolicy(senders=senders)
    assert (await here.ask(address) is not None) is allowed
    await here.db.hosting.set_active(Scope(here.other.id, "other.test"), False)
    assert (await here.ask(address) is not None) is allowed


async def test_a_program_without_an_account_sends_for_its_tenant(here: World) -> None:
    """As every address of its domains, also one that does not exist, but not as a shared inbox."""
    program = Identity("shop@acme.test", "", here.acme.id, "acme", "key:1")
    for address in ("shop@acme.test", "ann@acme.test", "shop+7@acme.test"):
        permission = await here.permissions.may_send_as(program, Address.parse(address))
        assert permission == SendAs(address, "")
    for address in ("support@acme.test", "support+x@acme.test", "oscar@other.test"):
        assert await here.permissions.may_send_as(program, Address.parse(address)) is None


async def test_an_address_that_becomes_a_shared_inbox_is_no_longer_a_program_s(here: World) -> None:
    program = Identity("shop@acme.test", "", here.acme.id, "acme", "key:1")
    sales = Address.parse("sales@acme.test")
    assert await here.permissions.may_send_as(program, sales) is not None
    await here.db.shared_inboxes.add(here.acme.id, "sales@acme.test", "Sales")
    here.clock.advance(KEPT_SECONDS + 1)
    assert await here.permissions.may_send_as(program, sales) is None
