"""Late bounces and complaints about sent messages, through the real flow and a real database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.flow.outbound.return_path import ReturnPaths
from inbox.flow.outbound.senders import Senders
from inbox.flow.recipients import UNKNOWN
from inbox.mail.content import MemoryContent
from inbox.mail.dsn.build import Dsn, DsnRecipient, build
from inbox.mail.tenancy import DomainOverrides
from inbox.plugin.testing import FakeClock
from inbox.store.ports.queue import DeliveryRecord, Finished, QueuedJob, RecipientState
from tests.support.flow import SCRIPTED, World, world
from tests.support.jobs import deliver

POLICY = """
plugins:
  recipients: {}
  bounce_rules: {}
  suppression: {}
outbound: {return_path: {signed: true, feedback: [abuse@acme.test]}}
"""
DROPS = POLICY.replace("signed: true", "signed: true, forward: false")
COMPLAINT = """From: feedback <fbl@far.test>
To: <abuse@acme.test>
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is an email abuse report for an email message received from 192.0.2.1
--b
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: FarGenerator/1.0
Version: 1
Original-Mail-From: <{mail_from}>
Original-Rcpt-To: <{to}>
Reporting-MTA: dns; mx.far.test

--b
Content-Type: message/rfc822

Return-Path: <{return_path}>
From: ann@acme.test
Subject: hello

body
--b--
"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.policy("tenants/acme.yaml", POLICY)
        yield made


async def sent(here: World, *to: str, delivered: bool = True) -> str:
    """Sends a message; returns the envelope sender under which it left."""
    await here.submit(list(to or ("bob@far.test",)))
    (queued,) = await here.jobs()
    if delivered:
        (leased,) = await here.installation.database.queue.lease("w", 10, 60.0)
        assert await deliver(here.installation.database.queue, leased)
    return await left_as(here, queued)


async def left_as(here: World, queued: QueuedJob) -> str:
    senders = Senders(here.parts.directory, here.parts.judge, here.parts.return_paths)
    return (await senders.sender(queued)).reverse_path


async def record(here: World) -> DeliveryRecord:
    database = here.installation.database
    (decision, *_) = [one for one in await here.decisions("acme") if one.door == "submission"]
    (found,) = await database.queue.of_transaction(await here.tenant("acme"), decision.id)
    assert isinstance(found, DeliveryRecord)
    return found


def bounce(*people: DsnRecipient) -> bytes:
    people = people or (DsnRecipient("bob@far.test", "5.1.1", 550, "no such user", host="mx2.far.test"),)
    original = MemoryContent(b"From: ann@acme.test\r\nSubject: hello\r\n\r\nbody\r\n")
    return build(Dsn("failed", "x@acme.test", "mx.far.test", "1@far.test", time.time(), 1.0, people, original))


def complaint(
    return_path: str = "redacted@far.test", *, kind: str = "abuse", mail_from: str = "", to: str = "redacted"
) -> bytes:
    text = COMPLAINT.format(kind=kind, return_path=return_path, mail_from=mail_from or return_path, to=to)
    return text.replace("\n", "\r\n").encode()


async def suppressed(here: World) -> list[tuple[str, str, str]]:
    found = await here.installation.database.suppressions.all(await here.tenant("acme"))
    return [(one.target, one.source, one.reason) for one in found]


# -- the address


async def test_mail_leaves_from_a_signed_address_of_the_senders_domain(here: World) -> None:
    address = await sent(here)
    assert address.startswith("bounce+")
    assert address.endswith("@acme.test")


@pytest.mark.parametrize(("domain", "used"), [("bounces.acme.test", "bounces.acme.test"), ("umbra.test", "acme.test")])
async def test_the_domain_of_the_address_must_be_the_tenants(here: World, domain: str, used: str) -> None:
    tenants = here.installation.database.tenants
    await tenants.add_domain(await here.tenant("acme"), "bounces.acme.test", DomainOverrides())
    await here.policy("tenants/acme.yaml", POLICY.replace("signed: true", f"signed: true, domain: {domain}"))
    address = await sent(here)
    assert address.endswith(f"@{used}")
    assert (await here.receive([address], bounce(), sender=None))[0].code == 250
    assert (await record(here)).states[0].status == "failed"


async def test_without_the_setting_the_sender_stays(here: World) -> None:
    await here.policy("tenants/acme.yaml", "plugins:\n  recipients: {}\n")
    assert await sent(here) == "ann@acme.test"


async def test_rewritten_and_null_senders_stay(here: World) -> None:
    await here.policy("tenants/acme.yaml", POLICY.replace("recipients: {}", "recipients: {forward_outside: true}"))
    acme = await here.tenant("acme")
    await here.installation.database.accounts.add_forward(acme, "away@acme.test", "ann@far.test")
    await here.receive(["away@acme.test"])
    await here.receive(["away@acme.test"], b"Subject: other\r\n\r\n", sender=None)
    senders = sorted([await left_as(here, job) for job in await here.jobs()])
    assert senders[0] == ""
    assert senders[1].startswith("SRS0=")


