"""From destinations to copies: what shares a content, and what each copy carries."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from inbox.base.ids import RandomIds
from inbox.flow.deliveries import MOST_RECIPIENTS, Deliveries
from inbox.flow.destinations import AlreadyServed, Destination, Discarded, IntoMailbox, IntoQuarantine, Relay
from inbox.flow.shares import TenantShare
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.flags import Flag
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Identity, Session, Transaction
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.ingest import AcceptedMessage, Copy
from inbox.store.ports.queue import JobRecipient
from tests.unit.flow.test_shares import ANN, BOB, share, to

TX = Transaction("t1", Session("s1", Door.SMTP, ip_address("192.0.2.7"), helo="mx.peer.test"), None)


def messages(made: TenantShare, *, traced: bool = False, tx: Transaction = TX) -> tuple[AcceptedMessage, ...]:
    clock = FakeClock()
    return Deliveries(clock, RandomIds(clock.now), "mx.test", 3600.0).messages(tx, [made], None, traced=traced)


def test_two_mailboxes_of_one_recipient_share_a_content() -> None:
    destinations = (IntoMailbox(ANN, mailbox_id="m1"), IntoMailbox(ANN, "Archive", Flag.SEEN, ("k",), "m2"))
    (message,) = messages(share(to(ANN, *destinations)))
    assert message.copies == (Copy("m1"), Copy("m2", int(Flag.SEEN), ("k",)))


def test_a_mailbox_and_a_relay_share_a_content() -> None:
    disposition = to(ANN, IntoMailbox(ANN, mailbox_id="m1"), Relay(Address.parse("x@Elsewhere.test")))
    disposition.recipient.notify = frozenset({"SUCCESS", "FAILURE"})
    disposition.recipient.orcpt = "rfc822;ann@acme.test"
    identity = Identity(BOB, "a7", "o1", "acme")
    params = {"RET": "HDRS", "ENVID": "e1", "BODY": "8BITMIME", "SMTPUTF8": ""}
    tx = Transaction("t1", replace(TX.session, identity=identity), Address.parse(BOB), params)
    (message,) = messages(share(disposition), tx=tx)
    assert message.copies == (Copy("m1"),)
    (job,) = message.jobs
    assert (job.sender, job.domain, job.transaction, job.door) == (BOB, "elsewhere.test", "t1", tx.session.door)
    assert job.expires_at - job.created_at == 3600
    assert job.recipients == (JobRecipient("x@elsewhere.test", ("FAILURE", "SUCCESS"), "rfc822;ann@acme.test"),)
    assert (job.ret, job.envid) == ("HDRS", "e1")
    assert (job.body, job.smtputf8, job.actor_account) == ("8BITMIME", True, "a7")


def test_one_job_for_each_domain() -> None:
    bob, eve, far = (Relay(Address.parse(each)) for each in ("bob@a.test", "eve@a.test", "bob@b.test"))
    (message,) = messages(share(to(ANN, bob), to(BOB, far), to("eve@acme.test", eve)))
    found = [(job.domain, [one.address for one in job.recipients]) for job in message.jobs]
    assert found == [("a.test", ["bob@a.test", "eve@a.test"]), ("b.test", ["bob@b.test"])]
    many = [to(f"u{n}@acme.test", Relay(Address.parse(f"u{n}@a.test"))) for n in range(MOST_RECIPIENTS + 1)]
    (message,) = messages(share(*many))
    assert [len(job.recipients) for job in message.jobs] == [MOST_RECIPIENTS, 1]


def test_a_bounce_is_relayed_with_the_null_reverse_path() -> None:
    (message,) = messages(share(to(ANN, Relay(Address.parse("x@elsewhere.test")))))
    assert message.copies == ()
    (job,) = message.jobs
    assert (job.sender, job.recipients[0].notify, job.ret, job.body, job.smtputf8) == ("", (), None, "7BIT", False)


def test_a_message_transformed_for_one_mailbox_is_a_separate_version() -> None:
    sealed = MemoryContent(b"sealed")
    destinations: tuple[Destination, ...] = (
        IntoMailbox(ANN, mailbox_id="m1", content=sealed),
        IntoMailbox(ANN, mailbox_id="m2"),
    )
    made = share(to(ANN, *destinations), to(BOB, IntoMailbox(BOB, mailbox_id="m3")))
    first, second = messages(made)
    assert (first.content, first.copies) == (sealed, (Copy("m1"),))
    assert (second.content, second.copies) == (made.content, (Copy("m2"), Copy("m3")))


def test_nothing_is_stored_for_who_is_refused_dropped_or_served() -> None:
    made = share(
        to(ANN, IntoMailbox(ANN, mailbox_id="m1"), refusal=Reply(550, "5.7.1", "no")),
        to(ANN, Discarded()),
        to(ANN, AlreadyServed(ANN, BOB)),
    )
    assert messages(made) == ()


def test_a_quarantined_copy_says_for_whom_and_why() -> None:
    (message,) = messages(share(to(ANN, IntoQuarantine("bad", "q1"))))
    (copy,) = message.copies
    assert copy == Copy("q1", recipient=ANN, reason="bad", status="spam")


def test_each_recipients_copies_have_its_own_trace() -> None:
    both = share(to(ANN, IntoMailbox(ANN, mailbox_id="m1")), to(BOB, IntoMailbox(BOB, mailbox_id="m2")))
    (message,) = messages(both, traced=True)
    ann, bob = message.copies
    assert ann.prepended.startswith(b"Delivered-To: ann@acme.test\r\nReturn-Path: <>\r\nReceived: from mx.peer.test ")
    assert bob.prepended.startswith(b"Delivered-To: bob@acme.test\r\n")
    assert b"bob" not in ann.prepended


def test_a_relayed_message_has_a_received_field_that_names_no_recipient() -> None:
    """A hidden recipient must not be betrayed to the others by ``for``."""
    both = share(*(to(ANN, Relay(Address.parse(each))) for each in ("x@elsewhere.test", "y@far.test")))
    (message,) = messages(both)
    assert len(message.jobs) == 2, "they share one content"
    for job in message.jobs:
        assert job.prepended.startswith(
            b"Received: from mx.peer.test ([192.0.2.7])\r\n\tby mx.test (inbox) with SMTP id t1;\r\n\t"
        )
        assert b"elsewhere" not in job.prepended
        assert b"far.test" not in job.prepended


def test_a_job_is_not_due_before_its_release() -> None:
    tx = Transaction("t1", TX.session, Address.parse(BOB), {"HOLDFOR": "7200"}, started_at=FakeClock().now())
    (message,) = messages(share(to(ANN, Relay(Address.parse("x@elsewhere.test")))), tx=tx)
    (job,) = message.jobs
    assert (job.not_before - job.created_at, job.expires_at - job.not_before) == (7200, 3600)


def test_a_forwarded_copy_has_its_own_sender_and_fields() -> None:
    forwarded = Relay(Address.parse("x@a.test"), True, "SRS0=x@acme.test", b"Delivered-To: ann@acme.test\r\n")
    (message,) = messages(share(to(ANN, forwarded), to(BOB, Relay(Address.parse("y@a.test")))))
    assert [(job.sender, job.prepended.partition(b":")[0], len(job.recipients)) for job in message.jobs] == [
        ("SRS0=x@acme.test", b"Delivered-To", 1),
        ("", b"Received", 1),
    ]
