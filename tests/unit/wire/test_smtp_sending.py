"""Transactions of the delivering side, written as the dialogs of the RFCs."""

from __future__ import annotations

import pytest

from inbox.wire.smtp.client import Capabilities, ReplyReader
from inbox.wire.smtp.sending import Content, Mail, Outcome, Recipient, Transaction, body_obstacle, obstacle

ANN, BOB = Recipient("ann@x.test"), Recipient("bob@x.test")
MAIL = Mail("me@y.test", (ANN, BOB), 100)


def offers(*keywords: str, size: int = 0) -> Capabilities:
    return Capabilities(frozenset(keywords), size)


def play(transaction: Transaction, script: str) -> list[tuple[int, str, str]]:
    """Plays lines ``C:`` (the request must be this; ``C: *`` is the message) and ``S:`` (the reply)."""
    dialog = transaction.dialog()
    expected: list[str] = []
    sent: list[str] = []
    reader = ReplyReader()

    def note(request: bytes | Content) -> None:
        if isinstance(request, Content):
            sent.append("." if request.void else "* LAST" if request.bdat else "*")
            transaction.stage = "dot"
        else:
            sent.extend(request.decode().splitlines())

    ended = False
    note(next(dialog))
    for line in script.strip().splitlines():
        side, _, text = line.strip().partition(": ")
        if side == "C":
            expected.append(text)
            continue
        assert not ended, f"the dialog ended before {text}"
        reader.feed(text.encode() + b"\r\n")
        reply = reader.next()
        assert reply is not None
        try:
            note(dialog.send(reply))
        except StopIteration:
            ended = True
    assert ended
    assert sent == expected
    return [(each.code, each.enhanced, each.stage) for each in transaction.outcomes if each is not None]


def test_rfc5321_without_pipelining() -> None:
    transaction = Transaction(MAIL, offers())
    assert play(
        transaction,
        """
        C: MAIL FROM:<me@y.test>
        S: 250 Ok
        C: RCPT TO:<ann@x.test>
        S: 250 Ok
        C: RCPT TO:<bob@x.test>
        S: 550 5.1.1 No such user
        C: DATA
        S: 354 Go ahead
        C: *
        S: 250 2.0.0 Queued
        """,
    ) == [(250, "2.0.0", "dot"), (550, "5.1.1", "rcpt")]
    assert transaction.clean


def test_rfc2920_with_pipelining() -> None:
    assert play(
        Transaction(MAIL, offers("PIPELINING", "SIZE")),
        """
        C: MAIL FROM:<me@y.test> SIZE=100
        C: RCPT TO:<ann@x.test>
        C: RCPT TO:<bob@x.test>
        C: DATA
        S: 250 Ok
        S: 450 4.2.1 Later
        S: 250 Ok
        S: 354 Go ahead
        C: *
        S: 250 2.0.0 Queued
        """,
    ) == [(450, "4.2.1", "rcpt"), (250, "2.0.0", "dot")]


def test_rfc2920_354_without_recipients_is_ended_with_a_dot() -> None:
    transaction = Transaction(MAIL, offers("PIPELINING"))
    assert play(
        transaction,
        """
        C: MAIL FROM:<me@y.test>
        C: RCPT TO:<ann@x.test>
        C: RCPT TO:<bob@x.test>
        C: DATA
        S: 250 Ok
        S: 550 5.1.1 No
        S: 450 4.2.1 Later
        S: 354 Go ahead
        C: .
        S: 554 5.5.1 No valid recipients
        """,
    ) == [(550, "5.1.1", "rcpt"), (450, "4.2.1", "rcpt")]
    assert transaction.clean


def test_a_refused_sender_is_the_answer_for_all() -> None:
    assert play(Transaction(MAIL, offers()), "C: MAIL FROM:<me@y.test>\nS: 550 5.7.1 No") == [
        (550, "5.7.1", "mail"),
        (550, "5.7.1", "mail"),
    ]


def test_421_ends_the_session_and_answers_stay() -> None:
    transaction = Transaction(MAIL, offers())
    assert play(
        transaction,
        """
        C: MAIL FROM:<me@y.test>
        S: 250 Ok
        C: RCPT TO:<ann@x.test>
        S: 550 5.1.1 No
        C: RCPT TO:<bob@x.test>
        S: 421 4.3.2 Shutting down
        """,
    ) == [(550, "5.1.1", "rcpt"), (421, "4.3.2", "rcpt")]
    assert not transaction.clean