# -- bounces


async def test_a_late_bounce_is_recorded_suppresses_and_goes_to_the_sender(here: World) -> None:
    address = await sent(here)
    (reply,) = await here.receive([address], bounce(), sender=None)
    assert reply.code == 250
    found = await record(here)
    assert (found.states[0].status, found.states[0].category, found.states[0].enhanced) == (
        "failed", "address", "5.1.1",
    )  # fmt: skip
    assert [(one.stage, one.code, one.host) for one in found.history] == [("report", 550, "mx.far.test")]
    assert [(target, source) for target, source, _ in await suppressed(here)] == [("bob@far.test", "bounce")]
    (stored,) = await here.mailbox("ann@acme.test")
    assert b"no such user" in await here.bytes_of(stored)
    (decision, *_) = await here.decisions("acme")
    kinds = {(one.kind, one.recipient) for one in decision.destinations}
    assert kinds == {("report", address), ("mailbox", address)}


async def test_a_repeated_bounce_changes_nothing_more(here: World) -> None:
    address = await sent(here)
    for _ in range(2):
        await here.receive([address], bounce(), sender=None)
    assert len((await record(here)).history) == 1
    assert len(await suppressed(here)) == 1


async def test_a_bounce_is_only_recorded_where_the_policy_says_so(here: World) -> None:
    address = await sent(here)
    await here.policy("tenants/acme.yaml", DROPS)
    (reply,) = await here.receive([address], bounce(), sender=None)
    assert reply.code == 250
    assert await here.mailbox("ann@acme.test") == []
    assert (await record(here)).states[0].status == "failed"


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [("5.7.1", 550, "blocked"), ("5.2.2", 552, "mailbox full"), ("4.4.7", 0, "delivery time expired")],
)
async def test_only_a_missing_address_is_suppressed(here: World, status: str, code: int, text: str) -> None:
    address = await sent(here)
    await here.receive([address], bounce(DsnRecipient("bob@far.test", status, code, text)), sender=None)
    assert (await record(here)).states[0].status == "failed"
    assert await suppressed(here) == []


async def test_a_bounce_speaks_of_the_jobs_recipients_only(here: World) -> None:
    address = await sent(here, "bob@far.test", "eve@far.test")
    victim = DsnRecipient("victim@far.test", "5.1.1", 550, "no such user")
    eve = DsnRecipient("eve@far.test", "5.1.1", 550, "no such user")
    await here.receive([address], bounce(victim), sender=None)
    assert await suppressed(here) == []
    await here.receive([address], bounce(victim, eve), sender=None)
    assert [target for target, _, _ in await suppressed(here)] == ["eve@far.test"]
    assert [state.status for state in (await record(here)).states] == ["delivered", "failed"]


async def test_a_receiver_knows_the_only_recipient_under_another_name(here: World) -> None:
    address = await sent(here)
    inner = DsnRecipient("bob@inner.far.test", "5.1.1", 550, "no such user")
    await here.receive([address], bounce(inner), sender=None)
    assert [target for target, _, _ in await suppressed(here)] == ["bob@far.test"]


async def test_a_vacation_notice_is_delivered_and_no_failure(here: World) -> None:
    address = await sent(here)
    notice = b"From: bob@far.test\r\nSubject: out of office\r\nAuto-Submitted: auto-replied\r\n\r\nback on Monday\r\n"
    await here.receive([address], notice, sender=None)
    assert len(await here.mailbox("ann@acme.test")) == 1
    assert (await record(here)).history == ()


async def test_a_bounce_about_a_pending_recipient_is_a_record_only(here: World) -> None:
    address = await sent(here, delivered=False)
    await here.receive([address], bounce(), sender=None)
    (queued,) = await here.jobs()
    assert (queued.states[0].status, [one.stage for one in queued.history]) == ("pending", ["report"])
    assert await suppressed(here) == []


async def test_a_bounce_about_a_failed_job(here: World) -> None:
    address = await sent(here, "bob@far.test", "eve@far.test", delivered=False)
    queue = here.installation.database.queue
    (leased,) = await queue.lease("w", 10, 60.0)
    states = (RecipientState("delivered", 250, reported=True), RecipientState("failed", 550, "5.7.1", reported=True))
    await queue.finish([Finished(leased, states, error="no")])
    await here.receive([address], bounce(), sender=None)
    (dead,) = await here.jobs()
    assert [state.enhanced for state in dead.states] == ["5.1.1", "5.7.1"]


# -- what is refused


async def test_a_forged_or_expired_address_is_an_unknown_recipient(here: World) -> None:
    address = await sent(here)
    forged = ReturnPaths(b"another", here.installation.clock.now)
    record_of = await record(here)
    (queued,) = [one for one in [await _again(here, record_of)] if one]
    other = forged.address(queued.job, await here.tenant("acme"), "acme.test", 14)
    old = ReturnPaths(await here.installation.database.installation.secret("return-path"), FakeClock(0.0).now)
    expired = old.address(queued.job, await here.tenant("acme"), "acme.test", -400)
    assert other is not None
    assert expired is not None
    for text in (other, expired, f"bounce+x@{address.partition('@')[2]}"):
        assert (await here.receive([text], bounce(), sender=None))[0].text.startswith(UNKNOWN.text)
    assert await suppressed(here) == []


