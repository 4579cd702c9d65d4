"""From destinations to copies: what shares a content, and what each copy carries."""

from __future__ import annotations

from ipaddress import ip_address

from inbox.flow.deliveries import versions
from inbox.flow.destinations import AlreadyServed, Destination, Discarded, IntoMailbox, IntoQuarantine, Relay
from inbox.flow.shares import TenantShare
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.flags import Flag
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Session, Transaction
from inbox.store.records import Copy
from tests.unit.flow.test_shares import ANN, BOB, share, to

TX = Transaction("t1", Session("s1", Door.SMTP, ip_address("192.0.2.7"), helo="mx.peer.test"), None)


def copies(made: TenantShare, received: float | None = None) -> list[Copy]:
    return [copy for version in versions(TX, made, "mx.test", received) for copy in version.copies]


def test_two_mailboxes_of_one_recipient_share_a_content() -> None:
    destinations = (IntoMailbox(ANN, mailbox_id="m1"), IntoMailbox(ANN, "Archive", Flag.SEEN, ("k",), "m2"))
    (version,) = versions(TX, share(to(ANN, *destinations)), "mx.test", None)
    assert version.copies == [Copy("m1"), Copy("m2", int(Flag.SEEN), ("k",))]


def test_a_mailbox_and_a_relay_share_a_content() -> None:
    relay = Relay(Address.parse("x@elsewhere.test"))
    disposition = to(ANN, IntoMailbox(ANN, mailbox_id="m1"), relay)
    (version,) = versions(TX, share(disposition), "mx.test", None)
    assert version.copies == [Copy("m1")]
    assert version.relays == [(disposition.recipient, relay)]


def test_what_was_transformed_for_one_mailbox_is_a_version_of_its_own() -> None:
    sealed = MemoryContent(b"sealed")
    destinations: tuple[Destination, ...] = (
        IntoMailbox(ANN, mailbox_id="m1", content=sealed),
        IntoMailbox(ANN, mailbox_id="m2"),
    )
    made = share(to(ANN, *destinations), to(BOB, IntoMailbox(BOB, mailbox_id="m3")))
    first, second = versions(TX, made, "mx.test", None)
    assert (first.content, first.copies) == (sealed, [Copy("m1")])
    assert (second.content, second.copies) == (made.content, [Copy("m2"), Copy("m3")])


def test_nothing_is_stored_for_who_is_refused_dropped_or_served() -> None:
    made = share(
        to(ANN, IntoMailbox(ANN, mailbox_id="m1"), refusal=Reply(550, "5.7.1", "no")),
        to(ANN, Discarded()),
        to(ANN, AlreadyServed(ANN, BOB)),
    )
    assert versions(TX, made, "mx.test", None) == []


def test_a_quarantined_copy_says_for_whom_and_why() -> None:
    (copy,) = copies(share(to(ANN, IntoQuarantine("bad", "q1"))))
    assert copy == Copy("q1", recipient=ANN, reason="bad", status="spam")


def test_each_recipients_copies_have_its_own_trace() -> None:
    ann, bob = copies(
        share(to(ANN, IntoMailbox(ANN, mailbox_id="m1")), to(BOB, IntoMailbox(BOB, mailbox_id="m2"))), 1.0
    )
    assert ann.prepended.startswith(b"Delivered-To: ann@acme.test\r\nReturn-Path: <>\r\nReceived: from mx.peer.test ")
    assert bob.prepended.startswith(b"Delivered-To: bob@acme.test\r\n")
    assert b"bob" not in ann.prepended
