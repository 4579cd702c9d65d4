"""Messages that are composed, read by the standard library."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from itertools import count
from typing import Any

import pytest

from inbox.mail.compose import Attachment, Draft, compose
from inbox.mail.nameaddr import NameAddr

ANN = NameAddr.parse("Ann <ann@example.org>")


def composed(**fields: Any) -> tuple[bytes, EmailMessage]:
    numbers = count()
    octets = compose(Draft(ANN, **fields), lambda: f"=_b{next(numbers)}")
    message = message_from_bytes(octets, policy=default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    assert b"\n" not in octets.replace(b"\r\n", b""), "all line endings are CRLF"
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    return octets, message


def text_of(part: Any) -> str:
    return str(part.get_content()).replace("\r\n", "\n")


def test_a_text_is_sent_as_it_is() -> None:
    octets, message = composed(text="Hi\nBob\n", to=[NameAddr.parse("bob@example.org")], subject="Hello")
    assert message.get_content_type() == "text/plain"
    assert octets.endswith(b"Content-Transfer-Encoding: 7bit\r\n\r\nHi\r\nBob\r\n")
    assert (message["From"], message["To"], message["Subject"]) == ("Ann <ann@example.org>", "bob@example.org", "Hello")
    assert (message["Date"], message["Message-ID"], message["Cc"], message["Bcc"]) == (None, None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        "Grüße\nund mehr\n",
        "日本語\n" * 500,
        "x" * 5000 + "\n",
        "trailing \t\n.\nFrom here\n",
        "a\r\nb\rc\n",
        "ü" * 20_000 + "\n",
    ],
)
def test_every_text_survives_its_encoding(text: str) -> None:
    octets, message = composed(text=text)
    assert text_of(message) == text.replace("\r\n", "\n").replace("\r", "\n")
    assert octets.isascii()


def test_two_forms_of_the_text_are_alternatives() -> None:
    _, message = composed(text="Hi", html="<p>Hi</p>")
    assert message.get_content_type() == "multipart/alternative"
    assert [(part.get_content_type(), text_of(part)) for part in message.iter_parts()] == [
        ("text/plain", "Hi\n"),
        ("text/html", "<p>Hi</p>\n"),
    ]


def test_attachments_come_after_the_text() -> None:
    logo = Attachment("logo.png", "image/png", b"\x89PNG\r\n\0" * 40, "logo")
    data = Attachment("data.csv", "text/csv; charset=utf-8", b"a,b\n")
    _, message = composed(text="Hi", html='<img src="cid:logo">', attachments=[data, logo])
    alternative, attached = message.iter_parts()
    assert (message.get_content_type(), alternative.get_content_type()) == ("multipart/mixed", "multipart/alternative")
    assert (attached.get_filename(), attached.get_content_disposition()) == ("data.csv", "attachment")
    assert attached.get_payload(decode=True) == b"a,b\n"
    _, related = alternative.iter_parts()
    html, image = related.iter_parts()
    assert (related.get_content_type(), html.get_content_type()) == ("multipart/related", "text/html")
    assert (image["Content-ID"], image.get_content_disposition()) == ("<logo>", "inline")
    assert image.get_payload(decode=True) == b"\x89PNG\r\n\0" * 40


def test_a_message_may_have_attachments_only() -> None:
    _, message = composed(attachments=[Attachment("a.bin", "application/octet-stream", b"")])
    (only,) = message.iter_parts()
    assert (only.get_filename(), only.get_payload(decode=True)) == ("a.bin", b"")


@pytest.mark.parametrize(
    "name", ["a.txt", 'say "hi".txt', "back\\slash.txt", "ü.txt", "日本語" * 60 + ".pdf", "x" * 255]
)
def test_every_file_name_is_read_as_it_was_given(name: str) -> None:
    _, message = composed(text="Hi", attachments=[Attachment(name, "application/pdf", b"x")])
    assert next(message.iter_attachments()).get_filename() == name


def test_other_fields_are_folded_and_encoded() -> None:
    subject = "Grüße " * 40
    _, message = composed(
        text="Hi", subject=subject, headers=[("X-Order", "7"), ("List-Id", "Ünsere Liste <l.example.org>")]
    )
    assert message["Subject"] == subject.strip()
    assert message["X-Order"] == "7"
    assert message["List-Id"] == "Ünsere Liste <l.example.org>"


def test_all_recipients_are_in_their_fields() -> None:
    people = {name: [NameAddr.parse(f"{name}@example.org")] for name in ("to", "cc", "bcc", "reply_to")}
    _, message = composed(text="Hi", **people)
    assert [str(message[name]) for name in ("To", "Cc", "Bcc", "Reply-To")] == [
        f"{name}@example.org" for name in ("to", "cc", "bcc", "reply_to")
    ]


def test_an_address_that_is_not_ascii_is_written_in_utf_8() -> None:
    draft = Draft(NameAddr.parse("Jörg <jörg@example.org>"), text="Hi")
    assert draft.is_international
    assert "<jörg@example.org>".encode() in compose(draft, lambda: "b")
    assert not Draft(ANN).is_international
