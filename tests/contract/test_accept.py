"""``Messages.accept``: all or nothing, and a retried mail is recognised."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from inbox.base.errors import NotFound
from inbox.mail.flags import Flag
from inbox.store.ports.hosting import Scope
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import EmailRecord, Placed
from inbox.store.ports.queue import Job, JobRecipient
from tests.support.invariants import broken
from tests.support.store import IDS, Home, decision, email, envelope, indexed


async def accept(home: Home, *messages: IndexedMessage) -> list[list[Placed]]:
    return await home.db.writer.write(Indexed(messages))


async def test_an_accepted_message_is_stored(acme: Home) -> None:
    mail = email(acme.tenant)
    copy = Copy(
        acme.inbox, Flag.SEEN | Flag.FLAGGED, ("$Junk", "work"), b"Delivered-To: ann@acme.test\r\n", "ann@acme.test",
        "VIRUS Eicar", "spam",
    )  # fmt: skip
    ((placed,),) = await accept(acme, IndexedMessage(mail, (copy,)))
    assert placed == Placed(acme.inbox, mail.id, 1, placed.modseq)
    (message,) = await acme.fetched(acme.inbox, [1])
    assert message.email == mail
    assert (message.entry.uid, message.entry.modseq) == (1, placed.modseq)
    assert (message.entry.flags, message.entry.keywords) == (Flag.SEEN | Flag.FLAGGED, ("$Junk", "work"))
    assert (message.prepended, message.recipient, message.reason) == (copy.prepended, copy.recipient, copy.reason)
    assert message.received_at == mail.internal_date
    assert message.size == mail.size + len(copy.prepended)


BARE = {
    "message_id": None, "date": None, "subject": "", "subject_normalized": "", "references": (), "from_": (),
    "sender_address": None, "reply_to": (), "to": (), "cc": (), "bcc": (), "snippet": "", "tags": (), "spf": None,
    "dkim": None, "dmarc": None, "envelope": b"", "body": b"", "bodystructure": b"", "sections": b"",
    "header_block": b"",
}  # fmt: skip


async def test_a_mail_with_nothing_in_it(acme: Home) -> None:
    mail = email(acme.tenant, **BARE)
    await accept(acme, indexed(mail, acme.inbox))
    (message,) = await acme.fetched(acme.inbox, [1])
    assert message.email == mail
    assert (message.entry.flags, message.entry.keywords, message.recipient, message.reason) == (0, (), None, None)


@pytest.mark.parametrize("kind", ["inbound", "outbound", "draft", "scheduled"])
async def test_every_kind(acme: Home, kind: str) -> None:
    await acme.deliver(mail=email(acme.tenant, kind=kind))
    assert [message.email.kind for message in await acme.fetched(acme.inbox, [1])] == [kind]


async def test_an_arrival_of_nothing(acme: Home) -> None:
    assert await acme.db.writer.write(Indexed()) == []


async def test_results_stand_where_their_filings_and_copies_stand(acme: Home, other: Home) -> None:
    first, second, third = email(acme.tenant), email(other.tenant), email(acme.tenant)
    junk = acme.mailboxes["Junk"]
    placed = await accept(
        acme, indexed(first, junk, acme.inbox), indexed(second, other.inbox), indexed(third, acme.inbox)
    )
    assert [[(place.mailbox, place.email, place.uid) for place in places] for places in placed] == [
        [(junk, first.id, 1), (acme.inbox, first.id, 1)],
        [(other.inbox, second.id, 1)],
        [(acme.inbox, third.id, 2)],
    ]


async def test_one_mail_in_several_mailboxes_is_one_mail(acme: Home) -> None:
    mail = email(acme.tenant)
    bob = await acme.db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    bobs = await acme.db.mailboxes.by_name(acme.tenant, bob.id, "INBOX")
    assert bobs is not None
    await accept(
        acme,
        IndexedMessage(
            mail, (Copy(acme.inbox, prepended=b"Delivered-To: ann\r\n"), Copy(bobs.id, prepended=b"To: bob\r\n"))
        ),
    )
    (hers,), (his,) = await acme.fetched(acme.inbox, [1]), await acme.fetched(bobs.id, [1])
    assert hers.email == his.email == mail
    assert (hers.prepended, his.prepended) == (b"Delivered-To: ann\r\n", b"To: bob\r\n")


async def test_uids_and_modseqs_grow(acme: Home) -> None:
    placed = [await acme.deliver() for _ in range(5)]
    assert [place.uid for place in placed] == [1, 2, 3, 4, 5]
    modseqs = [place.modseq for place in placed]
    assert modseqs == sorted(set(modseqs))
    assert (await acme.db.mailboxes.status(acme.tenant, acme.inbox)).modseq == modseqs[-1]


async def test_decisions_are_written_with_the_mail(acme: Home) -> None:
    record = decision(acme.tenant)
    await acme.db.writer.write(Indexed((indexed(email(acme.tenant), acme.inbox),), (record,)))
    assert await acme.db.decisions.get(record.id) == [record]


async def test_one_bad_mailbox_and_nothing_is_written(acme: Home, other: Home) -> None:
    record = decision(acme.tenant)
    before = await acme.db.mailboxes.status(acme.tenant, acme.inbox)
    for bad in ("no-such-mailbox", other.inbox):
        first, second = email(acme.tenant), email(acme.tenant)
        with pytest.raises(NotFound):
            await acme.db.writer.write(
                Indexed((indexed(first, acme.inbox), indexed(second, acme.inbox, bad)), (record,))
            )
        assert await acme.db.messages.blob_in_use([first.blob_path, second.blob_path]) == set()
    assert await acme.db.mailboxes.status(acme.tenant, acme.inbox) == before
    assert await acme.uids() == []
    assert await other.uids() == []
    assert await acme.db.decisions.get(record.id) == []
    assert (await acme.deliver()).uid == 1


async def test_a_bad_message_affects_no_other(acme: Home) -> None:
    batch = [
        Indexed((indexed(email(acme.tenant), "no-such-mailbox" if n % 5 == 0 else acme.inbox),)) for n in range(40)
    ]
    done = await asyncio.gather(*map(acme.db.writer.write, batch), return_exceptions=True)
    assert [isinstance(result, NotFound) for result in done] == [n % 5 == 0 for n in range(40)]
    assert await acme.uids() == list(range(1, 33))


ENVELOPE = envelope("ann@acme.test")


async def test_a_retried_mail_is_recognised(acme: Home) -> None:
    mail = email(acme.tenant)
    ((first,),) = await accept(acme, indexed(mail, acme.inbox, prepended=ENVELOPE))
    status = await acme.db.mailboxes.status(acme.tenant, acme.inbox)
    again = replace(mail, id="other-id", blob_path="msg/x/y/other-id.eml")
    ((second,),) = await accept(acme, indexed(again, acme.inbox, prepended=ENVELOPE))
    assert (replace(second, already=None), second.fresh) == (first, False)
    assert await acme.db.mailboxes.status(acme.tenant, acme.inbox) == status
    assert await acme.db.messages.blob_in_use(["msg/x/y/other-id.eml", mail.blob_path]) == {mail.blob_path}


async def test_it_is_not_recognised_in_another_account(acme: Home) -> None:
    bob = await acme.db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    bobs = await acme.db.mailboxes.by_name(acme.tenant, bob.id, "INBOX")
    assert bobs is not None
    mail = email(acme.tenant)
    await accept(acme, indexed(mail, acme.inbox, prepended=ENVELOPE))
    again = replace(mail, id="again", blob_path=f"msg/{acme.tenant}/m/again.eml")
    ((hers, his),) = await accept(acme, indexed(again, acme.inbox, bobs.id, prepended=ENVELOPE))
    assert (hers.fresh, his.fresh) == (False, True)
    assert his.email == mail.id
    (message,) = await acme.fetched(bobs.id, [his.uid])
    # The content is known: the row that is there, and its blob, serve the new copy as well.
    assert message.email == mail


async def test_unrecognised_on_request_the_mail_is_shared_but_the_entry_is_new(acme: Home) -> None:
    mail = email(acme.tenant)
    for uid in (1, 2):
        ((placed,),) = await accept(
            acme, indexed(replace(mail, id=f"id{uid}"), acme.inbox, recognise=False, prepended=ENVELOPE)
        )
        assert (placed.uid, placed.email, placed.fresh) == (uid, "id1", True)
    assert await acme.uids() == [1, 2]


def variants(mail: EmailRecord) -> list[EmailRecord]:
    return [
        replace(mail, id="a", blob_path="msg/x/y/a.eml", content_hash="11" * 32),
        replace(mail, id="b", blob_path="msg/x/y/b.eml", message_id="<other@example.org>"),
        replace(mail, id="c", blob_path="msg/x/y/c.eml", message_id=None),
    ]


async def test_other_content_or_another_message_id_is_another_mail(acme: Home) -> None:
    mail = email(acme.tenant)
    await accept(acme, indexed(mail, acme.inbox, prepended=ENVELOPE))
    for uid, variant in enumerate(variants(mail), start=2):
        ((placed,),) = await accept(acme, indexed(variant, acme.inbox, prepended=ENVELOPE))
        assert (placed.uid, placed.email, placed.fresh) == (uid, variant.id, True)
    # A mail without a Message-ID is recognised by its content.
    ((again,),) = await accept(acme, indexed(replace(variants(mail)[2], id="d"), acme.inbox, prepended=ENVELOPE))
    assert (again.email, again.uid, again.fresh) == ("c", 4, False)


async def test_the_same_mail_of_two_tenants_is_two_mails(acme: Home, other: Home) -> None:
    mail = email(acme.tenant)
    theirs = replace(mail, id="theirs", tenant=other.tenant, blob_path="msg/o/m/theirs.eml")
    await accept(acme, indexed(mail, acme.inbox))
    ((placed,),) = await accept(other, indexed(theirs, other.inbox))
    assert (placed.email, placed.uid, placed.fresh) == ("theirs", 1, True)
    assert [message.email for message in await other.fetched(other.inbox, [1])] == [theirs]
    assert [message.email for message in await acme.fetched(acme.inbox, [1])] == [mail]


async def test_a_mail_that_is_gone_is_new_again(acme: Home) -> None:
    mail = email(acme.tenant)
    await accept(acme, indexed(mail, acme.inbox))
    await acme.db.messages.remove(acme.tenant, acme.inbox, [1])
    again = replace(mail, id="again", blob_path=f"msg/{acme.tenant}/m/again.eml")
    ((placed,),) = await accept(acme, indexed(again, acme.inbox))
    assert (placed.uid, placed.email, placed.fresh) == (2, "again", True)
    assert await acme.db.messages.blob_in_use([mail.blob_path, again.blob_path]) == {again.blob_path}


async def test_quarantined_copies_for_two_people_are_two(acme: Home) -> None:
    quarantine = await acme.db.mailboxes.create(acme.tenant, None, "Quarantine")
    mail = email(acme.tenant)
    copies = tuple(
        Copy(quarantine.id, prepended=envelope(who), recipient=who, reason="spam")
        for who in ("ann@acme.test", "bob@acme.test")
    )
    ((ann, bob),) = await accept(acme, IndexedMessage(mail, copies))
    assert {ann.uid, bob.uid} == {1, 2}
    ((ann2, bob2),) = await accept(acme, IndexedMessage(replace(mail, id="again"), copies))
    assert (ann2.fresh, bob2.fresh) == (False, False)
    assert (replace(ann2, already=None), replace(bob2, already=None)) == (ann, bob)
    # The envelope is the same if an address was redirected: whom the copy is for is not.
    for_eve = Copy(quarantine.id, prepended=envelope("ann@acme.test"), recipient="eve@acme.test", reason="spam")
    ((eve,),) = await accept(acme, IndexedMessage(replace(mail, id="third"), (for_eve,)))
    assert (eve.uid, eve.fresh, eve.email) == (3, True, mail.id)


async def test_the_same_mail_many_times_at_once_is_there_once(acme: Home) -> None:
    mail = email(acme.tenant)
    copies = [
        indexed(replace(mail, id=f"id{n}", blob_path=f"msg/x/y/id{n}.eml"), acme.inbox, prepended=ENVELOPE)
        for n in range(20)
    ]
    done = await asyncio.gather(*[accept(acme, one) for one in copies])
    assert len([placed for ((placed,),) in done if placed.fresh]) == 1
    assert {(placed.uid, placed.email) for ((placed,),) in done} == {(1, done[0][0][0].email)}
    assert await acme.uids() == [1]


async def test_nul_is_dropped_from_texts(acme: Home) -> None:
    mail = email(
        acme.tenant, subject="a\x00b", subject_normalized="\x00", message_id="<\x00nul@x>", to=("\x00x@y", "z\x00"),
        references=("<\x00>",), snippet="\x00" * 10, sender_address="a\x00@b",
    )  # fmt: skip
    copy = Copy(acme.inbox, recipient="a\x00@b", reason="\x00why", keywords=("k",), prepended=ENVELOPE + b"\x00kept")
    ((placed,),) = await accept(acme, IndexedMessage(mail, (copy,)))
    (message,) = await acme.fetched(acme.inbox, [placed.uid])
    assert (message.email.subject, message.email.snippet, message.email.subject_normalized) == ("ab", "", "")
    assert (message.email.message_id, message.email.to, message.email.references) == ("<nul@x>", ("x@y", "z"), ("<>",))
    assert (message.recipient, message.reason, message.prepended) == ("a@b", "why", copy.prepended)
    ((again,),) = await accept(acme, IndexedMessage(replace(mail, id="again"), (copy,)))
    assert (replace(again, already=None), again.fresh) == (placed, False)


async def test_huge_texts(acme: Home) -> None:
    mail = email(
        acme.tenant, subject="ü" * 100_000, snippet="日" * 10_000, to=tuple(f"a{n}@example.org" for n in range(2000)),
        message_id="<" + "m" * 900 + "@x>", references=("<" + "r" * 900 + ">",) * 1000,
        header_block=b"\xff\x00" * 131_072, envelope=b"e" * 500_000,
    )  # fmt: skip
    await accept(acme, indexed(mail, acme.inbox))
    (message,) = await acme.fetched(acme.inbox, [1])
    assert message.email == mail


ODD_TEXTS = [
    "'; DELETE email; --", '"', "$mb", "⟨⟩`", "\\u0000 \\", "\r\n\t", "🙂", "NONE", "null",
    "2026-01-01T00:00:00Z", "email:1", " ",
]  # fmt: skip


async def test_texts_are_never_taken_for_anything_else(acme: Home) -> None:
    for uid, text in enumerate(ODD_TEXTS, start=1):
        mail = email(acme.tenant, subject=text, message_id=text, from_=(text,), sender_address=text, tags=(text, text))
        copy = Copy(acme.inbox, recipient=text, reason=text, keywords=(text,))
        await accept(acme, IndexedMessage(mail, (copy,)))
        (message,) = await acme.fetched(acme.inbox, [uid])
        assert (message.email, message.recipient, message.reason) == (mail, text, text)
        assert message.entry.keywords == (text,)


async def test_blob_in_use(acme: Home, other: Home) -> None:
    mine, theirs = email(acme.tenant), email(other.tenant)
    await acme.deliver(mail=mine)
    await other.deliver(mail=theirs)
    await acme.db.messages.copy(acme.tenant, acme.inbox, [1], acme.mailboxes["Archive"])
    orphans = [f"msg/{acme.tenant}/m/{n}.eml" for n in range(2500)]
    in_use = acme.db.messages.blob_in_use
    assert await in_use([*orphans, mine.blob_path, theirs.blob_path]) == {mine.blob_path, theirs.blob_path}
    assert await in_use([]) == set()
    await acme.db.messages.remove(acme.tenant, acme.inbox, [1])
    assert await in_use([mine.blob_path]) == {mine.blob_path}
    await acme.db.messages.remove(acme.tenant, acme.mailboxes["Archive"], [1])
    assert await in_use([mine.blob_path, theirs.blob_path]) == {theirs.blob_path}


def job(**fields: Any) -> Job:
    """A delivery that is due in a day, and is not given up before."""
    now = time.time() + 86_400
    return replace(
        Job(IDS.new(), "ann@acme.test", (JobRecipient("bob@example.org"),), "example.org", now, now + 86_400), **fields
    )


async def queued(home: Home) -> list[tuple[str, str]]:
    """Job and mail of everything that is queued for a tenant."""
    return sorted([(one.job.id, one.email) for one in await home.db.queue.jobs(home.tenant)])


async def test_jobs_are_queued_with_their_message(acme: Home) -> None:
    mail, jobs = email(acme.tenant), (job(), job(recipients=(JobRecipient("eve@example.org"),)))
    ((placed,),) = await accept(acme, IndexedMessage(mail, (Copy(acme.inbox),), jobs=jobs))
    assert await queued(acme) == sorted([(one.id, placed.email) for one in jobs])
    assert await broken(acme.db) == []


async def test_a_message_of_jobs_alone_has_no_places(acme: Home) -> None:
    mail, one = email(acme.tenant), job()
    assert await accept(acme, IndexedMessage(mail, (), jobs=(one,))) == [[]]
    assert await queued(acme) == [(one.id, mail.id)]
    assert await broken(acme.db) == []


async def test_jobs_of_a_known_message_refer_to_it(acme: Home) -> None:
    mail, first, second = email(acme.tenant), job(), job()
    await accept(acme, IndexedMessage(mail, (Copy(acme.inbox, prepended=ENVELOPE),), jobs=(first,)))
    again = replace(mail, id="again", blob_path="msg/x/y/again.eml")
    await accept(acme, IndexedMessage(again, (Copy(acme.inbox, prepended=ENVELOPE),), jobs=(second,)))
    assert await queued(acme) == sorted([(first.id, mail.id), (second.id, mail.id)])
    assert await acme.uids() == [1]
    assert await broken(acme.db) == []


async def test_nothing_is_queued_of_what_fails(acme: Home) -> None:
    one = job()
    with pytest.raises(NotFound):
        await accept(acme, IndexedMessage(email(acme.tenant), (Copy("nowhere"),), jobs=(one,)))
    assert await queued(acme) == []
    assert await broken(acme.db) == []


async def test_a_disabled_tenant_queues_nothing_and_fails_alone(acme: Home, other: Home) -> None:
    await other.db.hosting.set_active(Scope(other.tenant), False)
    first, refused, second = job(), job(), job()
    batch = [
        Indexed((IndexedMessage(email(home.tenant), (Copy(home.inbox),), jobs=(one,)),))
        for home, one in ((acme, first), (other, refused), (acme, second))
    ]
    outcomes = await asyncio.gather(*map(acme.db.writer.write, batch), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [list, NotFound, list]
    assert [one for one, _ in await queued(acme)] == sorted([first.id, second.id])
    assert (await queued(other), await other.uids()) == ([], [])
