"""The port ``Mailboxes``."""

from __future__ import annotations

import asyncio

import pytest

from inbox.base import limits
from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.mail.flags import Flag
from inbox.mail.tenancy import DEFAULT_MAILBOXES, Mailbox
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import Database
from inbox.store.ports.mailboxes import MailboxStatus
from tests.support.store import Home


async def create(home: Home, name: str, special_use: str | None = None) -> Mailbox:
    return await home.db.mailboxes.create(home.tenant, home.account.id, name, special_use)


async def names(home: Home) -> list[str]:
    return [mailbox.name for mailbox in await home.db.mailboxes.all(home.tenant, home.account.id)]


async def by_name(home: Home, name: str) -> Mailbox:
    found = await home.db.mailboxes.by_name(home.tenant, home.account.id, name)
    assert found is not None
    return found


async def test_a_new_mailbox(acme: Home) -> None:
    made = await create(acme, "Work", "\\Important")
    assert made == Mailbox(made.id, acme.tenant, acme.account.id, "Work", made.uid_validity, 1, 1, "\\Important", None)
    assert made.uid_validity > 0
    assert await acme.db.mailboxes.get(acme.tenant, made.id) == made
    assert await by_name(acme, "Work") == made
    assert made in await acme.db.mailboxes.all(acme.tenant, acme.account.id)


async def test_mailboxes_come_by_name(acme: Home) -> None:
    for name in ("zoo", "Aa", "Ärger", "日本", "a b"):
        await create(acme, name)
    defaults = [name for name, _ in DEFAULT_MAILBOXES]
    assert await names(acme) == sorted([*defaults, "zoo", "Aa", "Ärger", "日本", "a b"])


async def test_mailboxes_of_the_tenant_itself(acme: Home, other: Home) -> None:
    boxes = acme.db.mailboxes
    made = await boxes.create(acme.tenant, None, "Quarantine")
    assert made.account is None
    assert await boxes.all(acme.tenant, None) == [made]
    assert await boxes.by_name(acme.tenant, None, "Quarantine") == made
    assert await boxes.by_name(acme.tenant, acme.account.id, "Quarantine") is None
    assert await boxes.all(other.tenant, None) == []
    with pytest.raises(AlreadyExists):
        await boxes.create(acme.tenant, None, "Quarantine")
    await create(acme, "Quarantine")


async def test_a_name_is_given_once(acme: Home) -> None:
    await create(acme, "Work")
    for name in ("Work", "INBOX"):
        with pytest.raises(AlreadyExists):
            await create(acme, name)
    assert (await names(acme)).count("Work") == 1


async def test_one_of_many_wins_a_name(acme: Home) -> None:
    done = await asyncio.gather(*[create(acme, "Work/Deep") for _ in range(8)], return_exceptions=True)
    made = [result for result in done if isinstance(result, Mailbox)]
    assert len(made) == 1
    assert all(isinstance(result, AlreadyExists) for result in done if result is not made[0])
    assert (await names(acme)).count("Work/Deep") == 1
    assert (await names(acme)).count("Work") == 1


async def test_for_an_owner_that_is_not_there(db: Database, acme: Home, other: Home) -> None:
    for tenant, account in (
        ("no-such-tenant", None),
        (acme.tenant, "no-such-account"),
        (other.tenant, acme.account.id),
    ):
        with pytest.raises(NotFound):
            await db.mailboxes.create(tenant, account, "Work")
    assert "Work" not in await names(acme)


async def test_missing_parents_are_made(acme: Home) -> None:
    deep = await create(acme, "a/b/c", "\\Important")
    middle, top = await by_name(acme, "a/b"), await by_name(acme, "a")
    assert (deep.parent, middle.parent, top.parent) == (middle.id, top.id, None)
    assert (deep.special_use, middle.special_use, top.special_use) == ("\\Important", None, None)
    assert len({deep.uid_validity, middle.uid_validity, top.uid_validity}) == 3
    sibling = await create(acme, "a/b/d")
    assert sibling.parent == middle.id


