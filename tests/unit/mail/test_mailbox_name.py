"""Names of mailboxes: which there may be, and that INBOX has one."""

from __future__ import annotations

import pytest

from inbox.base.limits import MAILBOX_DEPTH, MAILBOX_NAME_OCTETS
from inbox.mail.mailbox_name import complaint, normal


def test_inbox_is_inbox_however_it_is_written() -> None:
    assert [normal(name) for name in ("iNbOx", "inbox/a", "inboxa", "a/inbox")] == [
        "INBOX", "INBOX/a", "inboxa", "a/inbox",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *("", "/a", "a//b", "a/", "a\tb", "a\x80", "a*", "%", "\ud800"),
        "x" * (MAILBOX_NAME_OCTETS + 1),
        "/".join(["x"] * (MAILBOX_DEPTH + 1)),
    ],
)
def test_names_that_no_mailbox_may_have(name: str) -> None:
    assert complaint(name) is not None


def test_names_that_a_mailbox_may_have() -> None:
    for name in ("a", "a b/ä", "x" * MAILBOX_NAME_OCTETS, "/".join(["x"] * MAILBOX_DEPTH), "[Gmail]/All & more"):
        assert complaint(name) is None
