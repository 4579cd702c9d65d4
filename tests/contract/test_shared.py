"""The port ``SharedInboxes``."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.mail.tenancy import DEFAULT_MAILBOXES
from inbox.store.ports import Database
from inbox.store.ports import shared as port
from inbox.store.ports.hosting import Scope
from inbox.store.ports.ingest import Indexed
from inbox.store.ports.shared import Member, SharedEvent, SharedInbox
from tests.support.store import Home, email, indexed

SUPPORT = "support@acme.test"


async def _support(home: Home) -> SharedInbox:
    return await home.db.shared_inboxes.add(home.tenant, SUPPORT, "Support")


def _member(home: Home, **may: Any) -> Member:
    return replace(Member(home.account.id, home.account.address), **may)


async def test_a_shared_inbox_has_an_address_and_mailboxes(db: Database, acme: Home, other: Home) -> None:
    made = await _support(acme)
    assert (made.address, made.domain, made.display_name, made.is_active) == (SUPPORT, "acme.test", "Support", True)
    boxes = await db.mailboxes.all(acme.tenant, made.id)
    assert len(boxes) == len(DEFAULT_MAILBOXES)
    assert next(box.name for box in boxes if box.id == made.mailbox) == "INBOX"
    assert await db.shared_inboxes.by_address(acme.tenant, SUPPORT) == made
    assert await db.shared_inboxes.by_address(acme.tenant, acme.account.address) is None
    assert await db.shared_inboxes.by_address(acme.tenant, "nobody@acme.test") is None
    assert await db.shared_inboxes.all(acme.tenant) == await db.shared_inboxes.all() == [made]
    (target,) = await db.accounts.targets(acme.tenant, SUPPORT)
    assert (target.id, target.is_shared) == (made.id, True)


async def test_nobody_gets_a_password_for_it(db: Database, acme: Home) -> None:
    made = await _support(acme)
    with pytest.raises(NotFound):
        await db.accounts.set_password(acme.tenant, SUPPORT, "hash")
    account = await db.accounts.by_address(SUPPORT)
    assert account is not None
    assert (account.id, account.password_hash, account.is_shared) == (made.id, "", True)


async def test_an_address_is_given_once(db: Database, acme: Home) -> None:
    await _support(acme)
    with pytest.raises(AlreadyExists):
        await _support(acme)
    with pytest.raises(AlreadyExists):
        await db.accounts.add(acme.tenant, SUPPORT, "hash")
    with pytest.raises(AlreadyExists):
        await db.shared_inboxes.add(acme.tenant, acme.account.address, "Ann")
    with pytest.raises(NotFound):
        await db.shared_inboxes.add(acme.tenant, "support@elsewhere.test", "Support")


async def test_it_is_not_the_first_account(db: Database, acme: Home) -> None:
    made = await _support(acme)
    first = await db.accounts.first(acme.tenant)
    assert first is not None
    assert first.id not in ("", made.id)


async def test_members_and_what_they_may(db: Database, acme: Home, other: Home) -> None:
    books, made = db.shared_inboxes, await _support(acme)
    assert await books.memberships(acme.tenant, acme.account.id) == []
    assert await books.set_member(acme.tenant, made.id, _member(acme, can_send_as=False))
    (found,) = await books.memberships(acme.tenant, acme.account.id)
    assert (found.inbox, found.role, found.can_send_as, found.can_assign) == (made, "member", False, True)
    assert not await books.set_member(acme.tenant, made.id, _member(acme))
    membership = await books.membership(acme.tenant, made.id, acme.account.id)
    assert membership is not None
    assert membership.can_send_as
    assert await books.members(acme.tenant, made.id) == [_member(acme)]
    with pytest.raises(NotFound):
        await books.set_member(acme.tenant, made.id, _member(other))
    with pytest.raises(NotFound):
        await books.set_member(acme.tenant, made.id, Member(made.id, SUPPORT))
    await books.remove_member(acme.tenant, made.id, acme.account.id)
    assert await books.membership(acme.tenant, made.id, acme.account.id) is None
    with pytest.raises(NotFound):
        await books.remove_member(acme.tenant, made.id, acme.account.id)


async def test_an_inactive_member_and_a_disabled_inbox_give_nothing(db: Database, acme: Home) -> None:
    books, made = db.shared_inboxes, await _support(acme)
    await books.set_member(acme.tenant, made.id, _member(acme, is_active=False))
    assert await books.membership(acme.tenant, made.id, acme.account.id) is None
    await books.set_member(acme.tenant, made.id, _member(acme))
    assert await books.membership(acme.tenant, made.id, acme.account.id) is not None
    await db.hosting.set_active(Scope(acme.tenant, account=SUPPORT), False)
    assert await books.membership(acme.tenant, made.id, acme.account.id) is None
    assert await books.memberships(acme.tenant, acme.account.id) == []
    disabled = await books.by_address(acme.tenant, SUPPORT)
    assert disabled is not None
    assert not disabled.is_active
    await db.hosting.set_active(Scope(acme.tenant, account=SUPPORT), True)
    assert await books.memberships(acme.tenant, acme.account.id) != []


async def test_members_are_bounded(db: Database, acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "surreal"):
        monkeypatch.setattr(f"inbox.store.{module}.shared.MEMBERS", 2)
    made = await _support(acme)
    accounts = [await db.accounts.add(acme.tenant, f"u{number}@acme.test", "hash") for number in range(4)]
    new = [Member(one.id, one.address) for one in accounts]
    done = await asyncio.gather(
        *(db.shared_inboxes.set_member(acme.tenant, made.id, one) for one in new), return_exceptions=True
    )
    assert [type(one) for one in done if one is not True] == [LimitReached] * 2
    assert len(await db.shared_inboxes.members(acme.tenant, made.id)) == 2
    assert port.MEMBERS > 2


async def test_a_new_address_is_seen_everywhere(db: Database, acme: Home) -> None:
    made = await _support(acme)
    await db.hosting.rename_account(acme.tenant, SUPPORT, "help@acme.test", keep_alias=True)
    found = await db.shared_inboxes.by_address(acme.tenant, "help@acme.test")
    assert found is not None
    assert (found.id, found.address, found.mailbox) == (made.id, "help@acme.test", made.mailbox)
    assert await db.shared_inboxes.by_address(acme.tenant, SUPPORT) is None
    (target,) = await db.accounts.targets(acme.tenant, SUPPORT)
    assert target.id == made.id


async def _sent(home: Home, inbox: str, at: float) -> str:
    event = SharedEvent(inbox, home.account.id, "send_as", at)
    message = indexed(email(home.tenant), home.mailboxes["Sent"])
    await home.db.writer.write(Indexed((replace(message, event=event),)))
    return message.email.id


async def test_an_event_is_written_with_the_message(db: Database, acme: Home, other: Home) -> None:
    made = await _support(acme)
    first, second = await _sent(acme, made.id, 10.0), await _sent(acme, made.id, 20.0)
    events = await db.shared_inboxes.events(acme.tenant, made.id)
    assert [(one.email, one.created_at) for one in events] == [(second, 20.0), (first, 10.0)]
    assert {(one.actor, one.event_type) for one in events} == {(acme.account.id, "send_as")}
    assert list(await db.shared_inboxes.events(acme.tenant, made.id, limit=1)) == list(events[:1])
    # Another tenant's inbox cannot be written to, nor one that is gone.
    await _sent(other, made.id, 30.0)
    await _sent(acme, "gone", 30.0)
    assert len(await db.shared_inboxes.events(acme.tenant, made.id)) == 2
    assert await db.shared_inboxes.prune(15.0) == 1
    assert [one.email for one in await db.shared_inboxes.events(acme.tenant, made.id)] == [second]


async def test_a_removed_inbox_leaves_nothing(db: Database, acme: Home) -> None:
    made = await _support(acme)
    await db.shared_inboxes.set_member(acme.tenant, made.id, _member(acme))
    await _sent(acme, made.id, 10.0)
    await db.hosting.end_account(acme.tenant, SUPPORT)
    assert await db.shared_inboxes.all(acme.tenant) == []
    assert await db.shared_inboxes.memberships(acme.tenant, acme.account.id) == []
    assert await db.shared_inboxes.members(acme.tenant, made.id) == []
    assert await db.shared_inboxes.events(acme.tenant, made.id) == []
    assert await db.shared_inboxes.prune(1e9) == 0
    assert await db.accounts.targets(acme.tenant, SUPPORT) == []


async def test_a_removed_member_is_not_a_member(db: Database, acme: Home) -> None:
    made = await _support(acme)
    bob = await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    await db.shared_inboxes.set_member(acme.tenant, made.id, Member(bob.id, bob.address))
    await db.hosting.end_account(acme.tenant, bob.address)
    assert await db.shared_inboxes.members(acme.tenant, made.id) == []
