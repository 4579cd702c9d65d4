"""Notifications that this server sends, read back with Python's ``email`` package and with our own parser."""

from __future__ import annotations

import email
import email.policy
from base64 import b64decode
from email.message import EmailMessage
from typing import Any, cast

import pytest

from inbox.mail.content import MemoryContent
from inbox.mail.dsn.build import FULL_OCTETS, Dsn, DsnRecipient, build
from inbox.mail.dsn.parse import parse

ORIGINAL = b"From: a@acme.test\r\nTo: b@example.org\r\nMessage-ID: <1@acme.test>\r\nSubject: hello\r\n\r\ntext\r\n"
REFUSED = DsnRecipient(
    "b@example.org", "5.1.1", 550, "no such user", orcpt="rfc822;B+2Bx@example.org", host="mx.example.org",
    last_attempt=1_700_000_000.0,
)  # fmt: skip


def dsn(**changes: Any) -> Dsn:
    values: dict[str, Any] = {
        "kind": "failed", "sender": "a@acme.test", "reporting_mta": "mail.acme.test",
        "message_id": "dsn1@mail.acme.test",
        "at": 1_700_000_100.0, "arrived": 1_700_000_000.0, "recipients": (REFUSED,),
        "original": MemoryContent(ORIGINAL),
    }  # fmt: skip
    return Dsn(**{**values, **changes})


def read(octets: bytes) -> EmailMessage:
    assert b"\n" not in octets.replace(b"\r\n", b"")
    return email.message_from_bytes(octets, policy=email.policy.default)


def parts(octets: bytes) -> list[EmailMessage]:
    return [cast(EmailMessage, part) for part in cast(list[Any], read(octets).get_payload())]


def test_a_failure_names_recipient_status_host_and_reply() -> None:
    octets = build(dsn(envid="QQ+2B314"))
    message = read(octets)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["References"] == "<1@acme.test>"
    people, status, returned = parts(octets)
    assert "mx.example.org replied: 550 5.1.1 no such user" in people.get_content()
    about, recipient = cast(list[Any], status.get_payload())
    assert about["Reporting-MTA"] == "dns; mail.acme.test"
    assert about["Original-Envelope-Id"] == "QQ+314"
    assert recipient["Original-Recipient"] == "rfc822; B+x@example.org"
    assert recipient["Final-Recipient"] == "rfc822; b@example.org"
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.1.1")
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert returned.get_content_type() == "text/rfc822-headers"
    assert b"text\r\n" not in octets.split(b"text/rfc822-headers")[1]


@pytest.mark.parametrize("kind", ["failed", "delayed", "relayed", "delivered"])
def test_our_own_parser_reads_each_kind(kind: str) -> None:
    report = parse(MemoryContent(build(dsn(kind=kind, envid="E1"))))
    assert (report.kind, report.envid, report.reporting_mta) == ("notification", "E1", "mail.acme.test")
    (recipient,) = report.recipients
    assert (recipient.address, recipient.action, recipient.status) == ("b@example.org", kind, "5.1.1")
    assert report.original.startswith(b"From: a@acme.test\r\n")


def test_all_of_a_small_message_is_returned_if_asked_for_and_the_header_of_a_large_one() -> None:
    small = parts(build(dsn(returns_all=True)))[2]
    assert small.get_content_type() == "message/rfc822"
    large = MemoryContent(ORIGINAL + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * (FULL_OCTETS // 72))
    assert parts(build(dsn(returns_all=True, original=large)))[2].get_content_type() == "text/rfc822-headers"


ODD = [
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n" + ORIGINAL + b"\xc3\xa4\r\n",
    ORIGINAL + b"x" * 2000 + b"\r\n",
    ORIGINAL + b"a\x00b\r\n",
    b"Subject: \xc3\xa4\r\n" + ORIGINAL,
]


@pytest.mark.parametrize("original", ODD)
def test_all_of_an_8_bit_message_is_returned_in_a_7_bit_notification(original: bytes) -> None:
    octets = build(dsn(returns_all=True, original=MemoryContent(original)))
    assert octets.isascii()
    assert b"\x00" not in octets
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998
    begin = octets.index(b"Content-Type: message/global\r\n")
    head, body = octets[begin:].split(b"\r\n\r\n", 1)
    assert b"Content-Transfer-Encoding: base64" in head
    assert b64decode(body.partition(b"--")[0]) == original
    assert parse(MemoryContent(octets)).recipients[0].status == "5.1.1"


def test_all_of_an_8_bit_message_is_returned_as_it_is_to_those_who_take_it() -> None:
    octets = build(dsn(returns_all=True, takes_8bit=True, original=MemoryContent(ODD[0])))
    assert ODD[0] in octets
    assert b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n" in octets
    # RFC 2045 §6.4
    assert read(octets)["Content-Transfer-Encoding"] == "8bit"
    for odd in ODD[1:3]:
        assert b"message/global\r\n" in build(dsn(returns_all=True, takes_8bit=True, original=MemoryContent(odd)))


@pytest.mark.parametrize("original", [ORIGINAL + b"\xc3\xa4\r\n", b"Subject: \xc3\xa4\r\n" + ORIGINAL])
def test_a_notification_to_an_ascii_sender_is_ascii(original: bytes) -> None:
    octets = build(dsn(returns_all=True, original=MemoryContent(original), recipients=(
        DsnRecipient("jürgen@example.org", "5.1.1", 550, "gibt es nicht: ü"),
    )))  # fmt: skip
    assert octets.isascii()
    assert b"Final-Recipient: utf-8; j\\x{FC}rgen@example.org" in octets
    assert "jürgen@example.org" in parts(octets)[0].get_content()


def test_a_notification_to_an_internationalized_sender_is_global() -> None:
    octets = build(dsn(sender="jürgen@acme.test", recipients=(DsnRecipient("ö@example.org", "5.1.1"),)))
    assert b"Content-Type: message/global-delivery-status" in octets
    assert "Final-Recipient: utf-8; ö@example.org".encode() in octets


def test_a_reply_cannot_add_fields_or_lines() -> None:
    evil = DsnRecipient(
        "b@example.org", "5.1.1", 550, "no\r\nAction: delivered\r\n\r\nx" + "y" * 5000, host="h\r\nX: y"
    )
    octets = build(dsn(recipients=(evil,), envid="a+0D+0AX-Evil: 1"))
    _, status, _ = parts(octets)
    about, recipient = cast(list[Any], status.get_payload())
    assert recipient["Action"] == "failed" and "X" not in recipient and "X-Evil" not in about
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998


def test_a_delay_says_until_when_the_server_tries() -> None:
    waiting = DsnRecipient("b@example.org", "4.4.1", reply="The connection timed out.", retry_until=1_700_086_400.0)
    octets = build(dsn(kind="delayed", recipients=(waiting,)))
    assert b"Will-Retry-Until: Wed, 15 Nov 2023 22:13:20 +0000" in octets
    assert "You do not need to send it again" in " ".join(parts(octets)[0].get_content().split())


def test_an_operators_text_comes_first() -> None:
    assert parts(build(dsn(note="Grüße vom Support")))[0].get_content().startswith("Grüße vom Support")