async def _again(here: World, found: DeliveryRecord) -> QueuedJob | None:
    from inbox.flow.outbound.late_reports import _as_queued
    from inbox.flow.outbound.return_path import Signed

    return _as_queued(found, Signed(found.job_id, "transactional"))


async def test_the_address_of_a_tenant_is_not_valid_at_another_one(here: World) -> None:
    address = await sent(here)
    (reply,) = await here.receive([address.replace("acme.test", "umbra.test")], bounce(), sender=None)
    assert reply.code == 550
    assert await suppressed(here) == []


async def test_a_job_that_is_no_longer_known_makes_the_address_unknown(here: World) -> None:
    address = await sent(here)
    assert await here.installation.database.queue.prune(0.0, time.time() + 60) == 1
    assert (await here.receive([address], bounce(), sender=None))[0].code == 550


async def test_what_cannot_be_stored_is_sent_again(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await sent(here)
    queue = here.installation.database.queue

    async def away(*given: object) -> bool:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as broken:
        broken.setattr(type(queue), "amend", away)
        assert (await here.receive([address], bounce(), sender=None))[0].code == 451
        assert await here.mailbox("ann@acme.test") == []
    assert (await here.receive([address], bounce(), sender=None))[0].code == 250
    assert len(await here.mailbox("ann@acme.test")) == 1


async def test_a_suppression_that_cannot_be_stored_defers_the_bounce(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await sent(here)

    async def away(*given: object, **more: object) -> int:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as broken:
        broken.setattr(type(here.installation.database.suppressions), "put", away)
        assert (await here.receive([address], bounce(), sender=None))[0].code == 451
    assert (await record(here)).history == ()
    assert (await here.receive([address], bounce(), sender=None))[0].code == 250
    assert len(await suppressed(here)) == 1


async def test_what_a_tenant_quarantines_is_not_read(here: World) -> None:
    address = await sent(here)
    await here.plugin("scripted", SCRIPTED)
    await here.policy(
        "tenants/acme.yaml", POLICY.replace("recipients: {}", "recipients: {}\n  scripted: {data: Quarantine('virus')}")
    )
    await here.receive([address], bounce(), sender=None)
    assert len(await here.quarantine("acme")) == 1
    assert await suppressed(here) == []


async def test_a_bounce_to_a_sender_who_is_gone_makes_no_other_bounce(here: World) -> None:
    address = await sent(here)
    database = here.installation.database
    await database.hosting.end_account(await here.tenant("acme"), "ann@acme.test")
    (reply,) = await here.receive([address], bounce(), sender=None)
    assert not reply.positive
    assert await here.jobs() == []


# -- complaints


@pytest.mark.parametrize("to_token", [True, False])
async def test_a_complaint_suppresses_the_recipient_although_it_is_redacted(here: World, to_token: bool) -> None:
    address = await sent(here)
    await here.installation.database.accounts.add(await here.tenant("acme"), "abuse@acme.test", "")
    (reply,) = await here.receive(
        [address if to_token else "abuse@acme.test"], complaint(address), sender="fbl@far.test"
    )
    assert reply.code == 250
    assert await suppressed(here) == [("bob@far.test", "complaint", "complaint: abuse")]
    found = await record(here)
    assert found.states[0].status == "delivered"
    assert [(one.stage, one.text) for one in found.history] == [("complaint", "abuse FarGenerator/1.0 <bob@far.test>")]


async def test_a_complaint_about_several_recipients_must_name_one(here: World) -> None:
    address = await sent(here, "bob@far.test", "eve@far.test")
    await here.receive([address], complaint(address))
    assert await suppressed(here) == []
    await here.receive([address], complaint(address, to="Eve@far.test", kind="fraud"))
    assert [target for target, _, _ in await suppressed(here)] == ["eve@far.test"]
    assert len((await record(here)).history) == 2


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "virus"])
async def test_other_feedback_is_no_complaint(here: World, kind: str) -> None:
    address = await sent(here)
    await here.receive([address], complaint(address, kind=kind))
    assert await suppressed(here) == []
    assert (await record(here)).history[0].text.startswith(kind)


async def test_a_forged_complaint_changes_nothing_and_is_delivered(here: World) -> None:
    await sent(here)
    await here.installation.database.accounts.add(await here.tenant("acme"), "abuse@acme.test", "")
    (reply,) = await here.receive(["abuse@acme.test"], complaint(f"bounce+{'0' * 44}@acme.test"))
    assert reply.code == 250
    assert len(await here.mailbox("abuse@acme.test")) == 1
    assert (await record(here)).history == ()
