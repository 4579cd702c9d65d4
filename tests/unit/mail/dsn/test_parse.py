"""Received notifications, standard and not."""

from __future__ import annotations

import time

import pytest

from inbox.mail.content import MemoryContent
from inbox.mail.dsn.parse import parse
from inbox.mail.dsn.report import Feedback, Notification

STANDARD = b"""From: MAILER-DAEMON@mx.test\r
Subject: Undelivered\r
Content-Type: multipart/report; report-type=delivery-status; boundary=b\r
\r
--b\r
\r
<one@example.org>: no\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.test\r
Original-Envelope-Id: E77\r
\r
Final-Recipient: rfc822; one@example.org\r
Action: failed\r
Status: 5.1.1 (no such user)\r
Diagnostic-Code: smtp; 550 5.1.1 no\r
 such user here\r
\r
Final-Recipient: rfc822; two@example.org\r
Action: delayed\r
Status: 4.4.1\r
\r
--b\r
Content-Type: text/rfc822-headers\r
\r
Message-ID: <1@acme.test>\r
\r
--b--\r
"""


def read(octets: bytes) -> Notification:
    return parse(MemoryContent(octets))


def test_each_recipient_of_a_report_has_its_own_status() -> None:
    report = read(STANDARD)
    assert (report.kind, report.envid, report.reporting_mta) == ("notification", "E77", "mx.test")
    assert [(one.address, one.action, one.status, one.code) for one in report.recipients] == [
        ("one@example.org", "failed", "5.1.1", 550),
        ("two@example.org", "delayed", "4.4.1", 0),
    ]
    assert report.recipients[0].text == "550 5.1.1 no such user here"
    assert report.original.startswith(b"Message-ID: <1@acme.test>")


def test_a_feedback_report_is_a_complaint_without_recipients() -> None:
    octets = STANDARD.replace(b"message/delivery-status", b"message/feedback-report")
    report = read(octets)
    assert (report.kind, report.recipients, report.envid) == ("complaint", (), "E77")


@pytest.mark.parametrize("field", [b"Auto-Submitted: auto-replied", b"Subject: Out of office: gone"])
def test_a_vacation_notice_is_no_failure(field: bytes) -> None:
    report = read(b"From: b@example.org\r\n" + field + b"\r\n\r\nI am away. Failed? 550 5.1.1\r\n")
    assert (report.kind, report.recipients) == ("auto-reply", ())


def test_ordinary_mail_reports_nothing() -> None:
    report = read(b"From: b@example.org\r\nSubject: hello\r\n\r\n<a@example.org>: 550 5.1.1 no such user\r\n")
    assert (report.kind, report.recipients) == ("other", ())


def test_a_quoted_notification_inside_a_returned_message_is_not_read() -> None:
    nested = b"From: b@example.org\r\nSubject: x\r\nContent-Type: message/rfc822\r\n\r\n"
    inner = b"From: c@example.org\r\n\r\nCould not be delivered to: <a@example.org> 550 5.1.1\r\n"
    assert read(nested + inner).recipients == ()


def test_a_program_that_writes_no_report_is_understood() -> None:
    report = read(
        b"From: MAILER-DAEMON@q.test\r\nSubject: failure notice\r\n\r\nHi. This is the qmail-send program.\r\n"
        b"<one@example.org>:\r\n192.0.2.4 does not like recipient.\r\nRemote host said: 550 5.2.2 full\r\n\r\n"
        b"--- Below this line is a copy of the message.\r\n\r\nTo: two@example.org\r\n"
    )
    (one,) = report.recipients
    assert (one.address, one.status, one.code, one.is_derived) == ("one@example.org", "5.2.2", 550, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b"{" * 100_000 + b'"notificationType"',
        b"<" * 200_000,
        b"a@b.c " * 40_000,
        b"<a@b.c>\r\n" * 30_000,
        b"Final-Recipient: x\r\n" * 20_000,
        b"1.1.1.1." * 30_000,
        b"x" * 250_000 + b" full",
        b"user " * 50_000,
    ],
)
@pytest.mark.parametrize("kind", [b"text/plain", b"text/html", b"message/delivery-status"])
def test_hostile_text_costs_little(body: bytes, kind: bytes) -> None:
    head = b"From: MAILER-DAEMON@q.test\r\nSubject: failure notice\r\nContent-Type: " + kind + b"\r\n\r\n"
    before = time.process_time()
    report = read(head + body)
    assert time.process_time() - before < 3  # a pattern that backtracks takes minutes
    assert len(report.recipients) <= 100
    assert all(len(one.text) <= 1000 and len(one.context) <= 1000 for one in report.recipients)


#: After the examples of RFC 5965, Appendix B.
FEEDBACK = b"""From: <abusedesk@example.com>
To: <abuse@example.net>
Subject: FW: Earn money
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part1"

--part1
Content-Type: text/plain; charset="US-ASCII"

This is an email abuse report for an email message received from IP 192.0.2.1.

--part1
Content-Type: message/feedback-report

Feedback-Type: Abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <somespammer@example.net>
Original-Rcpt-To: <user@example.com>
Original-Rcpt-To: <other@example.com>
Arrival-Date: Thu, 8 Mar 2005 14:00:00 EDT
Reporting-MTA: dns; mail.example.com
Source-IP: 192.0.2.1

--part1
Content-Type: message/rfc822

Return-Path: <somespammer@example.net>
From: <somespammer@example.net>
Subject: Earn money

Spam
--part1--
"""


def test_a_feedback_report_has_type_program_and_envelope() -> None:
    report = parse(MemoryContent(FEEDBACK.replace(b"\n", b"\r\n")))
    assert (report.kind, report.reporting_mta) == ("complaint", "mail.example.com")
    assert report.feedback == Feedback(
        "abuse", "SomeGenerator/1.0", "somespammer@example.net", ("user@example.com", "other@example.com")
    )
    assert report.original.startswith(b"Return-Path: <somespammer@example.net>")


def test_a_feedback_report_without_fields_is_one_of_another_type() -> None:
    empty = (
        FEEDBACK[: FEEDBACK.index(b"Feedback-Type")]
        + FEEDBACK[FEEDBACK.index(b"--part1\nContent-Type: message/rfc822") :]
    )
    assert parse(MemoryContent(empty.replace(b"\n", b"\r\n"))).feedback == Feedback("other")


def test_the_original_recipient_is_kept_beside_the_final_one() -> None:
    text = STANDARD.replace(b"Final-Recipient:", b"Original-Recipient: rfc822; given@example.org\r\nFinal-Recipient:")
    report = parse(MemoryContent(text))
    assert {one.original for one in report.recipients} == {"given@example.org"}
    assert "given@example.org" not in {one.address for one in report.recipients}
