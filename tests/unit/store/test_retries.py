"""Recognition of retries."""

from __future__ import annotations

import pytest

from inbox.base.limits import RETRY_SECONDS
from inbox.store import retries
from inbox.store.ports.decisions import AlreadyFiled
from inbox.store.ports.messages import Placed
from tests.support.store import decision, envelope

ENVELOPE = b"Delivered-To: ann+x@acme.test\r\nReturn-Path: <bob@b.test>\r\n"


@pytest.mark.parametrize(
    ("prepended", "found"),
    [
        (envelope("ann+x@acme.test", "bob@b.test"), ENVELOPE),
        (ENVELOPE, ENVELOPE),
        (b"", b""),
        (b"Return-Path: <bob@b.test>\r\nDelivered-To: ann+x@acme.test\r\n", b""),
        (b"Delivered-To: ann@acme.test\r\nSubject: x\r\n", b""),
        (b"\r\n" + ENVELOPE, b""),
    ],
)
def test_the_envelope_of_a_copy(prepended: bytes, found: bytes) -> None:
    assert retries.envelope_of(prepended) == found


def test_the_window() -> None:
    assert retries.window(1e6) == (1e6 - RETRY_SECONDS, 1e6 + RETRY_SECONDS)


def test_copies_in_or_below_trash_and_junk_do_not_count() -> None:
    mailboxes = [
        ("1", "INBOX", None), ("2", "Deleted Items", "\\Trash"), ("3", "Deleted Items/2024", None),
        ("4", "Spam", "\\Junk"),
        ("5", "Spammers", None), ("6", "Trash", None), ("7", "Sent", "\\Sent"), ("8", "Spam/a/b", None),
    ]  # fmt: skip
    assert retries.counting(mailboxes) == {"1": "INBOX", "5": "Spammers", "6": "Trash", "7": "Sent"}
    assert retries.counting([]) == {}


def test_a_copy_says_which_transaction_delivered_it() -> None:
    found = retries.already_filed("INBOX", 7, envelope("ann@acme.test", transaction="06h07td1g1cmr2t5bdts"), 12.0)
    assert found == AlreadyFiled("ann@acme.test", "INBOX", 7, "06h07td1g1cmr2t5bdts", 12.0)
    assert retries.already_filed("INBOX", 7, b"\xff", 12.0) == AlreadyFiled("", "INBOX", 7, "", 12.0)


def test_a_record_names_the_retries_of_its_own_tenant_and_recipients() -> None:
    here = [
        decision("t1", recipients=("a@x",)),
        decision("t1", recipients=("b@x",)),
        decision("t2", recipients=("a@x",)),
    ]
    known = AlreadyFiled("a@x", "INBOX", 1, "first", 1.0)
    noted = retries.with_retries(here, [("t1", [Placed("m", "e", 1, 1, known)]), ("t2", [Placed("n", "f", 2, 2)])])
    assert [record.already_filed for record in noted] == [(known,), (), ()]
    assert retries.with_retries(here, [("t1", [Placed("m", "e", 1, 1)])]) == here
