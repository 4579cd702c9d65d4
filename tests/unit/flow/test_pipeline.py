"""The way of a message: from the verdicts of its tenants to mailboxes, quarantine, replies and records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from inbox.base.errors import StorageFull, StoreUnavailable
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.plugin.api.context import Door, Session
from inbox.store.ports.ingest import Indexed
from tests.support.flow import SCRIPTED, World, scripted, world

#: Counts a slow look-up at each stage, and shows the count.
PROBE = """
"Counts."
from inbox.dns.lookups import current
from inbox.plugin import AddHeader, Plugin, PluginSettings, hookimpl

class Settings(PluginSettings):
    pass

class Probe(Plugin):
    def __init__(self, settings, services):
        pass

    def _count(self):
        current().slow += 1

    @hookimpl
    def mail(self, tx):
        self._count()

    @hookimpl
    def rcpt(self, tx, recipient):
        self._count()

    @hookimpl
    def data(self, tx):
        self._count()
        return AddHeader("X-Slow", f"{current().slow} {current().network}")
"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


async def test_an_accepted_message_is_filed_with_its_trace(here: World) -> None:
    (reply,) = await here.receive(["ann@acme.test"], b"Subject: hello\r\n\r\nbody\r\n")
    assert (reply.code, reply.enhanced) == (250, "2.0.0")
    (stored,) = await here.mailbox("ann@acme.test")
    text = (await here.bytes_of(stored)).decode()
    assert text.startswith(
        "Delivered-To: ann@acme.test\r\nReturn-Path: <peer@elsewhere.test>\r\nReceived: from mx.elsewhere"
    )
    assert "([192.0.2.7])" in text
    assert "for <ann@acme.test>;" in text
    assert text.endswith("\r\nSubject: hello\r\n\r\nbody\r\n")
    (decision,) = await here.decisions()
    assert decision.outcome == "accept"
    assert decision.tenant == "acme"
    assert decision.id in reply.text


async def test_slow_look_ups_count_for_one_transaction_and_the_network_of_its_peer(here: World) -> None:
    await here.plugin("probe", PROBE)
    await here.policy("default.yaml", "plugins: {recipients: {}, probe: {}}\n")
    session = Session("s1", Door.SMTP, ip_address("192.0.2.7"))
    for _ in range(2):
        reply, tx = await here.parts.pipeline.mail(session, None, {})
        assert tx is not None
        await here.parts.pipeline.rcpt(tx, Address.parse("ann@acme.test"), frozenset(), None)
        (reply,) = await here.parts.pipeline.data(tx, MemoryContent(b"Subject: x\r\n\r\n"))
        assert reply.code == 250
    for stored in await here.mailbox("ann@acme.test"):
        assert b"X-Slow: 3 192.0.2.0/24\r\n" in await here.bytes_of(stored)


async def test_two_recipients_never_see_each_other(here: World) -> None:
    await here.receive(["ann@acme.test", "bob@acme.test"])
    (for_ann,) = await here.mailbox("ann@acme.test")
    (for_bob,) = await here.mailbox("bob@acme.test")
    assert for_ann.email.id == for_bob.email.id, "one mail, two deliveries"
    assert b"bob@acme.test" not in await here.bytes_of(for_ann)
    assert b"ann@acme.test" not in await here.bytes_of(for_bob)


async def test_two_tenants_never_see_each_other(here: World) -> None:
    await scripted(here, "acme", data="AddHeader('X-Count', ' '.join(str(r.address) for r in tx.recipients))")
    await here.receive(["ann@acme.test", "eve@umbra.test"])
    (for_ann,) = await here.mailbox("ann@acme.test")
    (for_eve,) = await here.mailbox("eve@umbra.test")
    assert b"umbra" not in await here.bytes_of(for_ann)
    assert b"X-Count" not in await here.bytes_of(for_eve)
    assert b"acme" not in await here.bytes_of(for_eve)
    for tenant, other in (("acme", "umbra"), ("umbra", "acme")):
        (decision,) = await here.decisions(tenant)
        assert other not in str(decision)