async def test_delete_takes_the_entries_and_leaves_the_children(acme: Home) -> None:
    parent, child = await create(acme, "a"), await create(acme, "a/b")
    await acme.deliver(parent.id)
    kept = await acme.deliver(child.id)
    await acme.db.mailboxes.delete(acme.tenant, parent.id)
    assert "a" not in await names(acme)
    assert "a/b" in await names(acme)
    assert await acme.uids(child.id) == [kept.uid]
    assert await acme.db.mailboxes.get(acme.tenant, parent.id) is None
    for gone in (
        acme.db.mailboxes.delete(acme.tenant, parent.id),
        acme.db.mailboxes.status(acme.tenant, parent.id),
        acme.db.mailboxes.rename(acme.tenant, parent.id, "x"),
        acme.db.messages.entries(acme.tenant, parent.id),
        acme.deliver(parent.id),
    ):
        with pytest.raises(NotFound):
            await gone


async def test_uid_validity_never_repeats_for_one_name(acme: Home, clock: FakeClock) -> None:
    seen = set()
    for step in (0, 0, 10, -5000, 0):
        clock.advance(step)
        made = await create(acme, "Work")
        assert 0 < made.uid_validity < 2**32
        seen.add(made.uid_validity)
        await acme.db.mailboxes.delete(acme.tenant, made.id)
    await create(acme, "Elsewhere")
    await acme.db.mailboxes.rename(acme.tenant, (await by_name(acme, "Elsewhere")).id, "Work")
    seen.add((await by_name(acme, "Work")).uid_validity)
    assert len(seen) == 6


async def test_rename_takes_the_children_along(acme: Home) -> None:
    for name in ("a/b/c", "ab", "a%"):
        await create(acme, name)
    top, deep = await by_name(acme, "a"), await by_name(acme, "a/b/c")
    before = {box.id: box.uid_validity for box in await acme.db.mailboxes.all(acme.tenant, acme.account.id)}
    placed = await acme.deliver(deep.id, flags=Flag.SEEN)
    await acme.db.mailboxes.rename(acme.tenant, top.id, "x/y")
    assert set(await names(acme)) >= {"x", "x/y", "x/y/b", "x/y/b/c", "ab", "a%"}
    assert not {"a", "a/b", "a/b/c"} & set(await names(acme))
    renamed = await by_name(acme, "x/y/b/c")
    assert renamed.id == deep.id
    for name in ("x/y", "x/y/b", "x/y/b/c"):
        box = await by_name(acme, name)
        assert box.uid_validity == before[box.id], "clients need not download the messages again"
    assert (await by_name(acme, "x")).uid_validity not in before.values()
    assert renamed.parent == (await by_name(acme, "x/y/b")).id
    assert (await by_name(acme, "x/y")).parent == (await by_name(acme, "x")).id
    assert await acme.uids(deep.id) == [placed.uid]


async def test_rename_to_the_top_has_no_parent(acme: Home) -> None:
    deep = await create(acme, "a/b")
    await acme.db.mailboxes.rename(acme.tenant, deep.id, "b")
    assert (await by_name(acme, "b")).parent is None


async def test_rename_onto_a_name_that_is_taken(acme: Home) -> None:
    first = await create(acme, "a")
    await create(acme, "b")
    for name in ("b", "INBOX"):
        with pytest.raises(AlreadyExists):
            await acme.db.mailboxes.rename(acme.tenant, first.id, name)
    assert (await by_name(acme, "a")).id == first.id


