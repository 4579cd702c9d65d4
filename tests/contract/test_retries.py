"""Retries that ``Messages.accept`` recognises, and their decision records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inbox.base.limits import RETRY_COPIES, RETRY_SECONDS
from inbox.mail.flags import Flag
from inbox.store.ports.decisions import AlreadyFiled, DecisionFilter
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import EmailRecord, Placed
from tests.support.store import Home, decision, email, envelope, indexed

ENVELOPE = envelope("ann@acme.test")


async def accept(home: Home, *messages: IndexedMessage) -> list[list[Placed]]:
    return await home.db.writer.write(Indexed(messages))


def again(mail: EmailRecord, seconds: float = 60.0) -> EmailRecord:
    """The same message as it comes ``seconds`` later."""
    later = mail.internal_date + seconds
    return replace(mail, id=f"again{later}", blob_path=f"msg/x/y/again{later}.eml", internal_date=later)


async def first(acme: Home, mailbox: str | None = None, prepended: bytes = ENVELOPE) -> EmailRecord:
    mail = email(acme.tenant)
    await accept(acme, indexed(mail, mailbox or acme.inbox, prepended=prepended))
    return mail


async def retried(acme: Home, mail: EmailRecord, prepended: bytes = ENVELOPE, seconds: float = 60.0) -> Placed:
    """The destination of the message when it is sent again for INBOX."""
    ((placed,),) = await accept(acme, indexed(again(mail, seconds), acme.inbox, prepended=prepended))
    return placed


async def test_a_retry_is_recognised_and_says_where_the_first_copy_is(acme: Home) -> None:
    mail = await first(acme)
    # The Received field of the retry is another one: it names another time, id and perhaps another peer.
    placed = await retried(acme, mail, envelope("ann@acme.test", transaction="retry", peer="198.51.100.9"))
    assert placed.already == AlreadyFiled("ann@acme.test", "INBOX", 1, "first", mail.internal_date)
    assert (placed.mailbox, placed.uid, placed.email, placed.fresh) == (acme.inbox, 1, mail.id, False)
    assert await acme.uids() == [1]


@pytest.mark.parametrize(
    "other",
    [
        envelope("ann+shop@acme.test"),
        envelope("info@acme.test"),
        envelope("ann@acme.test", sender="list-bounces@example.org"),
        envelope("ann@acme.test", sender=""),
        envelope("ann@acme.test", sender="peer@elsewhere.test.example"),
        b"",
        b"X-Odd: 1\r\n" + ENVELOPE,
    ],
)
async def test_another_envelope_is_no_retry(acme: Home, other: bytes) -> None:
    mail = await first(acme)
    placed = await retried(acme, mail, other)
    assert (placed.fresh, placed.uid, placed.email) == (True, 2, mail.id)


async def test_a_copy_without_an_envelope_never_counts_as_a_delivery(acme: Home) -> None:
    """A message that its owner appended has no trace fields."""
    mail = await first(acme, prepended=b"")
    assert [(await retried(acme, mail, b"")).uid, (await retried(acme, mail, ENVELOPE)).uid] == [2, 3]


@pytest.mark.parametrize("name", ["Trash", "Junk"])
async def test_a_copy_in_trash_or_junk_is_not_enough(acme: Home, name: str) -> None:
    mail = await first(acme)
    await acme.db.messages.copy(acme.tenant, acme.inbox, [1], acme.mailboxes[name], move=True)
    assert (await retried(acme, mail)).fresh
    assert await acme.uids() == [2]


@pytest.mark.parametrize("name", ["Trash/Old", "Junk/Lists/New"])
async def test_nor_is_one_below_them(acme: Home, name: str) -> None:
    below = await acme.db.mailboxes.create(acme.tenant, acme.account.id, name)
    mail = await first(acme, below.id)
    assert (await retried(acme, mail)).fresh


async def test_a_name_that_only_begins_like_theirs_is_another(acme: Home) -> None:
    other = await acme.db.mailboxes.create(acme.tenant, acme.account.id, "Trashy novels")
    placed = await retried(acme, await first(acme, other.id))
    assert placed.already is not None
    assert (placed.already.mailbox, placed.mailbox) == ("Trashy novels", other.id)


async def test_a_copy_that_goes_to_junk_again_is_filed_again(acme: Home) -> None:
    mail = await first(acme, acme.mailboxes["Junk"])
    ((placed,),) = await accept(acme, indexed(again(mail), acme.mailboxes["Junk"], prepended=ENVELOPE))
    assert (placed.fresh, placed.uid) == (True, 2)


async def test_a_copy_that_is_marked_deleted_or_expunged_is_not_enough(acme: Home) -> None:
    mail = await first(acme)
    await acme.db.messages.store(acme.tenant, acme.inbox, [1], "add", Flag.DELETED)
    assert (await retried(acme, mail)).fresh
    await acme.db.messages.remove(acme.tenant, acme.inbox, [1, 2])
    assert (await retried(acme, mail)).uid == 3


async def test_a_copy_that_its_owner_moved_elsewhere_counts(acme: Home) -> None:
    mail = await first(acme)
    ((_, new),) = await acme.db.messages.copy(acme.tenant, acme.inbox, [1], acme.mailboxes["Archive"], move=True)
    placed = await retried(acme, mail)
    assert placed.already is not None
    assert (placed.already.mailbox, placed.already.uid) == ("Archive", new)
    assert await acme.uids() == []


async def test_one_in_trash_does_not_hide_another_that_counts(acme: Home) -> None:
    mail = await first(acme)
    await acme.db.messages.copy(acme.tenant, acme.inbox, [1], acme.mailboxes["Trash"])
    assert not (await retried(acme, mail)).fresh


@pytest.mark.parametrize(("seconds", "fresh"), [(RETRY_SECONDS, False), (RETRY_SECONDS + 1, True), (-60.0, False)])
async def test_senders_give_up_after_some_days(acme: Home, seconds: float, fresh: bool) -> None:
    """Also when the clock was set back in between."""
    assert (await retried(acme, await first(acme), seconds=seconds)).fresh is fresh


async def test_a_retry_is_measured_by_the_copy_that_was_filed_last(acme: Home) -> None:
    mail = await first(acme)
    late = RETRY_SECONDS + 1
    assert (await retried(acme, mail, seconds=late)).uid == 2
    assert (await retried(acme, mail, seconds=late + 60)).uid == 2


async def test_of_several_recipients_only_some_may_be_retries(acme: Home) -> None:
    bob = await acme.db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    bobs = await acme.db.mailboxes.by_name(acme.tenant, bob.id, "INBOX")
    quarantine = await acme.db.mailboxes.create(acme.tenant, None, "Quarantine")
    assert bobs is not None

    def copies(transaction: str) -> tuple[Copy, ...]:
        return (
            Copy(acme.inbox, prepended=envelope("ann@acme.test", transaction=transaction)),
            Copy(bobs.id, prepended=envelope("bob@acme.test", transaction=transaction)),
            Copy(
                quarantine.id, prepended=envelope("eve@acme.test", transaction=transaction),
                recipient="eve@acme.test", reason="spam", status="spam",
            ),
        )  # fmt: skip

    mail = email(acme.tenant)
    one, _, three = copies("first")
    await accept(acme, IndexedMessage(mail, (one, three)))
    record = decision(acme.tenant, recipients=("ann@acme.test", "bob@acme.test", "eve@acme.test"))
    ((ann, for_bob, eve),) = await acme.db.writer.write(
        Indexed((IndexedMessage(again(mail), copies("second")),), (record,))
    )
    assert [place.fresh for place in (ann, for_bob, eve)] == [False, True, False]
    (kept,) = await acme.db.decisions.get(record.id)
    assert kept.already_filed == (
        AlreadyFiled("ann@acme.test", "INBOX", 1, "first", mail.internal_date),
        AlreadyFiled("eve@acme.test", "Quarantine", 1, "first", mail.internal_date),
    )
    assert replace(kept, already_filed=()) == record
    assert await acme.db.decisions.search(DecisionFilter(acme.tenant)) == [kept]


async def test_records_of_other_tenants_and_of_new_mail_say_nothing(acme: Home, other: Home) -> None:
    mail, fresh = await first(acme), email(other.tenant)
    mine, theirs = decision(acme.tenant, recipients=("ann@acme.test",)), decision(other.tenant)
    theirs = replace(theirs, id=mine.id, recipients=("ann@acme.test",))
    await acme.db.writer.write(
        Indexed(
            (
                indexed(again(mail), acme.inbox, prepended=ENVELOPE),
                indexed(fresh, other.inbox, prepended=ENVELOPE),
            ),
            (mine, theirs),
        )
    )
    kept = {record.tenant: record for record in await acme.db.decisions.get(mine.id)}
    assert [one.recipient for one in kept[acme.tenant].already_filed] == ["ann@acme.test"]
    assert kept[other.tenant] == theirs


async def test_the_search_for_a_first_copy_is_bounded(acme: Home) -> None:
    """Of very many copies of one mail in one mailbox the newest are looked at: a copy too many is no loss."""
    quarantine = await acme.db.mailboxes.create(acme.tenant, None, "Quarantine")
    mail = email(acme.tenant)
    people = [f"u{n}@acme.test" for n in range(RETRY_COPIES + 1)]
    copies = [Copy(quarantine.id, prepended=envelope(one), recipient=one, reason="spam") for one in people]
    await accept(acme, IndexedMessage(mail, tuple(copies)))
    ((newest,),) = await accept(acme, IndexedMessage(again(mail), (copies[-1],)))
    assert not newest.fresh


async def test_two_copies_for_one_account_never_stand_for_each_other(acme: Home) -> None:
    """One recipient may have several destinations; also a message that is known through another recipient has both."""
    bob = await acme.db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    bobs = await acme.db.mailboxes.by_name(acme.tenant, bob.id, "INBOX")
    assert bobs is not None
    mail = email(acme.tenant)
    await accept(acme, indexed(mail, bobs.id, prepended=envelope("bob@acme.test")))

    archive = acme.mailboxes["Archive"]
    both = Copy(acme.inbox, prepended=ENVELOPE), Copy(archive, prepended=ENVELOPE)
    (placed,) = await accept(acme, IndexedMessage(again(mail), both))
    assert [(place.mailbox, place.fresh) for place in placed] == [(acme.inbox, True), (archive, True)]
    assert (await acme.uids(), await acme.uids(archive)) == ([1], [1])
    (placed,) = await accept(acme, IndexedMessage(again(mail, 120.0), both))
    assert [place.fresh for place in placed] == [False, False]
    assert (await acme.uids(), await acme.uids(archive)) == ([1], [1])
