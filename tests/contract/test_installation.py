"""The identity of the installation and the released blobs, in every database."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from inbox.base.errors import NotFound
from inbox.mail.flags import Flag
from inbox.store.ports import Database
from inbox.store.ports.ingest import Indexed
from inbox.store.ports.installation import Identity
from tests.support.store import IDS, Home, Opener, email, envelope, indexed


async def test_the_first_claim_wins_and_stays(opener: Opener) -> None:
    one, two = await opener(), await opener()
    assert await one.installation.identity() is None
    with pytest.raises(NotFound):
        await one.installation.pair("store")
    given = [IDS.new() for _ in range(8)]
    claimed = await asyncio.gather(
        *((one, two)[n % 2].installation.claim(installation) for n, installation in enumerate(given))
    )
    assert len(set(claimed)) == 1
    assert claimed[0].installation in given
    assert claimed[0].store == ""
    assert await two.installation.identity() == claimed[0]


async def test_the_first_blob_store_wins_and_stays(opener: Opener) -> None:
    one, two = await opener(), await opener()
    await one.installation.claim("i")
    stores = [IDS.new() for _ in range(8)]
    paired = await asyncio.gather(*((one, two)[n % 2].installation.pair(store) for n, store in enumerate(stores)))
    assert len(set(paired)) == 1
    assert paired[0].store in stores
    await one.installation.replace("j")
    assert await two.installation.identity() == Identity("j")
    assert await two.installation.pair("s") == Identity("j", "s")


async def test_a_sample_has_the_oldest_and_the_newest_messages(acme: Home) -> None:
    assert await acme.db.installation.sample(4) == []
    mails = [email(acme.tenant) for _ in range(9)]
    for mail in mails:
        await acme.deliver(mail=mail)
    paths = [mail.blob_path for mail in sorted(mails, key=lambda mail: mail.id)]
    assert set(await acme.db.installation.sample(4)) == {*paths[:2], *paths[-2:]}
    assert set(await acme.db.installation.sample(40)) == set(paths)


async def test_a_blob_is_released_with_the_last_copy_of_its_message(acme: Home) -> None:
    records = acme.db.installation
    kept, gone, boxed = [email(acme.tenant) for _ in range(3)]
    archive = await acme.db.mailboxes.create(acme.tenant, acme.account.id, "Old")
    await acme.deliver(mail=kept)
    await acme.deliver(mail=gone)
    await acme.deliver(archive.id, mail=boxed)
    await acme.db.messages.copy(acme.tenant, acme.inbox, [2], archive.id)
    paths = [kept.blob_path, gone.blob_path, boxed.blob_path, "msg/o/m/other.eml"]
    await acme.db.messages.store(acme.tenant, acme.inbox, [2], "add", Flag.DELETED)
    assert await acme.db.messages.expunge(acme.tenant, acme.inbox) == [2]
    assert await records.released(paths) == set(), "a copy is left"
    await acme.db.mailboxes.delete(acme.tenant, archive.id)
    assert await records.released(paths) == {gone.blob_path, boxed.blob_path}
    await records.forget_released([gone.blob_path, "msg/o/m/other.eml"])
    assert await records.released(paths) == {boxed.blob_path}
    assert await records.prune_released(0) == 0
    assert await records.prune_released(4e9) == 1
    assert await records.released(paths) == set()


async def test_a_blob_that_came_with_a_known_message_is_released(acme: Home) -> None:
    """Else anybody who sends one message often enough stops the sweeper with its alarm."""
    first = email(acme.tenant)
    await acme.deliver(mail=first)
    shared, retried, put = [replace(first, id=IDS.new(), blob_path=f"msg/o/m/{n}.eml") for n in range(3)]
    archive = acme.mailboxes["Archive"]
    trace = envelope("ann@acme.test")
    await acme.db.writer.write(Indexed((indexed(shared, acme.inbox, prepended=trace),)))
    (known,) = await acme.db.writer.write(Indexed((indexed(retried, acme.inbox, prepended=trace),)))
    assert known[0].already is not None
    await acme.deliver(archive, mail=put)
    paths = [first.blob_path, *(mail.blob_path for mail in (shared, retried, put))]
    assert await acme.db.installation.released(paths) == set(paths[1:])
    # Asked again after an answer that was lost: the blob is the message's own.
    await acme.db.writer.write(Indexed((indexed(first, acme.inbox, prepended=trace),)))
    assert await acme.db.installation.released(paths) == set(paths[1:])


async def test_many_released_blobs(acme: Home) -> None:
    await acme.fill(1201)
    paths = await acme.db.installation.sample(3000)
    assert len(paths) == 1201
    await acme.db.messages.remove(acme.tenant, acme.inbox, list(range(1, 1202)))
    assert await acme.db.installation.released(paths) == set(paths)
    await acme.db.installation.forget_released(paths[:700])
    assert await acme.db.installation.prune_released(4e9) == 501
    assert await acme.db.installation.sample(4) == []


async def test_nothing_is_asked_of_an_empty_list(db: Database) -> None:
    assert await db.installation.released([]) == set()
    await db.installation.forget_released([])


async def test_all_processes_get_the_same_key(opener: Opener) -> None:
    one, two = await opener(), await opener()
    found = await asyncio.gather(*((one, two)[n % 2].installation.secret("srs") for n in range(8)))
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    assert await one.installation.secret("scram") != found[0]
    assert await (await opener()).installation.secret("srs") == found[0]
