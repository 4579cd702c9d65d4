"""A message that is sent again: its copies, record, log and reply."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from inbox.mail.content import MemoryContent
from inbox.mail.flags import Flag
from inbox.plugin.api.context import Door, Identity, Session
from inbox.store.ports.decisions import AlreadyFiled, DecisionFilter
from tests.support.flow import SCRIPTED, World, scripted, world

MAIL = b"Message-ID: <1@elsewhere.test>\r\nSubject: hello\r\n\r\nbody\r\n"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


async def known(here: World, tenant: str = "acme") -> list[tuple[AlreadyFiled, ...]]:
    """Retries in the tenant's records, the latest first."""
    found = await here.installation.database.decisions.search(DecisionFilter(await here.tenant(tenant)))
    return [record.already_filed for record in found]


async def test_record_and_log_name_the_first_copy(here: World) -> None:
    await here.receive(["ann@acme.test"], MAIL)
    (first,) = await here.decisions("acme")
    with capture_logs() as lines:
        (reply,) = await here.receive(["ann@acme.test"], MAIL)
    assert reply.code == 250
    assert len(await here.mailbox("ann@acme.test")) == 1
    (retry,), nothing = await known(here)
    assert (retry.recipient, retry.mailbox, retry.uid, retry.transaction) == ("ann@acme.test", "INBOX", 1, first.id)
    assert nothing == ()
    (line,) = [line for line in lines if line["event"] == "accepted"]
    assert line["already_filed"] == [f"ann@acme.test as {first.id} in INBOX"]


async def test_new_mail_says_nothing_of_retries(here: World) -> None:
    with capture_logs() as lines:
        await here.receive(["ann@acme.test"], MAIL)
    (line,) = [line for line in lines if line["event"] == "accepted"]
    assert "already_filed" not in line


@pytest.mark.parametrize(
    ("to", "sender"),
    [
        ("ann@acme.test", "list@elsewhere.test"),
        ("ann@acme.test", None),
        ("ann+shop@acme.test", "peer@elsewhere.test"),
        ("Ann@acme.test", "peer@elsewhere.test"),
    ],
)
async def test_another_envelope_is_another_delivery(here: World, to: str, sender: str | None) -> None:
    await here.receive(["ann@acme.test"], MAIL)
    (reply,) = await here.receive([to], MAIL, sender=sender)
    assert reply.code == 250
    assert len(await here.mailbox("ann@acme.test")) == 2
    assert await known(here) == [(), ()]


async def test_a_null_sender_retries_too(here: World) -> None:
    for _ in range(2):
        await here.receive(["ann@acme.test"], MAIL, sender=None)
    assert len(await here.mailbox("ann@acme.test")) == 1


async def test_a_deleted_message_is_delivered_again(here: World) -> None:
    await here.receive(["ann@acme.test"], MAIL)
    database = here.installation.database
    account = await database.accounts.by_address("ann@acme.test")
    assert account is not None
    names = {box.name: box.id for box in await database.mailboxes.all(account.tenant, account.id)}
    await database.messages.copy(account.tenant, names["INBOX"], [1], names["Trash"], move=True)
    await here.receive(["ann@acme.test"], MAIL)
    assert [stored.entry.uid for stored in await here.mailbox("ann@acme.test")] == [2]
    assert await known(here) == [(), ()]


async def test_over_lmtp_some_recipients_may_be_retries(here: World) -> None:
    await here.receive(["ann@acme.test", "eve@umbra.test"], MAIL, door=Door.LMTP)
    replies = await here.receive(["ann@acme.test", "bob@acme.test", "eve@umbra.test"], MAIL, door=Door.LMTP)
    assert [reply.code for reply in replies] == [250, 250, 250]
    for address in ("ann@acme.test", "bob@acme.test", "eve@umbra.test"):
        assert len(await here.mailbox(address)) == 1
    assert [[one.recipient for one in retries] for retries in await known(here)] == [["ann@acme.test"], []]
    assert [[one.recipient for one in retries] for retries in await known(here, "umbra")] == [["eve@umbra.test"], []]


async def test_a_quarantined_copy_is_a_retry_for_its_own_recipient(here: World) -> None:
    await scripted(here, "acme", data="Quarantine('looks bad')")
    await here.receive(["ann@acme.test"], MAIL)
    await here.receive(["ann@acme.test", "bob@acme.test"], MAIL)
    assert [stored.recipient for stored in await here.quarantine("acme")] == ["ann@acme.test", "bob@acme.test"]
    (retry,), nothing = await known(here)
    assert (retry.recipient, retry.mailbox, nothing) == ("ann@acme.test", "Quarantine", ())


async def test_a_quarantined_copy_never_counts_as_a_delivery(here: World) -> None:
    await scripted(here, "acme", data="Quarantine('looks bad')")
    await here.receive(["ann@acme.test"], MAIL)
    await scripted(here, "acme", data="None")
    await here.receive(["ann@acme.test"], MAIL)
    assert len(await here.mailbox("ann@acme.test")) == 1
    assert await known(here) == [(), ()]


async def test_without_a_message_id_nothing_is_a_retry(here: World) -> None:
    for _ in range(2):
        await here.receive(["ann@acme.test"], b"Subject: disk full\r\n\r\n/var\r\n")
    assert len(await here.mailbox("ann@acme.test")) == 2


async def test_an_appended_message_is_neither_a_retry_nor_a_first_copy(here: World) -> None:
    database = here.installation.database
    account = await database.accounts.by_address("ann@acme.test")
    assert account is not None
    inbox = await database.mailboxes.by_name(account.tenant, account.id, "INBOX")
    assert inbox is not None
    session = Session("s1", Door.IMAP, ip_address("192.0.2.7"))
    session.identity = Identity("ann@acme.test", account.id, account.tenant, "acme")

    async def append() -> bool:
        content = MemoryContent(MAIL)
        return (await here.parts.appending.append(session, inbox, content, int(Flag.SEEN), (), None)).fresh

    assert [await append(), await append()] == [True, True]
    await here.receive(["ann@acme.test"], MAIL)
    assert await append()
    assert len(await here.mailbox("ann@acme.test")) == 4


async def test_recipients_of_one_tenant_under_two_policies_are_in_one_record(here: World) -> None:
    """A record is found by transaction and tenant: a second one would replace the first."""
    await here.policy(
        "tenants/acme.yaml",
        "accounts:\n  bob@acme.test:\n    plugins:\n      scripted: {data: \"Quarantine('bad')\"}\n",
    )
    for _ in range(2):
        (reply,) = await here.receive(["ann@acme.test", "bob@acme.test"], MAIL)
        assert reply.code == 250
    latest, first = await here.decisions("acme")
    for decision in (latest, first):
        assert (decision.outcome, decision.recipients) == ("mixed", ["ann@acme.test", "bob@acme.test"])
        assert "Quarantine" in str(decision.stages)
    assert [[one.recipient for one in retries] for retries in await known(here)] == [
        ["ann@acme.test", "bob@acme.test"],
        [],
    ]
