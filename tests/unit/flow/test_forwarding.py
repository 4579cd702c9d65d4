"""Forwarding: aliases with targets elsewhere, redirections, bounces of forwarded mail, shared inboxes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.authentication.arc.validate import validate
from inbox.base.errors import StoreUnavailable
from inbox.flow.outbound.srs import Srs
from inbox.flow.recipients import MISCONFIGURED, NOT_FORWARDED, UNKNOWN
from inbox.flow.replies import TROUBLE
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import Result
from inbox.plugin.api.standins import MemoryResolver
from inbox.store.ports import DkimKeyRecord
from inbox.store.ports.queue import QueuedJob
from tests.support.arc import record
from tests.support.flow import SCRIPTED, World, world
from tests.support.rsa_keys import rsa_key

OUTSIDE = "ann@far.test"
ALLOWED = "plugins:\n  recipients: {forward_outside: true}\n"
MESSAGE = b"From: Peer <peer@elsewhere.test>\r\nSubject: hello\r\n\r\nbody\r\n"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.policy("tenants/acme.yaml", ALLOWED)
        acme = await made.tenant("acme")
        await made.installation.database.accounts.add_forward(acme, "away@acme.test", OUTSIDE)
        yield made


async def jobs(here: World) -> list[QueuedJob]:
    return list(await here.installation.database.queue.jobs(await here.tenant("acme")))


async def sender_of(here: World) -> str:
    (queued,) = await jobs(here)
    return queued.job.sender


async def text_of(here: World) -> bytes:
    """The message of the only job, as it leaves."""
    (queued,) = await jobs(here)
    (key,) = [one async for one, _ in here.installation.blobs.keys("msg/") if one.endswith(f"/{queued.email}.eml")]
    content = await here.installation.blobs.get(key)
    return queued.job.prepended + content.read(0, content.size)


async def srs(here: World) -> Srs:
    return Srs(await here.installation.database.installation.secret("srs"), here.installation.clock.now)


# -- aliases


async def test_an_alias_to_elsewhere_is_queued_with_a_sender_of_ours(here: World) -> None:
    (reply,) = await here.receive(["away@acme.test"], MESSAGE)
    assert reply.code == 250
    (queued,) = await jobs(here)
    assert queued.job.domain == "far.test"
    sender = Address.parse(queued.job.sender)
    assert sender.domain == "acme.test"
    assert (await srs(here)).original(sender) == Address.parse("peer@elsewhere.test")
    text = await text_of(here)
    assert text.startswith(b"Delivered-To: away@acme.test\r\nReceived: from mx.elsewhere.test")
    assert text.endswith(MESSAGE)
    assert b"Return-Path" not in text
    assert "far.test" in str((await here.decisions("acme"))[0])


async def test_an_alias_of_both_kinds(here: World) -> None:
    acme = await here.tenant("acme")
    await here.installation.database.accounts.add_alias(acme, "away@acme.test", "bob@acme.test")
    (reply,) = await here.receive(["away+x@acme.test"], MESSAGE)
    assert reply.code == 250
    assert len(await jobs(here)) == 1
    assert len(await here.mailbox("bob@acme.test")) == 1


async def test_a_catch_all_to_elsewhere(here: World) -> None:
    acme = await here.tenant("acme")
    await here.installation.database.accounts.add_forward(acme, "@acme.test", "all@far.test")
    await here.receive(["nobody@acme.test"], MESSAGE)
    await here.receive(["ann@acme.test"], MESSAGE)
    assert len(await jobs(here)) == 1
    assert len(await here.mailbox("ann@acme.test")) == 1


async def test_one_copy_for_one_target(here: World) -> None:
    acme = await here.tenant("acme")
    await here.installation.database.accounts.add_forward(acme, "gone@acme.test", OUTSIDE)
    (reply,) = await here.receive(["away@acme.test", "gone@acme.test"], MESSAGE)
    assert reply.code == 250
    assert len(await jobs(here)) == 1


async def test_the_null_sender_stays(here: World) -> None:
    await here.receive(["away@acme.test"], MESSAGE, sender=None)
    assert await sender_of(here) == ""


async def test_a_sender_of_the_same_tenant_stays(here: World) -> None:
    await here.receive(["away@acme.test"], MESSAGE, sender="bob@acme.test")
    assert await sender_of(here) == "bob@acme.test"


async def test_a_sender_of_another_tenant_is_rewritten(here: World) -> None:
    await here.receive(["away@acme.test"], MESSAGE, sender="eve@umbra.test")
    assert (await sender_of(here)).startswith("SRS0=")


async def test_a_sender_that_another_forwarder_rewrote(here: World) -> None:
    await here.receive(["away@acme.test"], MESSAGE, sender="SRS0=abcd=aa=example.org=ann@first.test")
    assert (await sender_of(here)).startswith("SRS1=")


# -- the setting


async def test_forwarding_is_off_by_default(here: World) -> None:
    await here.policy("tenants/acme.yaml", "{}\n")
    acme = await here.tenant("acme")
    (reply,) = await here.receive(["away@acme.test"], MESSAGE)
    assert (reply.code, reply.enhanced) == (NOT_FORWARDED.code, NOT_FORWARDED.enhanced)
    await here.installation.database.accounts.add_alias(acme, "away@acme.test", "bob@acme.test")
    here.parts.directory.forget()
    (reply,) = await here.receive(["away@acme.test"], MESSAGE)
    assert reply.code == 250
    assert await jobs(here) == []
    assert len(await here.mailbox("bob@acme.test")) == 1


@pytest.mark.parametrize("stage", ["rcpt", "data"])
@pytest.mark.parametrize("allowed", [True, False])
async def test_a_redirection_to_elsewhere(here: World, stage: str, allowed: bool) -> None:
    await here.plugin("scripted", SCRIPTED)
    answer = f"  scripted: {{{stage}: \"Redirect('x@far.test')\"}}\n"
    await here.policy("tenants/acme.yaml", (ALLOWED if allowed else "plugins:\n") + answer)
    (reply,) = await here.receive(["ann@acme.test"], MESSAGE)
    if allowed:
        assert reply.code == 250
        assert (await sender_of(here)).startswith("SRS0=")
    else:
        assert (reply.code, reply.enhanced) == (MISCONFIGURED.code, MISCONFIGURED.enhanced)
        assert await jobs(here) == []
    assert await here.mailbox("ann@acme.test") == []


@pytest.mark.parametrize("to", ["eve@umbra.test", "x@mx.test"])
async def test_a_redirection_to_another_tenant_or_to_ourselves(here: World, to: str) -> None:
    await here.plugin("scripted", SCRIPTED)
    await here.policy("tenants/acme.yaml", ALLOWED + f"  scripted: {{data: \"Redirect('{to}')\"}}\n")
    (reply,) = await here.receive(["ann@acme.test"], MESSAGE)
    assert (reply.code, reply.enhanced) == (MISCONFIGURED.code, MISCONFIGURED.enhanced)
    assert await jobs(here) == []


async def test_quarantined_mail_is_not_forwarded(here: World) -> None:
    await here.plugin("scripted", SCRIPTED)
    await here.policy("tenants/acme.yaml", ALLOWED + "  scripted: {data: \"Quarantine('spam')\"}\n")
    (reply,) = await here.receive(["away@acme.test"], MESSAGE)
    assert reply.code == 250
    assert await jobs(here) == []
    assert len(await here.quarantine("acme")) == 1


# -- loops


async def test_a_message_that_was_here_before_is_in_a_loop(here: World) -> None:
    (reply,) = await here.receive(["away@acme.test"], b"Delivered-To: Away@ACME.test\r\n" + MESSAGE)
    assert (reply.code, reply.enhanced) == (550, "5.4.6")
    assert await jobs(here) == []
    (reply,) = await here.receive(["away@acme.test"], b"Delivered-To: other@acme.test\r\n" + MESSAGE)
    assert reply.code == 250


async def test_in_a_loop_the_mailbox_still_gets_its_copy(here: World) -> None:
    acme = await here.tenant("acme")
    await here.installation.database.accounts.add_alias(acme, "away@acme.test", "bob@acme.test")
    (reply,) = await here.receive(["away@acme.test"], b"Delivered-To: away@acme.test\r\n" + MESSAGE)
    assert reply.code == 250
    assert await jobs(here) == []
    assert len(await here.mailbox("bob@acme.test")) == 1


# -- bounces of forwarded mail


async def test_a_bounce_goes_back_to_the_original_sender(here: World) -> None:
    rewritten = (await srs(here)).rewritten(Address.parse("peer@elsewhere.test"), "acme.test")
    (reply,) = await here.receive([str(rewritten)], MESSAGE, sender=None)
    assert reply.code == 250
    (queued,) = await jobs(here)
    assert (queued.job.sender, queued.job.domain) == ("", "elsewhere.test")


async def test_a_bounce_to_a_sender_of_the_same_tenant(here: World) -> None:
    rewritten = (await srs(here)).rewritten(Address.parse("bob@acme.test"), "acme.test")
    (reply,) = await here.receive([str(rewritten).lower()], MESSAGE, sender=None)
    assert reply.code == 250
    assert len(await here.mailbox("bob@acme.test")) == 1


async def test_only_bounces_to_our_rewritten_addresses_are_admitted(here: World) -> None:
    rewriting = await srs(here)
    foreign = rewriting.rewritten(Address.parse("peer@elsewhere.test"), "acme.test")
    other = rewriting.rewritten(Address.parse("eve@umbra.test"), "acme.test")
    forged = Srs(b"another key", here.installation.clock.now).rewritten(Address.parse("x@victim.test"), "acme.test")
    old = Srs(
        await here.installation.database.installation.secret("srs"),
        lambda: here.installation.clock.now() - 30 * 86_400,
    ).rewritten(Address.parse("peer@elsewhere.test"), "acme.test")
    for address, sender in ((foreign, "peer@elsewhere.test"), (forged, None), (old, None), (other, None)):
        (reply,) = await here.receive([str(address)], MESSAGE, sender=sender)
        assert (reply.code, reply.enhanced) == (UNKNOWN.code, UNKNOWN.enhanced), address
    assert await jobs(here) == []
    assert await here.mailbox("eve@umbra.test") == []


# -- ARC


async def add_key(here: World) -> None:
    der = rsa_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    made = DkimKeyRecord(
        await here.tenant("acme"), "acme.test", "arc", "rsa", base64.b64encode(der).decode(), "active", 1.0, 1.0
    )
    await here.installation.database.dkim_keys.add(made)


async def test_a_forwarded_message_is_sealed_last(here: World) -> None:
    await add_key(here)
    policy = ALLOWED + "  arc: {}\n  authentication_results: {}\n"
    await here.policy("tenants/acme.yaml", policy)
    forged = b"Authentication-Results: mx.test; dmarc=pass\r\n"
    (reply,) = await here.receive(["away@acme.test"], forged + MESSAGE)
    assert reply.code == 250
    text = await text_of(here)
    dns = MemoryResolver()
    dns.txt_records["arc._domainkey.acme.test"] = [record(rsa_key())]
    fact = await validate(MemoryContent(text), dns, now=here.installation.clock.now())
    assert fact.result is Result.PASS
    assert [one.domain for one in fact.sets] == ["acme.test"]
    assert text.index(b"ARC-Seal:") < text.index(b"Authentication-Results: mx.test;")
    assert b"dmarc=pass" not in text


async def test_a_forged_result_is_not_sealed(here: World) -> None:
    await add_key(here)
    forged = b"Authentication-Results: mx.test; dmarc=pass\r\n"
    await here.receive(["away@acme.test"], forged + MESSAGE)
    text = await text_of(here)
    sealed = text[text.index(b"ARC-Authentication-Results:") :]
    assert sealed.startswith(b"ARC-Authentication-Results: i=1; mx.test; none\r\n")


async def test_without_a_key_there_is_no_seal(here: World) -> None:
    await here.receive(["away@acme.test"], MESSAGE)
    assert b"ARC-" not in await text_of(here)


async def test_keys_that_cannot_be_read_defer(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr("inbox.hosting.keys.sealing.ArcSealing.seal", down)
    (reply,) = await here.receive(["away@acme.test"], MESSAGE)
    assert (reply.code, reply.enhanced) == (TROUBLE.code, TROUBLE.enhanced)
    assert await jobs(here) == []


# -- shared inboxes


async def test_mail_to_a_shared_inbox_is_in_its_mailbox(here: World) -> None:
    acme, database = await here.tenant("acme"), here.installation.database
    made = await database.shared_inboxes.add(acme, "support@acme.test", "Support")
    await database.accounts.add_alias(acme, "help@acme.test", "support@acme.test")
    for address in ("support@acme.test", "support+x@acme.test", "help@acme.test"):
        (reply,) = await here.receive([address], b"Message-ID: <" + address.encode() + b">\r\n" + MESSAGE)
        assert reply.code == 250
    stored = await here.mailbox("support@acme.test")
    assert len(stored) == 3
    assert len(await database.messages.entries(acme, made.mailbox)) == 3
