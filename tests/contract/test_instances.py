"""Several instances on one database: uids stay distinct and gapless, nothing is lost."""

from __future__ import annotations

import asyncio

from inbox.mail.flags import Flag
from inbox.store.ports.ingest import Indexed
from tests.support.store import Home, Opener, email, envelope, indexed


async def test_two_hundred_deliveries_from_four_instances(acme: Home, opener: Opener) -> None:
    instances = [acme.db, *[await opener() for _ in range(3)]]
    mails = [email(acme.tenant) for _ in range(200)]
    batch = [Indexed((indexed(mail, acme.inbox),)) for mail in mails]
    done = await asyncio.gather(*[instances[n % 4].writer.write(accepted) for n, accepted in enumerate(batch)])
    placed = [place for ((place,),) in done]
    assert sorted(place.uid for place in placed) == list(range(1, 201))
    assert len({place.modseq for place in placed}) == 200
    messages = {message.entry.uid: message for message in await acme.fetched(acme.inbox, list(range(1, 201)))}
    for mail, place in zip(mails, placed, strict=True):
        assert (messages[place.uid].email, messages[place.uid].entry.modseq) == (mail, place.modseq)
    for instance in instances:
        status = await instance.mailboxes.status(acme.tenant, acme.inbox)
        assert (status.messages, status.unseen, status.next_uid) == (200, 200, 201)


async def test_one_mail_from_four_instances_at_once_is_there_once(acme: Home, opener: Opener) -> None:
    instances = [acme.db, *[await opener() for _ in range(3)]]
    mail = email(acme.tenant)
    accepted = Indexed((indexed(mail, acme.inbox, prepended=envelope("ann@acme.test")),))
    done = await asyncio.gather(*[instances[n % 4].writer.write(accepted) for n in range(40)])
    assert sum(place.fresh for ((place,),) in done) == 1
    assert await acme.uids() == [1]


async def test_counters_stay_right_under_everything_at_once(acme: Home, opener: Opener) -> None:
    instances = [acme.db, await opener()]
    archive = acme.mailboxes["Archive"]
    await acme.fill(60)

    async def deliver(n: int) -> None:
        await instances[n % 2].writer.write(Indexed((indexed(email(acme.tenant), acme.inbox),)))

    async def mark(n: int) -> None:
        await instances[n % 2].messages.store(acme.tenant, acme.inbox, [n], "add", Flag.SEEN | Flag.DELETED)

    async def move(n: int) -> None:
        await instances[n % 2].messages.copy(acme.tenant, acme.inbox, [n], archive, move=True)

    async def expunge(n: int) -> None:
        await instances[n % 2].messages.expunge(acme.tenant, acme.inbox)

    work = [job(n) for n in range(1, 31) for job in (deliver, mark, move)] + [expunge(n) for n in range(5)]
    await asyncio.gather(*work)
    for mailbox in (acme.inbox, archive):
        entries = await acme.db.messages.entries(acme.tenant, mailbox)
        messages = await acme.fetched(mailbox, [entry.uid for entry in entries])
        status = await acme.db.mailboxes.status(acme.tenant, mailbox)
        assert status.messages == len(entries) == len(messages)
        assert status.unseen == sum(not entry.flags & Flag.SEEN for entry in entries)
        assert status.size == sum(message.size for message in messages)
    known = await instances[1].messages.changes(acme.tenant, acme.inbox, 0)
    assert {entry.uid for entry in known.changed} == set(await acme.uids())
    assert set(known.expunged) == set(range(1, 91)) - set(await acme.uids())


async def test_counters_are_shared(acme: Home, opener: Opener) -> None:
    instances = [acme.db, await opener()]
    counts = await asyncio.gather(*[instances[n % 2].rates.hit("k", 60, 0.0) for n in range(40)])
    assert sorted(count.count for count in counts) == list(range(1, 41))
    claims = await asyncio.gather(*[
        instances[n % 2].messages.claim_recent(acme.tenant, acme.inbox) for n in range(6)
    ])  # fmt: skip
    assert claims == [1] * 6
