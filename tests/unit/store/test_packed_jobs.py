"""Recipients, states and attempts as JSON."""

from __future__ import annotations

from inbox.store.packed_jobs import (
    packed,
    packed_states,
    unpacked_history,
    unpacked_recipients,
    unpacked_states,
)
from inbox.store.ports.queue import PENDING, AttemptRecord, JobRecipient, RecipientState


def test_values_come_back() -> None:
    recipients = (JobRecipient("ä@example.org", ("NEVER",), "utf-8;ä"), JobRecipient("b@example.org"))
    states = (RecipientState("failed", 550, "5.1.1", "550 5.1.1 nein, ä", 1.5, "address", True, True), PENDING)
    history = (AttemptRecord(1.5, 0.25, "mx", "::1", "TLSv1.3", "rcpt", 550, "5.1.1", "no", 2),)
    assert unpacked_recipients(packed(recipients)) == recipients
    assert unpacked_states(packed_states(states), 2) == states
    assert unpacked_history(packed(history)) == history


def test_nothing_is_stored_before_an_attempt() -> None:
    assert packed_states((PENDING, RecipientState())) == ""
    assert unpacked_states("", 3) == (PENDING,) * 3
    assert unpacked_history("") == ()


def test_strings_that_no_database_accepts_are_cleaned() -> None:
    assert unpacked_recipients(packed((JobRecipient("a\x00b@x", orcpt="\udc00"),))) == (
        JobRecipient("ab@x", orcpt="?"),
    )
