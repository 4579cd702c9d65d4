"""Submitted messages through the whole flow: who gets them, what they contain, and who sees what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from inbox.base.errors import PolicyError, StoreUnavailable
from inbox.flow.judge import AuthHooks
from inbox.flow.shares import view_for
from inbox.mail.flags import Flag
from inbox.mail.reply import Reply
from inbox.mail.tenancy import Tenant
from inbox.plugin.api.context import Door, Session, Transaction
from inbox.policy.rendering import render
from inbox.policy.stages import Stage
from inbox.store.ports.shared import Member
from tests.support.flow import SCRIPTED, World, scripted, world
from tests.support.sources import ROOT

ANN, BOB, EVE, FAR = "ann@acme.test", "bob@acme.test", "eve@umbra.test", "x@elsewhere.test"
BCC = (
    b"From: ann@acme.test\r\nTo: x@elsewhere.test\r\nBcc: eve@umbra.test, bob@acme.test\r\n"
    b"Subject: hello\r\n\r\nbody\r\n"
)


PLACE = '''
"""Gives a fact at each login."""
from dataclasses import dataclass
from inbox.plugin import Plugin, hookimpl

@dataclass(frozen=True)
class Place:
    country: str

class Places(Plugin):
    gives = (Place,)

    @hookimpl
    def auth(self, session, identity):
        session.facts.put(Place("AT"))
'''


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


def words(replies: list[Reply]) -> list[str]:
    """The replies without the ids of their records."""
    return [f"{each.code} {each.enhanced} {each.text.partition(' (id ')[0]}" for each in replies]


async def test_a_mixed_message_is_split(here: World) -> None:
    """Hosted recipients get their copies at once, the others become jobs of the sender's tenant."""
    assert words(await here.submit([BOB, EVE, FAR])) == ["250 2.0.0 OK"]
    assert len(await here.mailbox(BOB)) == 1
    assert len(await here.mailbox(EVE)) == 1
    (job,) = await here.jobs()
    assert (job.job.sender, job.job.domain) == (ANN, "elsewhere.test")
    assert job.job.actor_account == (await here.identity(ANN)).account
    assert await here.jobs("umbra") == []


async def test_a_client_without_a_login_relays_nothing(here: World) -> None:
    assert words(await here.receive([FAR], sender=ANN)) == ["550 5.7.1 Relaying denied"]
    assert await here.jobs() == []


async def test_an_unknown_local_recipient_is_refused_at_once(here: World) -> None:
    assert words(await here.submit(["nobody@umbra.test"])) == ["550 5.1.1 No such user here"]


async def test_missing_fields_are_added_before_anything_is_stored(here: World) -> None:
    await here.submit([FAR], b"Subject: bare\r\n\r\nbody\r\n")
    (job,) = await here.jobs()
    sent = await here.relayed(job)
    assert b"\r\nFrom: ann@acme.test\r\nDate: " in sent
    assert b"\r\nMessage-ID: <" in sent
    assert sent.endswith(b"\r\nSubject: bare\r\n\r\nbody\r\n")


async def test_hidden_recipients_stay_hidden(here: World) -> None:
    await here.submit([FAR, BOB, EVE], BCC)
    (job,) = await here.jobs()
    relayed = await here.relayed(job)
    (at_bob,) = await here.mailbox(BOB)
    (at_eve,) = await here.mailbox(EVE)
    copies = {BOB: await here.bytes_of(at_bob), EVE: await here.bytes_of(at_eve)}
    for octets in (relayed, *copies.values()):
        assert b"Bcc" not in octets
    assert b"bob@" not in relayed
    assert b"eve@" not in relayed
    assert b"eve@" not in copies[BOB]
    assert b"bob@" not in copies[EVE]
    assert b"x@elsewhere" not in copies[EVE].split(b"From: ann")[0], "nor are other recipients in trace fields"


async def test_another_tenant_sees_neither_the_account_nor_its_computer(here: World) -> None:
    """Its hooks, and its decision record: the message comes from this server."""
    seen = "Reject(550, '5.7.1', f'{tx.session.identity} {tx.session.peer} {tx.session.helo} {len(tx.recipients)}')"
    await scripted(here, "umbra", data=seen)
    assert words(await here.submit([EVE], BCC)) == ["550 5.7.1 None 127.0.0.1 None 1"]
    (record,) = await here.decisions("umbra")
    assert (record.peer, record.helo, record.recipients) == ("127.0.0.1", "", [EVE])