async def test_rename_of_inbox_moves_its_messages(acme: Home) -> None:
    """RFC 9051 §6.3.6: INBOX stays, empty; its children stay where they are."""
    await create(acme, "INBOX/child")
    mails = await acme.fill(3, flags=Flag.FLAGGED)
    await acme.db.mailboxes.rename(acme.tenant, acme.inbox, "old/mail")
    moved = await by_name(acme, "old/mail")
    assert await acme.uids() == []
    assert [message.email.id for message in await acme.fetched(moved.id, [1, 2, 3])] == [mail.email for mail in mails]
    assert [entry.flags for entry in await acme.db.messages.entries(acme.tenant, moved.id)] == [Flag.FLAGGED] * 3
    inbox = await by_name(acme, "INBOX")
    assert (inbox.id, inbox.next_uid) == (acme.inbox, 4)
    assert "INBOX/child" in await names(acme)
    assert (await acme.db.mailboxes.status(acme.tenant, moved.id)).messages == 3
    assert (await acme.db.mailboxes.status(acme.tenant, acme.inbox)).messages == 0


async def test_rename_wakes_those_who_watch_a_child(acme: Home) -> None:
    await create(acme, "a/b/c")
    watch = acme.db.changes.subscribe([(await by_name(acme, "a/b/c")).id])
    try:
        await acme.db.mailboxes.rename(acme.tenant, (await by_name(acme, "a")).id, "x")
        async with asyncio.timeout(20):
            await watch.wait()
    finally:
        watch.close()


DEFAULTS = {name for name, _ in DEFAULT_MAILBOXES}


async def subscriptions(home: Home) -> set[str]:
    return await home.db.mailboxes.subscriptions(home.tenant, home.account.id)


async def test_a_new_account_is_subscribed_to_its_mailboxes(acme: Home) -> None:
    assert await subscriptions(acme) == DEFAULTS


async def test_subscribe_and_unsubscribe(acme: Home, other: Home) -> None:
    boxes = acme.db.mailboxes
    for subscribed in (False, False, True, True):
        await boxes.subscribe(acme.tenant, acme.account.id, "Sent", subscribed)
        assert ("Sent" in await subscriptions(acme)) is subscribed
    assert await subscriptions(other) == DEFAULTS
    assert await boxes.subscriptions(other.tenant, acme.account.id) == set()
    for subscribed in (False, True):
        with pytest.raises(NotFound):
            await boxes.subscribe(other.tenant, acme.account.id, "Sent", subscribed)


async def test_a_mailbox_may_be_created_with_its_subscription(acme: Home) -> None:
    await create(acme, "quiet")
    await acme.db.mailboxes.create(acme.tenant, acme.account.id, "a/b", subscribed=True)
    assert await subscriptions(acme) == DEFAULTS | {"a/b"}


async def test_delete_and_rename_leave_subscriptions_alone(acme: Home) -> None:
    """RFC 3501 §6.3.9."""
    for name in ("gone", "moved", "moved/below"):
        await acme.db.mailboxes.create(acme.tenant, acme.account.id, name, subscribed=True)
    await acme.db.mailboxes.delete(acme.tenant, (await by_name(acme, "gone")).id)
    await acme.db.mailboxes.rename(acme.tenant, (await by_name(acme, "moved")).id, "new")
    assert await subscriptions(acme) == DEFAULTS | {"gone", "moved", "moved/below"}
    await create(acme, "gone")
    await acme.db.mailboxes.subscribe(acme.tenant, acme.account.id, "moved", False)
    assert await subscriptions(acme) == DEFAULTS | {"gone", "moved/below"}


