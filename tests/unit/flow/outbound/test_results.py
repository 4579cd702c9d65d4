"""From replies to states."""

from __future__ import annotations

import pytest

from inbox.flow.outbound.ports import Attempted, HostReply
from inbox.flow.outbound.results import (
    Ends,
    applied,
    given_up,
    is_unknown,
    is_unreachable,
    owed_delay,
    pending,
    record,
    without_attempt,
)
from inbox.store.ports.queue import PENDING, JobRecipient, RecipientState


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (HostReply(250, "2.0.0", "ok", "dot"), "delivered"),
        (HostReply(250, "2.1.5", "recipient ok", "rcpt"), "pending"),
        (HostReply(354, "", "go on", "data"), "pending"),
        (HostReply(450, "4.2.0", "greylisted", "rcpt"), "pending"),
        (HostReply(421, "4.3.2", "going down", "mail"), "pending"),
        (HostReply(550, "5.1.1", "no such user", "rcpt"), "failed"),
        # The class of the code decides, not the text and not the enhanced code.
        (HostReply(550, "4.7.1", "4.7.1 try later", "rcpt"), "failed"),
        (HostReply(451, "5.7.1", "5.7.1 refused", "rcpt"), "pending"),
        (HostReply(0, "4.4.1", "timed out", "connect"), "pending"),
    ],
)
def test_the_class_of_the_code_decides(reply: HostReply, status: str) -> None:
    (state,) = applied([PENDING], [0], [reply], 9.0)

    assert (state.status, state.code, state.reply, state.at) == (status, reply.code, reply.text, 9.0)


def test_only_those_who_were_tried_change() -> None:
    done = RecipientState("delivered", 250)
    after = applied([done, PENDING, PENDING], [2], [HostReply(550, "5.1.1", "no", "rcpt")], 1.0)

    assert after[:2] == (done, PENDING)
    assert after[2].status == "failed"
    assert pending(after) == [1]


def test_a_hostile_text_is_cut() -> None:
    (state,) = applied([PENDING], [0], [HostReply(450, "4.0.0", "x" * 100_000, "rcpt")], 1.0)

    assert len(state.reply) == 1000
    assert len(given_up([state], "Too late", 1.0)[0].reply) == 1000


def test_an_outcome_is_unknown_only_after_the_dot() -> None:
    lost = HostReply(0, "4.4.2", "reset", "dot")

    assert is_unknown(Attempted((lost,), dot_sent=True))
    assert not is_unknown(Attempted((lost,)))
    assert not is_unknown(Attempted((HostReply(451, "4.0.0", "later", "dot"),), dot_sent=True))


def test_hosts_are_unreachable_if_none_greeted() -> None:
    assert is_unreachable(Attempted((HostReply(0, "", "timed out", "connect"),)))
    assert is_unreachable(Attempted((HostReply(0, "", "no greeting", "greeting"),)))
    assert not is_unreachable(Attempted((HostReply(421, "4.3.2", "busy", "greeting"),)))
    assert not is_unreachable(Attempted((HostReply(0, "", "timed out", "rcpt"),)))


def test_a_job_ends_by_age_or_attempts() -> None:
    assert Ends(3, 10, 100.0).over(99.0) == ""
    assert "expired" in Ends(3, 10, 100.0).over(100.0)
    assert "10 times" in Ends(10, 10, 100.0).over(1.0)


def test_a_record_has_the_reply_that_explains_the_outcome() -> None:
    replies = (HostReply(250, "2.0.0", "ok", "dot"), HostReply(550, "5.1.1", "no", "rcpt"))

    made = record(Attempted(replies, "mx.a.test", "192.0.2.1", "TLSv1.3", seconds=2.0), 5.0)

    assert (made.at, made.seconds, made.host, made.code, made.stage, made.recipients) == (
        5.0, 2.0, "mx.a.test", 550, "rcpt", 2,
    )  # fmt: skip


def test_without_a_connection_each_recipient_has_the_same_reply() -> None:
    reply = HostReply(556, "5.1.10", "null MX", "dns")

    assert without_attempt(reply, 2) == Attempted((reply, reply))


def test_a_delay_is_reported_unless_notify_excludes_it() -> None:
    assert owed_delay(JobRecipient("a@b.test"), "x@y.test")
    assert owed_delay(JobRecipient("a@b.test", ("DELAY",)), "x@y.test")
    assert not owed_delay(JobRecipient("a@b.test", ("FAILURE",)), "x@y.test")
    assert not owed_delay(JobRecipient("a@b.test"), "")