async def test_its_own_tenant_sees_the_account(here: World) -> None:
    await scripted(here, "acme", data="Reject(550, '5.7.1', f'{tx.session.identity.address} {tx.session.peer}')")
    assert words(await here.submit([FAR])) == ["550 5.7.1 ann@acme.test 192.0.2.7"]
    (record,) = await here.decisions("acme")
    assert record.peer == "192.0.2.7"


@pytest.mark.parametrize("verdict", ["Reject(550, '5.7.1', 'virus')", "Quarantine('virus')", "Discard('virus')"])
async def test_the_authors_tenant_refuses_openly_and_for_all(here: World, verdict: str) -> None:
    await scripted(here, "acme", data=verdict)
    assert words(await here.submit([FAR, EVE])) == ["550 5.7.1 virus"]
    assert await here.jobs() == []
    assert await here.mailbox(EVE) == []
    assert await here.quarantine("acme") == []


async def test_the_quarantine_of_another_tenant_is_not_revealed(here: World) -> None:
    await scripted(here, "umbra", data="Quarantine('odd')")
    assert words(await here.submit([EVE])) == ["250 2.0.0 OK"]
    assert len(await here.quarantine("umbra")) == 1


async def test_another_tenants_refusal_does_not_stop_the_others(here: World) -> None:
    await scripted(here, "umbra", data="Reject(550, '5.7.1', 'no')")
    assert words(await here.submit([EVE, FAR])) == ["250 2.0.0 OK"]
    assert len(await here.quarantine("umbra")) == 1
    assert len(await here.jobs()) == 1


async def test_a_sender_that_is_not_the_accounts_is_refused_and_recorded(here: World) -> None:
    assert words(await here.submit([FAR], sender=EVE)) == ["553 5.7.1 ann@acme.test may not send as eve@umbra.test"]
    (record,) = await here.decisions("acme")
    assert (record.stage, record.door) == ("mail", "submission")
    forged = b"From: eve@umbra.test\r\n\r\nbody\r\n"
    assert words(await here.submit([FAR], forged)) == ["553 5.7.1 ann@acme.test may not send as eve@umbra.test"]
    assert await here.jobs() == []


async def test_a_notification_has_the_null_reverse_path(here: World) -> None:
    assert words(await here.submit([FAR], sender=None)) == ["250 2.0.0 OK"]
    (job,) = await here.jobs()
    assert job.job.sender == ""


async def test_a_held_message_is_not_due_before_its_release(here: World) -> None:
    assert words(await here.submit([FAR], params={"HOLDFOR": "3600"})) == ["250 2.0.0 OK"]
    (job,) = await here.jobs()
    assert 3500 < job.job.not_before - job.job.created_at <= 3600


async def test_mail_to_hosted_domains_cannot_be_held(here: World) -> None:
    replies = words(await here.submit([BOB, FAR], params={"HOLDFOR": "3600"}))
    assert replies[0].startswith("550 5.3.3 Mail to this domain is delivered at once and cannot be held")
    assert replies[1:] == ["250 2.0.0 OK"]
    assert await here.mailbox(BOB) == []
    assert len(await here.jobs()) == 1


async def test_received_omits_the_computer_of_the_user_by_setting(here: World) -> None:
    await here.submit([FAR])
    await here.policy("default.yaml", "plugins: {recipients: {}}\nsubmission: {hide_client: true}\n")
    await here.submit([FAR, BOB])
    shown, hidden = sorted([await here.relayed(job) for job in await here.jobs()], key=lambda each: b"hidden" in each)
    (copy,) = await here.mailbox(BOB)
    assert shown.startswith(b"Received: from [10.0.0.7] ([192.0.2.7])\r\n")
    for octets in (hidden, await here.bytes_of(copy)):
        assert b"Received: from hidden.invalid\r\n\tby mx.test (inbox) with ESMTPA id " in octets
        assert b"10.0.0.7" not in octets
        assert b"192.0.2.7" not in octets