async def test_all_tenants_refuse_and_so_do_we(here: World) -> None:
    for tenant in ("acme", "umbra"):
        await scripted(here, tenant, data="Reject(550, '5.7.1', 'No thanks')")
    (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"])
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert reply.text.startswith("No thanks (id ")
    assert await here.mailbox("ann@acme.test") == []
    assert {decision.outcome for decision in await here.decisions()} == {"reject"}


async def test_one_tenant_refuses_and_its_copy_is_quarantined(here: World) -> None:
    await scripted(here, "umbra", data="Reject(550, '5.7.1', 'No thanks')")
    (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"])
    assert reply.code == 250
    assert len(await here.mailbox("ann@acme.test")) == 1
    assert await here.mailbox("eve@umbra.test") == []
    (kept,) = await here.quarantine("umbra")
    assert kept.recipient == "eve@umbra.test"
    assert kept.reason == "550 5.7.1 No thanks"
    (decision,) = await here.decisions("umbra")
    assert decision.outcome == "quarantine"


async def test_a_deferral_by_one_of_several_refusing_tenants_defers(here: World) -> None:
    await scripted(here, "acme", data="Reject(550, '5.7.1', 'No thanks')")
    await scripted(here, "umbra", data="Defer(451, '4.7.1', 'Later')")
    (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"])
    assert reply.code == 451


async def test_lmtp_answers_for_each_recipient(here: World) -> None:
    await scripted(here, "umbra", data="Reject(550, '5.7.1', 'No thanks')")
    replies = await here.receive(["ann@acme.test", "eve@umbra.test", "bob@acme.test"], door=Door.LMTP)
    assert [reply.code for reply in replies] == [250, 550, 250]
    assert await here.quarantine("umbra") == []
    (decision,) = await here.decisions("umbra")
    assert (decision.outcome, decision.code) == ("reject", 550)


async def test_the_server_may_ask_for_one_tenant_at_a_time(here: World) -> None:
    await here.policy("default.yaml", "plugins:\n  recipients: {}\nserver: {multi_tenant: defer}\n")
    session_replies = await here.receive(["ann@acme.test", "eve@umbra.test"])
    assert session_replies[0].code == 250
    assert len(await here.mailbox("ann@acme.test")) == 1
    assert await here.mailbox("eve@umbra.test") == []
    refused = next(decision for decision in await here.decisions() if decision.code == 452)
    assert (refused.enhanced, refused.stage) == ("4.5.3", "rcpt")


@pytest.mark.parametrize(
    ("verdict", "code", "inbox", "quarantined"),
    [
        ("Accept()", 250, 1, 0),
        ("Discard('unwanted')", 250, 0, 0),
        ("Quarantine('looks bad')", 250, 0, 1),
        ("Defer(450, '4.7.1', 'later')", 450, 0, 0),
        ("Reject(554, '5.7.1', 'never')", 554, 0, 0),
        ("raise_error()", 451, 0, 0),
    ],
)
async def test_every_verdict_at_data(here: World, verdict: str, code: int, inbox: int, quarantined: int) -> None:
    await scripted(here, "acme", data=verdict)
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == code
    assert len(await here.mailbox("ann@acme.test")) == inbox
    assert len(await here.quarantine("acme")) == quarantined
    assert len(await here.decisions()) == 1


@pytest.mark.parametrize("stage", ["connect", "mail"])
async def test_refusals_before_a_tenant_is_known_are_recorded(here: World, stage: str) -> None:
    await here.policy(
        "default.yaml", f"plugins:\n  recipients: {{}}\n  scripted: {{{stage}: \"Reject(550, '5.7.1', 'no')\"}}\n"
    )
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == 550
    (decision,) = await here.decisions()
    assert decision.stage == stage
    assert decision.id in reply.text
    assert decision.tenant == ""


async def test_unknown_and_foreign_recipients(here: World) -> None:
    (reply,) = await here.receive(["nobody@acme.test"])
    assert (reply.code, reply.enhanced) == (550, "5.1.1")
    (reply,) = await here.receive(["ann@elsewhere.test"])
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert {decision.stage for decision in await here.decisions()} == {"rcpt"}


async def test_without_a_plugin_that_resolves_mail_is_deferred(here: World) -> None:
    await here.policy("default.yaml", "plugins: {}\n")
    (reply,) = await here.receive(["ann@acme.test"])
    assert (reply.code, reply.enhanced) == (451, "4.3.5")


async def test_aliases_plus_addresses_and_one_copy_for_an_account_reached_twice(here: World) -> None:
    database = here.installation.database
    tenant = await here.tenant("acme")
    await database.accounts.add_alias(tenant, "office@acme.test", "ann@acme.test")
    await database.accounts.add_alias(tenant, "office@acme.test", "bob@acme.test")
    (reply,) = await here.receive(["office@acme.test", "ann+news@acme.test"])
    assert reply.code == 250
    assert len(await here.mailbox("ann@acme.test")) == 1
    assert len(await here.mailbox("bob@acme.test")) == 1


async def test_redirects_stay_within_the_tenant(here: World) -> None:
    await scripted(here, "acme", rcpt="Redirect('bob@acme.test')")
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == 250
    assert len(await here.mailbox("bob@acme.test")) == 1
    assert await here.mailbox("ann@acme.test") == []
    await scripted(here, "acme", rcpt="Redirect('eve@umbra.test')")
    (reply,) = await here.receive(["ann@acme.test"])
    assert (reply.code, reply.enhanced) == (451, "4.3.5")
    assert await here.mailbox("eve@umbra.test") == []


async def test_added_recipients_are_of_the_tenant_or_the_message_waits(here: World) -> None:
    await scripted(here, "acme", data="[AddRecipient('bob@acme.test'), DropRecipient('ann@acme.test')]")
    assert (await here.receive(["ann@acme.test"]))[0].code == 250
    assert len(await here.mailbox("bob@acme.test")) == 1
    assert await here.mailbox("ann@acme.test") == []
    await scripted(here, "acme", data="AddRecipient('eve@umbra.test')")
    assert (await here.receive(["ann@acme.test"]))[0].code == 451
    assert await here.mailbox("eve@umbra.test") == []


async def test_header_edits_change_what_they_name_and_nothing_else(here: World) -> None:
    await scripted(
        here,
        "acme",
        data="[AddHeader('X-One', '1'), ChangeHeader('Subject', 'new'), DeleteHeader('X-Old'), ReplaceBody(b'other')]",
    )
    await here.receive(["ann@acme.test"], b"X-Old: a\r\nSubject: old\r\nTo:  odd   spacing\r\n\r\nbody\r\n")
    (stored,) = await here.mailbox("ann@acme.test")
    assert (await here.bytes_of(stored)).endswith(b"X-One: 1\r\nSubject: new\r\nTo:  odd   spacing\r\n\r\nother")
    assert stored.email.subject == "new"
    assert stored.size == len(await here.bytes_of(stored))


async def test_a_header_that_cannot_be_defers_and_loses_nothing(here: World) -> None:
    await scripted(here, "acme", data="AddHeader('X-One', 'a\\r\\nInjected: yes')")
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == 451
    assert await here.mailbox("ann@acme.test") == []


async def test_store_hooks_file_flag_and_transform_one_copy(here: World) -> None:
    await scripted(
        here,
        "acme",
        store="[FileInto('Lists/python'), AddFlags(('\\\\Seen', 'urgent')), Transform(b'Subject: sealed\\r\\n\\r\\n?')]"
        " if delivery.account == 'ann@acme.test' else None",
    )
    await here.receive(["ann@acme.test", "bob@acme.test"])
    (sealed,) = await here.mailbox("ann@acme.test", "Lists/python")
    assert (sealed.entry.flags, sealed.entry.keywords) == (1, ("urgent",))
    assert (await here.bytes_of(sealed)).endswith(b"Subject: sealed\r\n\r\n?")
    (plain,) = await here.mailbox("bob@acme.test")
    assert (await here.bytes_of(plain)).endswith(b"Subject: hello\r\n\r\nbody\r\n")


async def test_a_copy_that_store_refuses(here: World) -> None:
    await scripted(here, "acme", store="Reject(552, '5.2.2', 'full') if 'ann' in delivery.account else None")
    (reply,) = await here.receive(["ann@acme.test"])
    assert (reply.code, reply.enhanced) == (552, "5.2.2")
    (reply,) = await here.receive(["ann@acme.test", "bob@acme.test"])
    assert reply.code == 250
    assert len(await here.mailbox("bob@acme.test")) == 1
    (kept,) = await here.quarantine("acme")
    assert kept.reason == "552 5.2.2 full"


async def test_scores_and_thresholds(here: World) -> None:
    await here.policy(
        "tenants/acme.yaml",
        "plugins:\n  scripted: {data: \"[Score('A', 3), Score('B', 2.5)]\"}\nthresholds: {junk: 5, quarantine: 9}\n",
    )
    assert (await here.receive(["ann@acme.test"]))[0].code == 250
    assert await here.mailbox("ann@acme.test") == []
    assert len(await here.mailbox("ann@acme.test", "Junk")) == 1
    (decision,) = await here.decisions("acme")
    assert decision.total == 5.5
    assert decision.symbols == {"A": 3.0, "B": 2.5}


async def test_a_message_in_a_loop_is_refused(here: World) -> None:
    (reply,) = await here.receive(["ann@acme.test"], b"Received: x\r\n" * 101 + b"\r\n")
    assert (reply.code, reply.enhanced) == (554, "5.4.6")
    assert (await here.receive(["ann@acme.test"], b"Received: x\r\n" * 100 + b"\r\n"))[0].code == 250


async def test_a_message_that_comes_again_is_there_once(here: World) -> None:
    message = b"Message-ID: <1@elsewhere.test>\r\nSubject: hello\r\n\r\nbody\r\n"
    for _ in range(2):
        assert (await here.receive(["ann@acme.test"], message))[0].code == 250
    assert len(await here.mailbox("ann@acme.test")) == 1
    nameless = b"Subject: hello\r\n\r\nbody\r\n"
    for _ in range(2):
        await here.receive(["ann@acme.test"], nameless)
    assert len(await here.mailbox("ann@acme.test")) == 3


@pytest.mark.parametrize(("error", "code"), [(StorageFull("full"), 452), (StoreUnavailable("gone"), 451)])
async def test_a_store_that_fails_defers(
    here: World, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    async def failing(_indexed: Indexed) -> None:
        raise error

    monkeypatch.setattr(here.installation.database.writer, "write", failing)
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == code
    monkeypatch.undo()
    assert (await here.receive(["ann@acme.test"]))[0].code == 250
    assert len(await here.mailbox("ann@acme.test")) == 1


async def test_a_quarantine_that_cannot_be_reached_defers(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await scripted(here, "acme", data="Reject()")

    async def gone(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(here.installation.database.mailboxes, "create", gone)
    (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"])
    assert (reply.code, reply.enhanced) == (451, "4.3.0")
    assert await here.mailbox("eve@umbra.test") == []


async def test_a_database_that_is_gone_at_rcpt_is_no_unknown_user(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(_fqdn: str) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(here.installation.database.tenants, "domain", failing)
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == 451


async def test_the_null_sender_and_an_internationalised_one(here: World) -> None:
    assert (await here.receive(["ann@acme.test"], sender=None))[0].code == 250
    (stored,) = await here.mailbox("ann@acme.test")
    assert b"Return-Path: <>\r\n" in await here.bytes_of(stored)
    await here.receive(["bob@acme.test"], sender="jürgen@elsewhere.test", params={"SMTPUTF8": ""})
    (stored,) = await here.mailbox("bob@acme.test")
    text = (await here.bytes_of(stored)).decode()
    assert "Return-Path: <jürgen@elsewhere.test>" in text
    assert "with UTF8SMTP" in text


async def test_the_log_has_a_line_with_the_id_of_each_refusal(here: World) -> None:
    await scripted(here, "acme", data="Defer(451, '4.7.1', 'Later')")
    with capture_logs() as lines:
        (reply,) = await here.receive(["ann@acme.test"])
    (line,) = [line for line in lines if line["event"] == "refused"]
    assert line["id"] in reply.text
    assert line["reply"] == "451 4.7.1 Later"
    assert (line["outcome"], line["stage"], line["to"]) == ("defer", "data", ("ann@acme.test",))
    assert line["tenant"] == "acme"
    with capture_logs() as lines:
        (reply,) = await here.receive(["nobody@acme.test"])
    (line,) = [line for line in lines if line["event"] == "refused"]
    assert line["id"] in reply.text
    assert (line["outcome"], line["stage"], line["to"]) == ("reject", "rcpt", ("nobody@acme.test",))
    assert line["tenant"] == "acme"


async def test_the_log_names_the_recipients_of_an_accepted_message(here: World) -> None:
    with capture_logs() as lines:
        (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"])
    (line,) = [line for line in lines if line["event"] == "accepted"]
    assert line["id"] in reply.text
    assert (line["to"], line["tenant"]) == (("ann@acme.test", "eve@umbra.test"), "acme/umbra")
    assert "recipients" not in line
    many = [f"ann+{number}@acme.test" for number in range(20)]
    with capture_logs() as lines:
        await here.receive(many)
    (line,) = [line for line in lines if line["event"] == "accepted"]
    assert (line["to"], line["recipients"], line["tenant"]) == (tuple(many[:5]), 20, "acme")


async def test_over_lmtp_the_log_has_a_line_for_each_recipient_that_is_refused(here: World) -> None:
    await scripted(here, "umbra", data="Reject(550, '5.7.1', 'No thanks')")
    with capture_logs() as lines:
        await here.receive(["ann@acme.test", "eve@umbra.test"], door=Door.LMTP)
    assert [(line["event"], line["outcome"]) for line in lines if line["event"] in {"accepted", "refused"}] == [
        ("accepted", "accept/reject"),
        ("refused", "reject"),
    ]
    assert [(line["to"], line["tenant"]) for line in lines if line["event"] in {"accepted", "refused"}] == [
        (("ann@acme.test",), "acme"),
        (("eve@umbra.test",), "umbra"),
    ]
    with capture_logs() as lines:
        await here.receive(["eve@umbra.test"], door=Door.LMTP)
    assert [line["event"] for line in lines if line["event"] in {"accepted", "refused"}] == ["refused"]


@pytest.mark.parametrize("address", ["postmaster@acme.test", "PostMaster@ACME.test", "postmaster@mx.test"])
async def test_postmaster_is_always_reached(here: World, address: str) -> None:
    """Of each hosted domain, and the server's own: acme is the oldest tenant, ann its oldest account."""
    (reply,) = await here.receive([address])
    assert reply.code == 250
    (stored,) = await here.mailbox("ann@acme.test")
    assert stored.prepended.lower().startswith(f"delivered-to: {address}\r\n".lower().encode())
    database = here.installation.database
    await database.accounts.add_alias(await here.tenant("acme"), "postmaster@acme.test", "bob@acme.test")
    (reply,) = await here.receive([address], b"Subject: another\r\n\r\n")
    assert reply.code == 250
    assert len(await here.mailbox("bob@acme.test")) == 1


async def test_the_operator_names_the_servers_own_postmaster(here: World) -> None:
    await here.policy("default.yaml", "plugins: {recipients: {}}\nserver: {postmaster: Ann@ACME.test}\n")
    (reply,) = await here.receive(["Postmaster@mx.test"])
    assert reply.code == 250
    (stored,) = await here.mailbox("ann@acme.test")
    assert stored.prepended.startswith(b"Delivered-To: Postmaster@mx.test\r\n")
    for other in ("postmaster@elsewhere.test", "abuse@mx.test"):
        (reply,) = await here.receive([other])
        assert reply.code == 550
    await here.policy("default.yaml", "plugins: {recipients: {}}\nserver: {postmaster: ann@elsewhere.test}\n")
    (reply,) = await here.receive(["postmaster@mx.test"])
    assert reply.code == 550