def test_a_refused_data_is_the_answer_for_those_accepted() -> None:
    transaction = Transaction(MAIL, offers("PIPELINING"))
    assert play(
        transaction,
        """
        C: MAIL FROM:<me@y.test>
        C: RCPT TO:<ann@x.test>
        C: RCPT TO:<bob@x.test>
        C: DATA
        S: 250 Ok
        S: 550 5.1.1 No
        S: 250 Ok
        S: 451 4.3.0 Later
        """,
    ) == [(550, "5.1.1", "rcpt"), (451, "4.3.0", "data")]
    assert not transaction.clean


def test_rfc2033_lmtp_answers_for_each_recipient_accepted() -> None:
    assert play(
        Transaction(MAIL, offers("PIPELINING"), lmtp=True),
        """
        C: MAIL FROM:<me@y.test>
        C: RCPT TO:<ann@x.test>
        C: RCPT TO:<bob@x.test>
        C: DATA
        S: 250 Ok
        S: 250 Ok
        S: 250 Ok
        S: 354 Go ahead
        C: *
        S: 250 2.1.5 Delivered
        S: 452 4.2.2 Full
        """,
    ) == [(250, "2.1.5", "dot"), (452, "4.2.2", "dot")]


def test_rfc3030_binary_mail_is_sent_in_chunks() -> None:
    assert play(
        Transaction(Mail("", (ANN,), 9, body="BINARYMIME"), offers("PIPELINING", "CHUNKING", "BINARYMIME")),
        """
        C: MAIL FROM:<> BODY=BINARYMIME
        C: RCPT TO:<ann@x.test>
        S: 250 Ok
        S: 250 Ok
        C: * LAST
        S: 250 2.0.0 Queued
        """,
    ) == [(250, "2.0.0", "dot")]


def test_rfc3461_parameters_only_where_they_are_offered() -> None:
    ann = Recipient("ann@x.test", ("SUCCESS", "DELAY"), "rfc822;a+b@x.test")
    mail = Mail("me@y.test", (ann,), 9, ret="HDRS", envid="id=1")
    end = "S: 250 Ok\nC: DATA\nS: 354 Go\nC: *\nS: 250 2.0.0 Ok"
    play(
        Transaction(mail, offers("DSN")),
        "C: MAIL FROM:<me@y.test> RET=HDRS ENVID=id+3D1\nS: 250 Ok\n"
        f"C: RCPT TO:<ann@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@x.test\n{end}",
    )
    play(Transaction(mail, offers()), f"C: MAIL FROM:<me@y.test>\nS: 250 Ok\nC: RCPT TO:<ann@x.test>\n{end}")


def test_rfc6531_an_address_that_needs_smtputf8_fails_alone() -> None:
    mail = Mail("me@y.test", (Recipient("\u00e9@x.test"), ANN), 9)
    assert play(
        Transaction(mail, offers()),
        """
        C: MAIL FROM:<me@y.test>
        S: 250 Ok
        C: RCPT TO:<ann@x.test>
        S: 250 Ok
        C: DATA
        S: 354 Go
        C: *
        S: 250 2.0.0 Ok
        """,
    ) == [(553, "5.6.7", "rcpt"), (250, "2.0.0", "dot")]


@pytest.mark.parametrize(
    ("mail", "capabilities", "enhanced"),
    [
        (Mail("", (ANN,), 11), offers("SIZE", size=10), "5.3.4"),
        (Mail("", (ANN,), 9, smtputf8=True), offers(), "5.6.7"),
        (Mail("", (ANN,), 9, body="8BITMIME"), offers(), "5.6.3"),
        (Mail("", (ANN,), 9, body="BINARYMIME"), offers("CHUNKING", "8BITMIME"), "5.6.3"),
        (Mail("", (ANN,), 9, require_tls=True), offers(), "5.7.30"),
    ],
)
def test_mail_that_a_peer_does_not_support_is_not_sent(mail: Mail, capabilities: Capabilities, enhanced: str) -> None:
    found = obstacle(mail, capabilities) or body_obstacle(mail, capabilities, eight_bit=True)
    assert isinstance(found, Outcome)
    assert (found.code // 100, found.enhanced) == (5, enhanced)


def test_8bit_mail_that_is_ascii_needs_nothing() -> None:
    assert body_obstacle(Mail("", (ANN,), 9, body="8BITMIME"), offers(), eight_bit=False) is None


def test_8bit_mail_that_was_not_declared_is_found() -> None:
    assert body_obstacle(Mail("", (ANN,), 9), offers(), eight_bit=True) is not None
    assert body_obstacle(Mail("", (ANN,), 9), offers("8BITMIME"), eight_bit=True) is None