async def test_while_the_database_is_away_nothing_is_accepted(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(here.parts.directory, "domain", away)
    assert words(await here.submit([FAR], sender="sales@acme.test")) == ["451 4.3.0 Local problem, try again later"]
    assert words(await here.submit([FAR])) == ["451 4.3.0 Local problem, try again later"]


SAVED = "plugins: {recipients: {}, scripted: {}}\nsubmission: {save_sent: true}\n"


async def test_the_author_keeps_a_copy_by_setting(here: World) -> None:
    await here.policy("default.yaml", SAVED)
    assert words(await here.submit([FAR, EVE, ANN], BCC)) == ["250 2.0.0 OK"]
    (sent,) = await here.mailbox(ANN, "Sent")
    assert b"Bcc: eve@umbra.test, bob@acme.test\r\n" in await here.bytes_of(sent), "the author knows them"
    assert b"Received:" not in await here.bytes_of(sent)
    assert sent.entry.flags & Flag.SEEN
    assert len(await here.mailbox(ANN)) == 1, "and gets the message, too"
    (job,) = await here.jobs()
    (at_eve,) = await here.mailbox(EVE)
    assert b"Bcc" not in await here.relayed(job) + await here.bytes_of(at_eve)


async def test_the_copy_is_kept_when_all_recipients_are_of_another_tenant(here: World) -> None:
    await here.policy("default.yaml", SAVED)
    await here.submit([EVE])
    assert len(await here.mailbox(ANN, "Sent")) == 1
    assert [each.kind for each in (await here.decisions("acme"))[0].destinations] == ["mailbox"]


async def test_nothing_is_kept_of_what_is_refused(here: World) -> None:
    await here.policy("default.yaml", SAVED)
    await scripted(here, "acme", data="Reject()")
    await here.submit([FAR])
    assert await here.mailbox(ANN, "Sent") == []


async def test_by_default_the_mail_program_keeps_the_copy(here: World) -> None:
    await here.submit([FAR])
    assert await here.mailbox(ANN, "Sent") == []


async def test_8bit_text_is_converted_by_setting(here: World) -> None:
    head = b"From: ann@acme.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    message = head + b"\r\nMany greetings from F\xc3\xbcrth\r\n"
    await here.submit([FAR], message, params={"BODY": "8BITMIME"})
    await here.policy("default.yaml", "plugins: {recipients: {}}\nsubmission: {seven_bit: true}\n")
    await here.submit([FAR], message, params={"BODY": "8BITMIME"})
    jobs = {job.job.body: await here.relayed(job) for job in await here.jobs()}
    assert jobs["8BITMIME"].endswith(b"\r\n\r\nMany greetings from F\xc3\xbcrth\r\n")
    assert jobs["7BIT"].endswith(
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nMany greetings from F=C3=BCrth\r\n"
    )


async def shared_inbox(here: World, *members: str) -> str:
    """Creates sales@acme.test with these members; returns its id."""
    inboxes = here.installation.database.shared_inboxes
    tenant = await here.tenant("acme")
    inbox = await inboxes.add(tenant, "sales@acme.test", "Sales")
    for each in members:
        await inboxes.set_member(tenant, inbox.id, Member((await here.identity(each)).account, each))
    return inbox.id


@pytest.mark.parametrize("to", [FAR, EVE, BOB])
async def test_mail_in_the_name_of_a_shared_inbox_leaves_a_copy_and_an_event(here: World, to: str) -> None:
    inbox = await shared_inbox(here, ANN)
    message = b"From: Sales <sales@acme.test>\r\nSubject: offer\r\n\r\nbody\r\n"
    assert words(await here.submit([to], message, sender="sales@acme.test")) == ["250 2.0.0 OK"]
    (sent,) = await here.mailbox("sales@acme.test", "Sent")
    (event,) = await here.installation.database.shared_inboxes.events(await here.tenant("acme"), inbox)
    assert (event.event_type, event.actor, event.email) == (
        "send_as",
        (await here.identity(ANN)).account,
        sent.email.id,
    )
    assert [job.job.shared_inbox for job in await here.jobs()] == ([inbox] if to == FAR else [])


async def test_only_members_send_in_the_name_of_a_shared_inbox(here: World) -> None:
    await shared_inbox(here, BOB)
    refused = ["553 5.7.1 ann@acme.test may not send as sales@acme.test"]
    assert words(await here.submit([FAR], sender="sales@acme.test")) == refused
    assert words(await here.submit([FAR], b"From: sales@acme.test\r\n\r\nbody\r\n")) == refused


async def test_a_retry_of_the_client_is_not_stored_twice(here: World) -> None:
    """It did not get our 250: the local copy is recognised; the job is queued again, because nobody can know better."""
    message = b"From: ann@acme.test\r\nDate: Tue, 1 Dec 2026 00:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n"
    for _ in range(2):
        assert words(await here.submit([BOB, FAR], message)) == ["250 2.0.0 OK"]
    assert len(await here.mailbox(BOB)) == 1
    assert len(await here.jobs()) == 2


async def test_recipients_of_one_domain_share_a_job_and_one_content(here: World) -> None:
    await here.submit([FAR, "y@elsewhere.test", "z@far.test", BOB])
    jobs = await here.jobs()
    assert sorted(len(job.job.recipients) for job in jobs) == [1, 2]
    (copy,) = await here.mailbox(BOB)
    assert {job.blob_path for job in jobs} == {copy.email.blob_path}, "stored once"


async def test_facts_of_the_login_are_for_the_users_tenant_only(here: World) -> None:
    await here.plugin("place", PLACE)
    await here.policy("default.yaml", "plugins: {recipients: {}, place: {}}\n")
    identity = await here.identity(ANN)
    session = Session("s1", Door.SUBMISSION, ip_address("192.0.2.7"))
    session.identity = identity
    domain = await here.parts.directory.domain("acme.test")
    assert domain is not None
    await AuthHooks(here.parts.judge).judge(session, identity, domain)
    own = view_for(Transaction("t1", session, None), domain.tenant, [])
    foreign = view_for(Transaction("t1", session, None), Tenant("other", "other"), [])
    assert [type(fact).__name__ for fact in own.facts.visible()] == ["Place"]
    assert [type(fact).__name__ for fact in own.session.facts.visible()] == ["Place"]
    assert [*foreign.facts.visible(), *foreign.session.facts.visible()] == []
    assert (Stage.AUTH in own.session.judgements, Stage.AUTH in foreign.session.judgements) == (True, False)


async def test_the_shipped_policy_suits_submission(here: World) -> None:
    """No check of other servers stops a user, nothing asks the DNS, and rules see the door."""
    shipped = (ROOT / "policies" / "default.yaml").read_text()
    rules = 'spam_rules: {rules: [{name: SENT, when: "door == \\"submission\\"", score: 1}]}'
    await here.policy("default.yaml", shipped.replace("spam_rules: {}", rules))
    assert words(await here.submit([FAR, BOB, EVE])) == ["250 2.0.0 OK"]
    (record, *_) = await here.decisions("acme")
    assert any("SENT" in line for line in render(record))
    (job,) = await here.jobs()
    assert b"\r\nAuthentication-Results: mx.test; auth=pass" in await here.relayed(job)
    assert b"Received-SPF" not in await here.relayed(job)


async def test_a_forward_of_a_submitted_message_hides_the_computer_too(here: World) -> None:
    policy = "plugins: {recipients: {forward_outside: true}}\nsubmission: {hide_client: true}\n"
    await here.policy("default.yaml", policy)
    tenant = await here.tenant("acme")
    await here.installation.database.accounts.add_forward(tenant, "away@acme.test", "ann@home.test")
    here.parts.directory.forget()
    assert words(await here.submit(["away@acme.test"])) == ["250 2.0.0 OK"]
    (job,) = await here.jobs()
    assert job.job.domain == "home.test"
    assert b"Received: from hidden.invalid\r\n" in await here.relayed(job)
    assert b"192.0.2.7" not in await here.relayed(job)


async def test_requiretls_goes_with_the_jobs(here: World) -> None:
    await here.submit([FAR], params={"REQUIRETLS": ""})
    await here.submit([FAR])
    assert sorted(job.job.require_tls for job in await here.jobs()) == [False, True]


async def test_a_forward_keeps_requiretls(here: World) -> None:
    await here.policy("default.yaml", "plugins: {recipients: {forward_outside: true}}\n")
    tenant = await here.tenant("acme")
    await here.installation.database.accounts.add_forward(tenant, "away@acme.test", "ann@home.test")
    here.parts.directory.forget()
    await here.receive(["away@acme.test"], params={"REQUIRETLS": ""})
    assert [(job.job.domain, job.job.require_tls) for job in await here.jobs()] == [("home.test", True)]


@pytest.mark.parametrize(
    ("params", "field", "priority"),
    [
        ({}, b"", 0),
        ({"MT-PRIORITY": "-9"}, b"", -9),
        ({"MT-PRIORITY": "4"}, b"MT-Priority: 9\r\n", 4),
        ({}, b"MT-Priority: 3 (Emergency)\r\n", 3),
        ({}, b"MT-Priority: -2\r\n", -2),
        ({}, b"MT-Priority: 10\r\n", 0),
        ({}, b"MT-Priority: " + b"(" * 900 + b"\r\n", 0),
        ({}, b"MT-Priority: 3\r\nMT-Priority: 4\r\n", 0),
    ],
)
async def test_priority(here: World, params: dict[str, str], field: bytes, priority: int) -> None:
    assert words(await here.submit([FAR], field + b"From: ann@acme.test\r\n\r\nbody\r\n", params=params)) == [
        "250 2.0.0 OK"
    ]
    assert [job.job.priority for job in await here.jobs()] == [priority]


@pytest.mark.parametrize("hidden", [b"Bcc: x@far.test\r\n", b"Idempotency-Key: k\r\n", b"X-A: b\r\n"])
async def test_no_field_hides_behind_too_many(here: World, hidden: bytes) -> None:
    """The first 1,000 fields are read. Those that are removed must not let a further From, or Bcc, pass unread."""
    message = hidden * 1000 + b"From: eve@umbra.test\r\nBcc: bob@acme.test\r\nSubject: x\r\n\r\nbody\r\n"
    assert words(await here.submit([FAR], message)) == ["552 5.3.4 Message header section is too large"]
    assert await here.jobs() == []


async def test_settings_are_those_of_the_author(here: World) -> None:
    """Neither the recipient's tenant nor the recipient decides."""
    await here.policy("default.yaml", "plugins: {recipients: {}}\n")
    tenants = "accounts: {ann@acme.test: {submission: {hide_client: true, save_sent: true}}}\n"
    await here.policy("tenants/acme.yaml", tenants)
    await here.submit([EVE, BOB])
    for address in (EVE, BOB):
        (copy,) = await here.mailbox(address)
        assert b"Received: from hidden.invalid" in await here.bytes_of(copy)
    assert len(await here.mailbox(ANN, "Sent")) == 1
    from_bob = b"From: bob@acme.test\r\n\r\nbody\r\n"
    await here.submit([ANN], from_bob, user=BOB, sender=BOB)
    (copy,) = await here.mailbox(ANN)
    assert b"Received: from [10.0.0.7]" in await here.bytes_of(copy)
    assert await here.mailbox(BOB, "Sent") == []


async def test_size_and_recipients_are_limited_for_each_author(here: World) -> None:
    await here.policy("tenants/acme.yaml", "submission: {max_message_octets: 2000, max_recipients: 1}\n")
    small, large = (b"From: ann@acme.test\r\n\r\n" + b"x" * size + b"\r\n" for size in (1000, 3000))
    too_large = "552 5.3.4 ann@acme.test may send messages of at most 2000 octets"
    assert words(await here.submit([FAR, BOB], small)) == [
        "452 4.5.3 ann@acme.test may send a message to at most 1 recipients", "250 2.0.0 OK",
    ]  # fmt: skip
    assert words(await here.submit([FAR], large)) == [too_large]
    assert words(await here.submit([FAR], small, params={"SIZE": "2001"})) == [too_large]
    assert words(await here.submit([FAR], small, params={"SIZE": "2000"})) == ["250 2.0.0 OK"]
    assert words(await here.submit([FAR], large.replace(b"ann@acme", b"eve@umbra"), user=EVE, sender=EVE)) == [
        "250 2.0.0 OK"
    ]


async def test_an_author_whose_policy_is_invalid_waits(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def invalid(*_: object) -> None:
        raise PolicyError("acme.yaml:1:1: a mistake")

    monkeypatch.setattr(here.parts.judge, "for_recipient", invalid)
    assert words(await here.submit([FAR], params={"SIZE": "9"})) == [
        "451 4.3.5 System incorrectly configured, try again later"
    ]
    assert await here.jobs() == []