async def test_subscriptions_are_bounded(acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in ("sqlite", "surreal"):
        monkeypatch.setattr(f"inbox.store.{backend}.mailboxes.SUBSCRIPTIONS", len(DEFAULTS) + 1)
    await acme.db.mailboxes.subscribe(acme.tenant, acme.account.id, "one more", True)
    with pytest.raises(LimitReached):
        await acme.db.mailboxes.subscribe(acme.tenant, acme.account.id, "too many", True)
    assert await subscriptions(acme) == DEFAULTS | {"one more"}


async def test_status_counts(acme: Home) -> None:
    empty = await acme.db.mailboxes.status(acme.tenant, acme.inbox)
    box = await by_name(acme, "INBOX")
    assert empty == MailboxStatus(acme.inbox, 0, 0, 0, 1, box.uid_validity, box.modseq, 0)
    await acme.deliver(flags=Flag.SEEN)
    await acme.deliver(prepended=b"Delivered-To: ann@acme.test\r\n")
    await acme.deliver()
    sizes = [message.size for message in await acme.fetched(acme.inbox, [1, 2, 3])]
    full = await acme.db.mailboxes.status(acme.tenant, acme.inbox)
    assert (full.messages, full.unseen, full.recent, full.next_uid) == (3, 2, 3, 4)
    assert full.size == sum(sizes)
    assert full.modseq > empty.modseq
    await acme.db.messages.claim_recent(acme.tenant, acme.inbox)
    await acme.db.messages.store(acme.tenant, acme.inbox, [2], "add", Flag.SEEN | Flag.DELETED)
    await acme.db.messages.expunge(acme.tenant, acme.inbox)
    await acme.deliver()
    after = await acme.db.mailboxes.status(acme.tenant, acme.inbox)
    assert (after.messages, after.unseen, after.recent, after.next_uid) == (3, 2, 1, 5)


async def test_get_shows_the_counters(acme: Home) -> None:
    placed = await acme.deliver()
    box = await by_name(acme, "INBOX")
    assert (box.next_uid, box.modseq) == (2, placed.modseq)


async def test_uidvalidity_has_32_bits_whatever_the_clock_says(acme: Home, clock: FakeClock) -> None:
    clock.advance(200 * 365 * 86_400.0)
    made = [await acme.db.mailboxes.create(acme.tenant, acme.account.id, f"Late{n}") for n in range(3)]
    assert all(0 < box.uid_validity < 2**32 for box in made)
    assert len({box.uid_validity for box in made}) == 3


async def test_an_account_has_only_so_many_mailboxes(acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    there = len(await names(acme))
    monkeypatch.setattr(limits, "MAILBOXES", there + 3)
    await create(acme, "one/two")
    with pytest.raises(LimitReached, match=f"{there + 3} mailboxes"):
        await create(acme, "three/four")
    assert len(await names(acme)) == there + 2, "nothing of it was made: the parent would have been the last one"
    last = await create(acme, "three")
    with pytest.raises(LimitReached):
        await acme.db.mailboxes.rename(acme.tenant, last.id, "new/three")
    assert "three" in await names(acme)
    await acme.db.mailboxes.delete(acme.tenant, last.id)
    await create(acme, "four")


async def test_two_creations_at_once_do_not_pass_the_bound(acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    there = len(await names(acme))
    monkeypatch.setattr(limits, "MAILBOXES", there + 2)
    made = await asyncio.gather(*[create(acme, f"box{number}") for number in range(6)], return_exceptions=True)
    assert sum(isinstance(each, LimitReached) for each in made) == 4
    assert len(await names(acme)) == there + 2


async def test_a_restored_database_renumbers_its_mailboxes(acme: Home, other: Home, clock: FakeClock) -> None:
    """New messages get uids that others had; a client must notice (RFC 9051 §2.3.1.1)."""
    await acme.fill(3)
    before = await _validities(acme, other)
    clock.advance(-1e6)  # whatever the clock does
    assert await acme.db.mailboxes.renumber() >= len(before)
    after = await _validities(acme, other)
    assert after.keys() == before.keys()
    assert len(set(after.values())) == len(after)
    assert min(after.values()) > max(before.values())
    made = await acme.db.mailboxes.create(acme.tenant, acme.account.id, "New")
    assert made.uid_validity > max(after.values())
    assert await acme.uids() == [1, 2, 3]


async def _validities(*homes: Home) -> dict[str, int]:
    return {
        box.id: box.uid_validity for home in homes for box in await home.db.mailboxes.all(home.tenant, home.account.id)
    }
