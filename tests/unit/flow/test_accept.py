"""The one way in: several destinations for one recipient, and nothing lost between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from inbox.flow.accept import Answered, Incoming
from inbox.flow.destinations import Destinations, IntoMailbox, Relay
from inbox.flow.door_rules import LMTP, SMTP, DoorRules
from inbox.flow.envelope import Admitted, Envelope
from inbox.mail.address import Address
from inbox.mail.content import Content, MemoryContent
from inbox.mail.flags import Flag
from inbox.mail.headers import header_block
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Recipient, Session, Transaction
from inbox.policy.rendering import render
from tests.support.flow import SCRIPTED, World, scripted, world

ANN, BOB, PLUS = "ann@acme.test", "bob@acme.test", "ann+news@acme.test"
MESSAGE = b"Message-ID: <1@elsewhere.test>\r\nSubject: hello\r\n\r\nbody\r\n"
OK = Reply(250, "2.0.0", "OK")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


async def accept(here: World, destinations: Destinations, transaction: str, rules: DoorRules = SMTP) -> Answered:
    """Hands a message for ann to the flow as a door does that knows her destinations."""
    session = Session("s1", Door.SMTP, ip_address("192.0.2.7"), helo="mx.elsewhere.test", esmtp=True)
    domain = await here.parts.directory.domain("acme.test")
    assert domain is not None
    tx = Transaction(transaction, session, Address.parse("peer@elsewhere.test"))
    recipient = Recipient(Address.parse(ANN), domain.tenant.id, domain.tenant.name)
    policy = here.parts.judge.for_recipient(domain, ANN)
    envelope = Envelope(tx, [Admitted(recipient, domain, policy, None, destinations)])
    return await here.parts.acceptance.accept(Incoming(envelope, MemoryContent(MESSAGE), rules, OK))


async def test_the_header_section_is_located_once(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the check of the flow and for all plugins."""
    located = 0

    def locate(content: Content) -> tuple[bytes, int]:
        nonlocal located
        located += 1
        return header_block(content)

    for module in ("mail.message", "flow.accept", "flow.trace", "flow.shares", "flow.edits"):
        monkeypatch.setattr(f"inbox.{module}.header_block", locate, raising=False)
    await scripted(here, "acme", data="tx.message.subject and None")
    assert (await accept(here, (IntoMailbox(ANN),), "01j00000000000000001")).reply == OK
    assert located == 1


async def test_one_recipient_may_have_two_mailboxes(here: World) -> None:
    both = (IntoMailbox(ANN), IntoMailbox(ANN, "Lists/python", Flag.SEEN))
    answered = await accept(here, both, "01j00000000000000001")
    assert answered.reply == OK
    (first,), (second,) = await here.mailbox(ANN), await here.mailbox(ANN, "Lists/python")
    assert first.email.id == second.email.id, "one mail, two copies"
    assert (first.entry.flags, second.entry.flags) == (0, int(Flag.SEEN))
    (decision,) = await here.decisions("acme")
    assert [(each.recipient, each.account, each.mailbox) for each in decision.destinations] == [
        (ANN, ANN, "INBOX"),
        (ANN, ANN, "Lists/python"),
    ]
    assert "  goes        into Lists/python of <ann@acme.test> with \\Seen" in render(decision)


async def test_a_retry_finds_both_mailboxes_filled(here: World) -> None:
    both = (IntoMailbox(ANN), IntoMailbox(ANN, "Archive"))
    await accept(here, both, "01j00000000000000001")
    answered = await accept(here, both, "01j00000000000000002")
    assert answered.reply == OK
    assert [place.fresh for place in answered.placed] == [False, False]
    assert len(await here.mailbox(ANN)) == len(await here.mailbox(ANN, "Archive")) == 1


async def test_one_recipient_may_have_a_mailbox_and_a_relay(here: World) -> None:
    elsewhere = Address.parse("x@elsewhere.test")
    answered = await accept(here, (IntoMailbox(ANN), Relay(elsewhere)), "01j00000000000000001")
    assert answered.reply == OK
    (stored,) = await here.mailbox(ANN)
    (queued,) = await here.installation.database.queue.jobs(await here.tenant("acme"))
    assert (queued.job.recipients[0].address, queued.job.domain, queued.email) == (
        str(elsewhere),
        "elsewhere.test",
        stored.email.id,
    )
    assert queued.job.sender == "peer@elsewhere.test"
    (decision,) = await here.decisions("acme")
    assert [(each.kind, each.address) for each in decision.destinations] == [
        ("mailbox", ""),
        ("relay", "x@elsewhere.test"),
    ]
    assert f"  goes        to another server, for <x@elsewhere.test> (for <{ANN}>)" in render(decision)


async def test_a_refused_or_quarantined_message_is_not_relayed(here: World) -> None:
    both = (IntoMailbox(ANN), Relay(Address.parse("x@elsewhere.test")))
    for verdict in ("Reject()", "Quarantine()", "Discard()"):
        await scripted(here, "acme", data=verdict)
        await accept(here, both, "01j00000000000000001")
    assert await here.installation.database.queue.jobs(await here.tenant("acme")) == []
    assert await here.mailbox(ANN) == []


