"""IMAP APPEND: the hooks of every other door run, and what they refuse is not stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from inbox.base.errors import AuthenticationFailed, InboxError, StoreUnavailable
from inbox.base.limits import HEADER_BLOCK_OCTETS
from inbox.flow import refusals
from inbox.mail.content import MemoryContent
from inbox.mail.flags import Flag
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.context import Door, Identity, Session
from inbox.policy.rendering import render
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.messages import Placed
from tests.support.flow import SCRIPTED, World, scripted, world

ANN, BOB, EVE = "ann@acme.test", "bob@acme.test", "eve@umbra.test"
MESSAGE = b"Message-ID: <1@acme.test>\r\nSubject: mine\r\n\r\nbody\r\n"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


async def session(here: World, address: str = ANN) -> Session:
    """A connection that has logged in."""
    account = await here.installation.database.accounts.by_address(address)
    assert account is not None
    tenant = address.rpartition("@")[2].removesuffix(".test")
    identity = Identity(address, account.id, account.tenant, tenant)
    return Session("s1", Door.IMAP, ip_address("192.0.2.7"), identity=identity)


async def mailbox(here: World, address: str = ANN, name: str = "INBOX") -> Mailbox:
    database = here.installation.database
    account = await database.accounts.by_address(address)
    assert account is not None
    found = await database.mailboxes.by_name(account.tenant, account.id, name)
    assert found is not None
    return found


async def append(here: World, who: str = ANN, into: Mailbox | None = None, flags: int = 0) -> Placed:
    target = into or await mailbox(here)
    content = MemoryContent(MESSAGE)
    return await here.parts.appending.append(await session(here, who), target, content, flags, ("work",), 7.0)


async def test_an_appended_message_is_stored_unchanged(here: World) -> None:
    placed = await append(here, flags=int(Flag.SEEN))
    (stored,) = await here.mailbox(ANN)
    assert await here.bytes_of(stored) == MESSAGE
    assert (stored.entry.uid, stored.entry.flags, stored.entry.keywords) == (placed.uid, int(Flag.SEEN), ("work",))
    assert stored.email.internal_date == 7.0
    (decision,) = await here.decisions("acme")
    assert (decision.outcome, decision.door, decision.recipients) == ("accept", "imap", [ANN])


async def test_the_same_message_twice_is_there_twice(here: World) -> None:
    assert (await append(here)).uid < (await append(here)).uid
    assert len(await here.mailbox(ANN)) == 2


async def test_a_header_section_above_the_bound_is_refused_as_it_is_at_smtp(here: World) -> None:
    content = MemoryContent(b"X-Long: " + b"a" * HEADER_BLOCK_OCTETS + b"\r\n\r\nbody\r\n")
    with pytest.raises(InboxError) as refused:
        await here.parts.appending.append(await session(here), await mailbox(here), content, 0, (), None)
    assert (refused.value.code, refused.value.status) == (552, "5.3.4")
    assert await here.mailbox(ANN) == []
    (decision,) = await here.decisions("acme")
    assert decision.outcome == "reject" and decision.id in refused.value.text


@pytest.mark.parametrize("owner", [BOB, EVE])
async def test_nobody_appends_to_a_mailbox_of_another_user(here: World, owner: str) -> None:
    with pytest.raises(AuthenticationFailed):
        await append(here, into=await mailbox(here, owner))
    assert await here.mailbox(owner) == []


async def test_nobody_appends_before_login(here: World) -> None:
    anonymous = replace(await session(here), identity=None)
    with pytest.raises(AuthenticationFailed):
        await here.parts.appending.append(anonymous, await mailbox(here), MemoryContent(MESSAGE), 0, (), None)


@pytest.mark.parametrize(
    ("stage", "answer", "code", "said"),
    [
        ("data", "Reject(554, '5.7.9', 'no viruses')", 554, "no viruses"),
        ("data", "Defer(450, '4.7.9', 'later')", 450, "later"),
        ("data", "Quarantine('looks odd')", 550, "looks odd"),
        ("data", "Discard()", 550, "Refused by policy"),
        ("store", "Reject(552, '5.2.2', 'full')", 552, "full"),
        ("deliver", "Defer(452, '4.2.2', 'full now')", 452, "full now"),
    ],
)
async def test_a_hook_that_refuses(here: World, stage: str, answer: str, code: int, said: str) -> None:
    await scripted(here, "acme", **{stage: answer})
    with pytest.raises(InboxError) as caught:
        await append(here)
    (decision,) = await here.decisions("acme")
    assert (caught.value.code, caught.value.text) == (code, f"{said} (id {decision.id})")
    assert decision.outcome == ("defer" if code < 500 else "reject")
    assert await here.mailbox(ANN) == []


async def test_store_may_put_another_message_in_its_place(here: World) -> None:
    await scripted(here, "acme", store="Transform(b'Subject: sealed\\r\\n\\r\\n' + delivery.account.encode())")
    await append(here)
    (stored,) = await here.mailbox(ANN)
    assert await here.bytes_of(stored) == b"Subject: sealed\r\n\r\n" + ANN.encode()


async def test_a_removed_mailbox_is_reported_as_missing(here: World) -> None:
    lists = await here.installation.database.mailboxes.create(
        (await mailbox(here)).tenant, (await mailbox(here)).account, "Lists"
    )
    await here.installation.database.mailboxes.delete(lists.tenant, lists.id)
    with pytest.raises(InboxError, match="mailbox"):
        await append(here, into=lists)


async def test_a_refusal_that_cannot_be_recorded_is_a_refusal(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(records: Sequence[DecisionRecord]) -> None:
        raise StoreUnavailable("no database")

    await scripted(here, "acme", data="Reject(554, '5.7.9', 'no viruses')")
    monkeypatch.setattr(here.installation.database.decisions, "add", gone)
    with pytest.raises(InboxError) as caught:
        await append(here)
    assert caught.value.code == 554
    assert await here.mailbox(ANN) == []


async def test_flags_that_a_rule_adds_join_the_clients(here: World) -> None:
    await scripted(here, "acme", store="AddFlags(('\\\\Flagged', 'WORK', 'archived'))")
    await append(here, flags=int(Flag.SEEN))
    (stored,) = await here.mailbox(ANN)
    assert stored.entry.flags == int(Flag.SEEN | Flag.FLAGGED)
    assert stored.entry.keywords == ("archived", "work"), "a keyword is the same in any case"
    (decision,) = await here.decisions("acme")
    assert [(each.mailbox, each.flags) for each in decision.destinations] == [
        ("INBOX", ["\\Flagged", "\\Seen", "archived", "work"])
    ]


async def test_a_rule_files_nothing_elsewhere_than_the_client_named(here: World) -> None:
    """RFC 9051 §6.3.12: APPENDUID names the mailbox of the command, so the message must be there."""
    drafts = await mailbox(here, name="Drafts")
    await scripted(here, "acme", store="[FileInto('Lists/python'), AddFlags(('seen-by-rule',))]")
    placed = await append(here, into=drafts)
    assert placed.mailbox == drafts.id
    (stored,) = await here.mailbox(ANN, "Drafts")
    assert (stored.entry.uid, stored.entry.keywords) == (placed.uid, ("seen-by-rule", "work"))
    assert await here.mailbox(ANN, "Lists/python") == []
    (decision,) = await here.decisions("acme")
    assert decision.overruled == ["FileInto Lists/python"]
    shown = "\n".join(render(decision))
    assert "not done    FileInto Lists/python: the client named the mailbox" in shown
    assert "goes        into Drafts of <ann@acme.test> with seen-by-rule work" in shown


async def test_a_rule_changes_neither_the_text_nor_the_recipients_of_what_its_owner_stores(here: World) -> None:
    answer = "[AddHeader('X-A', '1'), AddRecipient('bob@acme.test'), DropRecipient('ann@acme.test')]"
    await scripted(here, "acme", data=answer)
    await append(here)
    (stored,) = await here.mailbox(ANN)
    assert await here.bytes_of(stored) == MESSAGE
    assert await here.mailbox(BOB) == []
    (decision,) = await here.decisions("acme")
    assert decision.overruled == [f"AddRecipient {BOB}", f"DropRecipient {ANN}", "AddHeader"]


@pytest.mark.parametrize("answer", ["Redirect('bob@acme.test')", "Score('A', 6)"])
async def test_neither_a_redirection_nor_a_score_moves_what_its_owner_stores(here: World, answer: str) -> None:
    stage = f'plugins:\n  scripted: {{data: "{answer}"}}\nthresholds: {{junk: 5}}\n'
    await here.policy("tenants/acme.yaml", stage)
    await append(here)
    assert len(await here.mailbox(ANN)) == 1
    (decision,) = await here.decisions("acme")
    assert decision.overruled == (["Redirect bob@acme.test"] if "Redirect" in answer else ["threshold junk"])


async def test_an_invalid_flag_defers_and_the_record_has_the_answer(here: World) -> None:
    await scripted(here, "acme", store="AddFlags(('\\\\Nonsense',))")
    with pytest.raises(InboxError) as caught:
        await append(here)
    assert (caught.value.code, caught.value.status) == (451, "4.3.0")
    assert await here.mailbox(ANN) == []
    (decision,) = await here.decisions("acme")
    assert "Nonsense" in str(decision.stages)


async def test_refusals_of_appended_messages_are_counted_when_they_are_many(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FULL_MESSAGES", 2)
    await scripted(here, "acme", data="Reject(554, '5.7.9', 'no viruses')")
    for _ in range(5):
        with pytest.raises(InboxError):
            await append(here)
    counted = [decision for decision in await here.decisions("acme") if decision.count]
    assert len(await here.decisions("acme")) == 3
    assert [decision.door for decision in counted] == ["imap"]
