"""The port ``Messages`` once a mail is there: entries, flags, copies, changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inbox.base.errors import NotFound
from inbox.mail.flags import Flag
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.ingest import Copy
from inbox.store.ports.messages import Entry, MailboxChanges, Placed, StoreMode
from tests.support.store import Home, email


async def entries(home: Home, mailbox: str | None = None) -> list[Entry]:
    return await home.db.messages.entries(home.tenant, mailbox or home.inbox)


async def changes(home: Home, since: int, mailbox: str | None = None) -> MailboxChanges:
    return await home.db.messages.changes(home.tenant, mailbox or home.inbox, since)


async def modseq(home: Home, mailbox: str | None = None) -> int:
    return (await home.db.mailboxes.status(home.tenant, mailbox or home.inbox)).modseq


# -- entries and fetch ---------------------------------------------------------------------------------------


async def test_entries_come_by_uid_with_their_flags(acme: Home) -> None:
    assert await entries(acme) == []
    one = await acme.deliver(flags=Flag.SEEN | Flag.DRAFT, keywords=("$Forwarded", "a"))
    two = await acme.deliver()
    assert await entries(acme) == [
        Entry(1, one.modseq, Flag.SEEN | Flag.DRAFT, ("$Forwarded", "a")),
        Entry(2, two.modseq, 0, ()),
    ]


async def test_three_thousand_messages(acme: Home) -> None:
    """More than a page of everything: entries, fetch, store, copy, expunge, changes, delete."""
    placed = await acme.fill(3000)
    everything = list(range(1, 3001))
    assert [place.uid for place in placed] == everything
    assert await acme.uids() == everything
    fetched = await acme.fetched(acme.inbox, [*reversed(everything), 5000], texts=False)
    assert [(message.entry.uid, message.email.id) for message in fetched] == [
        (place.uid, place.email) for place in placed
    ]
    box, messages, archive = acme.tenant, acme.db.messages, acme.mailboxes["Archive"]
    pairs = await messages.copy(box, acme.inbox, everything, archive)
    assert pairs == [(uid, uid) for uid in everything]
    before = await modseq(acme)
    changed, _ = await messages.store(box, acme.inbox, everything, "add", Flag.DELETED)
    assert {entry.modseq for entry in changed} == set(range(before + 1, await modseq(acme) + 1))
    assert [entry.uid for entry in changed] == everything
    assert [entry.uid for entry in (await changes(acme, before)).changed] == everything
    assert await messages.expunge(box, acme.inbox, everything[:2500]) == everything[:2500]
    assert (await changes(acme, before)).expunged == tuple(everything[:2500])
    assert await acme.uids() == everything[2500:]
    moved = await messages.copy(box, archive, everything, acme.mailboxes["Trash"], move=True)
    assert moved == pairs
    await acme.db.mailboxes.delete(box, acme.mailboxes["Trash"])
    assert (await acme.db.mailboxes.status(box, archive)).messages == 0
    assert (await acme.db.mailboxes.status(box, acme.inbox)).messages == 500
    blobs = [message.email.blob_path for message in fetched]
    assert await messages.blob_in_use(blobs) == set(blobs[2500:])


async def test_fetch_gives_what_exists_by_uid(acme: Home) -> None:
    await acme.fill(5)
    await acme.db.messages.remove(acme.tenant, acme.inbox, [3])
    assert [message.entry.uid for message in await acme.fetched(acme.inbox, [5, 3, 1, 1, 99, 0])] == [1, 5]
    assert await acme.fetched(acme.inbox, []) == []


async def test_fetch_without_texts(acme: Home) -> None:
    mail = email(acme.tenant)
    await acme.deliver(mail=mail, prepended=b"X: y\r\n")
    (message,) = await acme.fetched(acme.inbox, [1], texts=False)
    assert message.email == replace(mail, envelope=b"", body=b"", bodystructure=b"", sections=b"", header_block=b"")
    assert (message.prepended, message.size) == (b"X: y\r\n", mail.size + 6)


async def test_claim_recent(acme: Home) -> None:
    claim = acme.db.messages.claim_recent
    assert await claim(acme.tenant, acme.inbox) == 1
    await acme.fill(2)
    assert await claim(acme.tenant, acme.inbox) == 1
    assert await claim(acme.tenant, acme.inbox) == 3
    await acme.deliver()
    assert await claim(acme.tenant, acme.inbox) == 3
    assert await claim(acme.tenant, acme.inbox) == 4


# -- store ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "flags", "keywords"),
    [
        ("set", Flag.ANSWERED, ("c",)),
        ("add", Flag.SEEN | Flag.ANSWERED, ("a", "b", "c")),
        ("remove", Flag(0), ("a",)),
    ],
)
async def test_store(acme: Home, mode: StoreMode, flags: int, keywords: tuple[str, ...]) -> None:
    placed = await acme.deliver(flags=Flag.SEEN, keywords=("a", "b"))
    given = (Flag.SEEN, ("b",)) if mode == "remove" else (Flag.ANSWERED, ("c",))
    changed, modified = await acme.db.messages.store(acme.tenant, acme.inbox, [1], mode, *given)
    assert modified == []
    assert changed == [Entry(1, placed.modseq + 1, flags, keywords)]
    assert await entries(acme) == changed
    assert await modseq(acme) == placed.modseq + 1


async def test_store_keeps_the_modseq_of_what_stays_the_same(acme: Home) -> None:
    await acme.deliver(flags=Flag.SEEN, keywords=("a",))
    last = await acme.deliver()
    before = await entries(acme)
    changed, _ = await acme.db.messages.store(acme.tenant, acme.inbox, [1, 2], "add", Flag.SEEN, ("a",))
    assert changed == [before[0], Entry(2, last.modseq + 1, Flag.SEEN, ("a",))]
    changed, _ = await acme.db.messages.store(acme.tenant, acme.inbox, [1, 2], "add", Flag.SEEN)
    assert changed == await entries(acme)
    assert await modseq(acme) == last.modseq + 1


async def test_store_answers_for_the_uids_that_exist(acme: Home) -> None:
    await acme.fill(3)
    changed, modified = await acme.db.messages.store(acme.tenant, acme.inbox, [9, 3, 1], "set", Flag.FLAGGED)
    assert ([entry.uid for entry in changed], modified) == ([1, 3], [])
    assert await acme.db.messages.store(acme.tenant, acme.inbox, [], "set", Flag.FLAGGED) == ([], [])


async def test_store_unchanged_since(acme: Home) -> None:
    """RFC 7162 §3.1.3: what was changed later is left alone, and named."""
    last = (await acme.fill(3))[-1]
    store = acme.db.messages.store
    await store(acme.tenant, acme.inbox, [2], "add", Flag.FLAGGED)
    changed, modified = await store(
        acme.tenant, acme.inbox, [1, 2, 3, 9], "add", Flag.SEEN, unchanged_since=last.modseq
    )
    assert modified == [2]
    assert {entry.uid: entry.flags for entry in changed} == {1: Flag.SEEN, 2: Flag.FLAGGED, 3: Flag.SEEN}
    assert {entry.uid: entry.flags for entry in await entries(acme)} == {1: Flag.SEEN, 2: Flag.FLAGGED, 3: Flag.SEEN}
    changed, modified = await store(acme.tenant, acme.inbox, [1, 2, 3], "set", 0, unchanged_since=0)
    assert modified == [1, 2, 3]
    assert await entries(acme) == changed


# -- expunge and remove --------------------------------------------------------------------------------------


async def test_expunge_takes_what_is_marked(acme: Home) -> None:
    await acme.fill(5)
    await acme.db.messages.store(acme.tenant, acme.inbox, [2, 3, 4], "add", Flag.DELETED)
    assert await acme.db.messages.expunge(acme.tenant, acme.inbox, [1, 4, 3, 77]) == [3, 4]
    assert await acme.uids() == [1, 2, 5]
    assert await acme.db.messages.expunge(acme.tenant, acme.inbox) == [2]
    assert await acme.db.messages.expunge(acme.tenant, acme.inbox) == []
    assert await acme.db.messages.expunge(acme.tenant, acme.inbox, []) == []
    assert await acme.uids() == [1, 5]


async def test_remove_deletes_the_named_entries(acme: Home) -> None:
    await acme.fill(4)
    assert await acme.db.messages.remove(acme.tenant, acme.inbox, [4, 2, 77]) == [2, 4]
    assert await acme.uids() == [1, 3]


async def test_uids_are_never_used_again(acme: Home) -> None:
    await acme.fill(3)
    await acme.db.messages.remove(acme.tenant, acme.inbox, [1, 2, 3])
    assert (await acme.deliver()).uid == 4


# -- changes -------------------------------------------------------------------------------------------------


async def test_changes_since(acme: Home) -> None:
    await acme.fill(4)
    start = await modseq(acme)
    assert await changes(acme, start) == MailboxChanges(start)
    await acme.db.messages.store(acme.tenant, acme.inbox, [2], "add", Flag.SEEN)
    middle = await modseq(acme)
    await acme.db.messages.remove(acme.tenant, acme.inbox, [1, 3])
    fresh = await acme.deliver()
    now = await changes(acme, start)
    assert now == MailboxChanges(fresh.modseq, (Entry(2, middle, Flag.SEEN), Entry(5, fresh.modseq, 0)), (1, 3))
    assert await changes(acme, middle) == MailboxChanges(fresh.modseq, (Entry(5, fresh.modseq, 0),), (1, 3))
    assert await changes(acme, fresh.modseq) == MailboxChanges(fresh.modseq)
    assert [entry.uid for entry in (await changes(acme, 0)).changed] == [2, 4, 5]


async def test_a_move_is_an_expunge_in_one_and_an_arrival_in_the_other(acme: Home) -> None:
    await acme.fill(2)
    archive = acme.mailboxes["Archive"]
    here, there = await modseq(acme), await modseq(acme, archive)
    await acme.db.messages.copy(acme.tenant, acme.inbox, [1], archive, move=True)
    assert (await changes(acme, here)).expunged == (1,)
    assert [entry.uid for entry in (await changes(acme, there, archive)).changed] == [1]


# -- copy, move, release -------------------------------------------------------------------------------------


async def test_copy_keeps_flags_and_texts(acme: Home) -> None:
    await acme.fill(2)
    mail = email(acme.tenant)
    await acme.deliver(mail=mail, flags=Flag.SEEN, keywords=("a",), prepended=b"X: y\r\n", recipient="r", reason="w")
    archive = acme.mailboxes["Archive"]
    await acme.deliver(archive)
    assert await acme.db.messages.copy(acme.tenant, acme.inbox, [3, 1, 77], archive) == [(1, 2), (3, 3)]
    (message,) = await acme.fetched(archive, [3])
    original = (await acme.fetched(acme.inbox, [3]))[0]
    assert message == replace(original, entry=replace(original.entry, uid=3, modseq=message.entry.modseq))
    assert message.email == mail
    assert await acme.uids() == [1, 2, 3]
    assert (await acme.db.mailboxes.status(acme.tenant, archive)).unseen == 2


async def test_move_takes_them_away(acme: Home) -> None:
    await acme.fill(3, flags=Flag.FLAGGED)
    archive = acme.mailboxes["Archive"]
    assert await acme.db.messages.copy(acme.tenant, acme.inbox, [3, 1], archive, move=True) == [(1, 1), (3, 2)]
    assert await acme.uids() == [2]
    assert [entry.flags for entry in await entries(acme, archive)] == [Flag.FLAGGED] * 2
    status = await acme.db.mailboxes.status(acme.tenant, acme.inbox)
    assert (status.messages, status.unseen) == (1, 1)


async def test_copy_into_the_same_mailbox(acme: Home) -> None:
    await acme.fill(2)
    assert await acme.db.messages.copy(acme.tenant, acme.inbox, [1, 2], acme.inbox) == [(1, 3), (2, 4)]
    assert await acme.db.messages.copy(acme.tenant, acme.inbox, [3], acme.inbox, move=True) == [(3, 5)]
    assert await acme.uids() == [1, 2, 4, 5]
    assert (await acme.db.mailboxes.status(acme.tenant, acme.inbox)).messages == 4


async def test_copy_of_nothing(acme: Home) -> None:
    archive = acme.mailboxes["Archive"]
    before = await acme.db.mailboxes.status(acme.tenant, archive)
    assert await acme.db.messages.copy(acme.tenant, acme.inbox, [], archive) == []
    assert await acme.db.messages.copy(acme.tenant, acme.inbox, [1], archive, move=True) == []
    assert await acme.db.mailboxes.status(acme.tenant, archive) == before


async def test_copy_where_a_mailbox_is_gone(acme: Home) -> None:
    await acme.fill(2)
    for source, target in ((acme.inbox, "gone"), ("gone", acme.inbox)):
        for move in (False, True):
            with pytest.raises(NotFound):
                await acme.db.messages.copy(acme.tenant, source, [1, 2], target, move=move)
    assert await acme.uids() == [1, 2]


async def test_release_from_quarantine(acme: Home, clock: FakeClock) -> None:
    quarantine = (await acme.db.mailboxes.create(acme.tenant, None, "Quarantine")).id
    mail = email(acme.tenant)
    copy = {"recipient": "ann@acme.test", "reason": "VIRUS", "prepended": b"Delivered-To: ann@acme.test\r\n"}
    await acme.deliver(quarantine, status="spam")
    await acme.deliver(quarantine, mail, status="spam", **copy)
    clock.advance(3600)
    start = await modseq(acme, quarantine)
    placed = await acme.db.messages.release(acme.tenant, quarantine, 2, acme.inbox)
    assert placed == Placed(acme.inbox, mail.id, 1, placed.modseq)
    (message,) = await acme.fetched(acme.inbox, [1])
    assert (message.email, message.received_at, message.prepended) == (mail, clock.now(), copy["prepended"])
    assert await acme.uids(quarantine) == [1]
    assert (await changes(acme, start, quarantine)).expunged == (2,)
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == {mail.blob_path}
    for box, uid, target in ((quarantine, 2, acme.inbox), ("gone", 1, acme.inbox), (quarantine, 1, "gone")):
        with pytest.raises(NotFound):
            await acme.db.messages.release(acme.tenant, box, uid, target)
    assert await acme.uids(quarantine) == [1]
    assert await acme.uids() == [1]


async def test_a_mail_goes_with_its_last_entry(acme: Home) -> None:
    mail = email(acme.tenant)
    archive = acme.mailboxes["Archive"]
    await acme.deliver(mail=mail)
    await acme.db.messages.copy(acme.tenant, acme.inbox, [1], archive)
    await acme.db.mailboxes.delete(acme.tenant, archive)
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == {mail.blob_path}
    await acme.db.messages.store(acme.tenant, acme.inbox, [1], "add", Flag.DELETED)
    await acme.db.messages.expunge(acme.tenant, acme.inbox)
    assert await acme.db.messages.blob_in_use([mail.blob_path]) == set()


@pytest.mark.parametrize("status", ["open", "pending", "closed", "spam", "archived"])
async def test_every_status_is_taken(acme: Home, status: str) -> None:
    copy = Copy(acme.inbox, status=status)  # type: ignore[arg-type]  # the parameters are the literal's values
    assert (await acme.deliver(status=copy.status)).uid == 1