async def test_a_rule_applies_to_each_mailbox(here: World) -> None:
    await scripted(here, "acme", store="Reject(552, '5.2.2', 'full') if delivery.mailbox == 'Archive' else None")
    answered = await accept(here, (IntoMailbox(ANN), IntoMailbox(ANN, "Archive")), "01j00000000000000001")
    assert answered.reply == OK
    assert len(await here.mailbox(ANN)) == 1
    (held,) = await here.quarantine("acme")
    assert held.reason == "552 5.2.2 full"


@pytest.mark.parametrize("door", [Door.SMTP, Door.LMTP])
async def test_a_refused_recipient_does_not_represent_another_one(here: World, door: Door) -> None:
    """Both addresses lead to one account: what the first one's rule refuses, the second one's may take."""
    await scripted(here, "acme", store="Reject() if delivery.recipient.address.local == 'ann' else None")
    replies = await here.receive([ANN, PLUS], door=door)
    assert [reply.code for reply in replies] == ([550, 250] if door is Door.LMTP else [250])
    (stored,) = await here.mailbox(ANN)
    assert stored.prepended.startswith(b"Delivered-To: ann+news@acme.test\r\n")


async def test_the_record_says_who_is_served_already(here: World) -> None:
    (reply,) = await here.receive([ANN, PLUS])
    assert reply.code == 250
    (decision,) = await here.decisions("acme")
    assert [each.kind for each in decision.destinations] == ["mailbox", "already_served"]
    served = f"  goes        nowhere: <{ANN}> is served by the copy for {ANN} (for <{PLUS}>)"
    assert served in render(decision)


@pytest.mark.parametrize(
    ("verdict", "kind", "quarantined"), [("Quarantine('bad')", "quarantine", 2), ("Discard('old')", "discard", 0)]
)
async def test_an_added_recipient_shares_the_verdict_on_the_message(
    here: World, verdict: str, kind: str, quarantined: int
) -> None:
    await scripted(here, "acme", data=f"[{verdict}, AddRecipient('{BOB}')]")
    (reply,) = await here.receive([ANN])
    assert reply.code == 250
    assert await here.mailbox(BOB) == await here.mailbox(ANN) == []
    assert len(await here.quarantine("acme")) == quarantined
    (decision,) = await here.decisions("acme")
    assert [each.kind for each in decision.destinations] == [kind, kind]


async def test_nobody_is_added_to_a_message_that_is_refused(here: World) -> None:
    await scripted(here, "acme", data=f"[Reject(), AddRecipient('{BOB}')]")
    (reply,) = await here.receive([ANN])
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert await here.mailbox(BOB) == []


@pytest.mark.slow
async def test_very_many_destinations_are_counted(here: World) -> None:
    accounts, acme = here.installation.database.accounts, await here.tenant("acme")
    for number in range(510):
        await accounts.add(acme, f"u{number}@acme.test", "")
        await accounts.add_alias(acme, "all@acme.test", f"u{number}@acme.test")
    (reply,) = await here.receive(["all@acme.test"])
    assert reply.code == 250
    (decision,) = await here.decisions("acme")
    assert (len(decision.destinations), decision.more_destinations) == (500, 10)
    assert "  goes        and to 10 more" in render(decision)


#: Remembers what a plugin can read of its recipients.
CURIOUS = '''
"""Shows all facts and attributes that it finds."""
from inbox.plugin import AddHeader, Plugin, hookimpl

class Curious(Plugin):
    @hookimpl
    def data(self, tx):
        seen = [type(fact).__name__ for each in tx.recipients for fact in each.facts.visible()]
        return AddHeader("X-Seen", " ".join(seen))
'''


async def test_plugins_see_no_policy_and_no_route_of_a_recipient(here: World) -> None:
    await here.plugin("curious", CURIOUS)
    await here.policy("tenants/acme.yaml", "plugins: {curious: {}}\n")
    await here.receive([ANN])
    (stored,) = await here.mailbox(ANN)
    assert b"X-Seen: Resolved\r\n" in await here.bytes_of(stored)


async def test_nobody_relays_through_a_server_that_delivers_nothing(here: World) -> None:
    """Neither a stranger nor a plugin gets a message into the queue."""
    (reply,) = await here.receive(["x@elsewhere.test"], sender=ANN)
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    for stage, answer in (
        ("rcpt", "Redirect('x@elsewhere.test')"),
        ("data", "Redirect('x@elsewhere.test')"),
        ("data", "AddRecipient('x@elsewhere.test')"),
    ):
        await scripted(here, "acme", **{stage: answer})
        (reply,) = await here.receive([ANN])
        assert (reply.code, reply.enhanced) == (451, "4.3.5")
    assert await here.installation.database.queue.jobs(None) == []


async def test_lmtp_stores_what_its_replies_confirm(here: World) -> None:
    answered = await accept(here, (IntoMailbox(ANN),), "01j00000000000000001", LMTP)
    assert (answered.reply, len(answered.placed)) == (OK, 1)
